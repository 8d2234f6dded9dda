//! One request on a new connection: what each reply looks like.

use std::time::Duration;

use http::Version;
use tower_keep_test::{
    http::{ErrorCode, Origin, Reply},
    ms,
};
use tower_keep_tests::servers::{LONG, SHORT};

use super::clients::{hyper, hyper_sees, reqwest, reqwest_sees};

/// A reply, and what reqwest sees of it over HTTP/1.1 and HTTP/2.
type Row = (Reply, &'static str, &'static str);

/// What hyper-util's client sees, which has no classes and no timeout.
fn without_classes(seen: &str) -> String {
    seen.replace("request+timeout", "hangs")
        .replace("decode+timeout", "hangs")
        .replace("request: ", "")
        .replace("decode: ", "")
}

async fn check(rows: impl IntoIterator<Item = Row>) {
    for (reply, http1, http2) in rows {
        for (version, expected) in [(Version::HTTP_11, http1), (Version::HTTP_2, http2)] {
            let patience: Duration = if expected.contains("timeout") {
                SHORT
            } else {
                LONG
            };
            let origin = || async { Origin::start().await.unwrap().then(reply.clone()) };

            let to_reqwest = origin().await;
            let seen = reqwest_sees(&reqwest(version), &to_reqwest, patience).await;
            assert_eq!(seen, expected, "reqwest, {version:?}: {reply:?}");

            let to_hyper = origin().await;
            let seen = hyper_sees(&hyper(version), &to_hyper, patience).await;
            let expected = without_classes(expected);
            assert_eq!(seen, expected, "hyper-util, {version:?}: {reply:?}");

            for origin in [to_reqwest, to_hyper] {
                assert_eq!(origin.received().len(), 1, "no hidden retry: {reply:?}");
                assert_eq!(origin.received()[0].version, version);
                origin.assert_finished();
            }
        }
    }
}

fn body() -> Reply {
    Reply::status(200).body("0123456789")
}

const WHOLE: &str = "200 b\"0123456789\"";

/// R81 Without an answer a client sees a request error, and its cause tells the fault.
#[tokio::test]
async fn no_answer() {
    let incomplete = "request: incomplete message";
    let go_away = Reply::go_away;
    check([
        (Reply::close(), incomplete, "request: BrokenPipe"),
        (Reply::close().early(), incomplete, "request: BrokenPipe"),
        (
            Reply::reset(),
            "request: ConnectionReset",
            "request: ConnectionReset",
        ),
        (
            Reply::reset().early(),
            "request: ConnectionReset",
            "request: ConnectionReset",
        ),
        (Reply::hang(), "request+timeout", "request+timeout"),
        (
            Reply::status(200).after(LONG),
            "request+timeout",
            "request+timeout",
        ),
        (
            Reply::garbage(),
            "request: parse",
            "request: own GOAWAY FRAME_SIZE_ERROR",
        ),
        (
            Reply::refused_stream(),
            incomplete,
            "request: RST_STREAM REFUSED_STREAM",
        ),
        (
            Reply::rst_stream(ErrorCode::CANCEL),
            incomplete,
            "request: RST_STREAM CANCEL",
        ),
        (
            go_away(ErrorCode::NO_ERROR),
            incomplete,
            "request: GOAWAY NO_ERROR",
        ),
        (
            go_away(ErrorCode::ENHANCE_YOUR_CALM),
            incomplete,
            "request: GOAWAY ENHANCE_YOUR_CALM",
        ),
        // The client waits for this stream until the connection ends.
        (
            Reply::go_away_processed(ErrorCode::NO_ERROR),
            incomplete,
            "request: BrokenPipe",
        ),
        (
            body().close_after_head_bytes(5),
            incomplete,
            "request: Other",
        ),
        (
            body().close_after_head_bytes(25),
            incomplete,
            "request: Other",
        ),
    ])
    .await;
}

/// R81 A body that breaks off is a decode error after the status, or even looks like success.
#[tokio::test]
async fn broken_body() {
    let internal = "200, then decode: RST_STREAM INTERNAL_ERROR";
    let end = "200, then decode: UnexpectedEof";
    let reset = "200, then decode: ConnectionReset";
    check([
        (body().truncate_after(4), end, internal),
        (body().truncate_after(0), end, internal),
        // Everything arrived, but HTTP/2 never said so.
        (body().truncate_after(10), WHOLE, internal),
        (body().chunked().truncate_after(4), end, internal),
        // Nothing tells this client that the body is cut.
        (
            body().close_delimited().truncate_after(4),
            "200 b\"0123\"",
            internal,
        ),
        (body().close_after(4), end, "200, then decode: BrokenPipe"),
        (body().reset_after(4), reset, reset),
        (
            body().rst_stream_after(4, ErrorCode::CANCEL),
            end,
            "200, then decode: RST_STREAM CANCEL",
        ),
        (
            body().stall_after(4),
            "200, then decode+timeout",
            "200, then decode+timeout",
        ),
        (
            body().pause_after(4, LONG),
            "200, then decode+timeout",
            "200, then decode+timeout",
        ),
        (
            body().content_length(11),
            end,
            "200, then decode: own RST_STREAM PROTOCOL_ERROR",
        ),
        // The client believes the length.
        (
            body().content_length(9),
            "200 b\"012345678\"",
            "200, then decode: own RST_STREAM PROTOCOL_ERROR",
        ),
    ])
    .await;
}

/// R81 What is unusual but right looks like success.
#[tokio::test]
async fn whole_answers() {
    check([
        (body(), WHOLE, WHOLE),
        (body().early(), WHOLE, WHOLE),
        (body().chunked(), WHOLE, WHOLE),
        (body().close_delimited(), WHOLE, WHOLE),
        (body().trailer("x-sum", "10"), WHOLE, WHOLE),
        (body().informational(103), WHOLE, WHOLE),
        (body().after(ms(1)).trickle(1, ms(1)), WHOLE, WHOLE),
        (body().close_connection(), WHOLE, WHOLE),
        (body().close_idle_after(Duration::ZERO), WHOLE, WHOLE),
        (body().close_on_reuse(), WHOLE, WHOLE),
        (
            Reply::status(503).header("retry-after", "1"),
            "503 b\"\"",
            "503 b\"\"",
        ),
        (
            Reply::upgrade("websocket", ""),
            "101 b\"\"",
            "request: RST_STREAM HTTP_1_1_REQUIRED",
        ),
    ])
    .await;
}
