//! What each answer to a range request does.

use std::error::Error as _;

use tower::Layer;
use tower_keep::{
    GiveUpReason, ResumeLayer, RetryLayer,
    http::{ErrorKind, resume::NotResumedReason},
};

use super::{Answer, CONTENT, Download, End, Server, download, get};

/// The first response breaks off after `bytes` bytes; then the server gives these answers.
async fn cut_after(bytes: usize, answers: impl IntoIterator<Item = Answer>) -> (Download, Server) {
    let first = Answer::whole(CONTENT).cut_after(bytes);
    let server = Server::new([first].into_iter().chain(answers));
    let got = download(ResumeLayer::new().layer(server.client()), get()).await;
    (got, server)
}

#[track_caller]
fn failed((got, server): (Download, Server), delivered: usize, reason: NotResumedReason) {
    got.is_not_resumed(&CONTENT[..delivered], reason);
    assert_eq!(server.arrived().len(), 2);
}

fn rest() -> Answer {
    Answer::rest(CONTENT, 4)
}

/// R86 The rest of the same representation. Its length may be missing.
#[tokio::test(start_paused = true)]
async fn the_rest() {
    for answer in [
        rest(),
        rest().exact(6),
        rest().without("content-length"),
        rest().header("content-range", "bytes 4-9/*"),
        rest().header("content-range", "Bytes 4-9/10"),
        rest().header("accept-ranges", "none"),
        rest().header("content-type", "text/plain"),
    ] {
        let (got, _) = cut_after(4, [answer.clone()]).await;
        got.is_whole();
        let (got, _) = cut_after(4, [answer.trailers()]).await;
        got.is_whole();
        assert!(got.trailers);
    }
}

/// R86 Another range is an error, and none of its bytes is delivered.
#[tokio::test(start_paused = true)]
async fn another_range() {
    for range in [
        "bytes 0-9/10",
        "bytes 3-9/10",
        "bytes 5-9/10",
        "bytes 4-10/11",
        "bytes 4-10/*",
        "bytes 4-9",
        "bytes */10",
        "lines 4-9/10",
        "bytes 9-4/10",
        "",
    ] {
        let wrong = rest()
            .without("content-length")
            .header("content-range", range);
        let reason = match range {
            // The length of the whole has changed.
            "bytes 4-10/11" => NotResumedReason::Changed,
            _ => NotResumedReason::WrongRange,
        };
        failed(cut_after(4, [wrong]).await, 4, reason);
    }
    let wrong = NotResumedReason::WrongRange;
    failed(
        cut_after(4, [rest().without("content-range")]).await,
        4,
        wrong,
    );
    failed(
        cut_after(4, [rest().header("content-length", 5)]).await,
        4,
        wrong,
    );
    failed(
        cut_after(4, [rest().without("content-length").exact(7)]).await,
        4,
        wrong,
    );
}

/// R86 More bytes than the range has are an error.
#[tokio::test(start_paused = true)]
async fn more_bytes_than_the_range() {
    let longer = rest().without("content-length").body("456789ABC");
    failed(
        cut_after(4, [longer]).await,
        10,
        NotResumedReason::WrongRange,
    );
}

/// R86 A range that is encoded, or comes in several parts, is an error.
#[tokio::test(start_paused = true)]
async fn an_encoded_range() {
    for (name, value) in [
        ("content-encoding", "gzip"),
        ("content-type", "multipart/byteranges; boundary=x"),
    ] {
        let answer = rest().header(name, value);
        failed(
            cut_after(4, [answer]).await,
            4,
            NotResumedReason::WrongRange,
        );
    }
}

/// R86 A server that ignores `If-Range` and names no entity tag proves nothing: these may be the
/// bytes of another representation with the same length.
#[tokio::test(start_paused = true)]
async fn a_part_without_the_entity_tag() {
    let other = Answer::rest("ABCDEFGHIJ", 4);
    for other in [
        other.clone().without("etag"),
        other
            .without("etag")
            .header("content-range", "bytes 4-9/*")
            .header("last-modified", "Fri, 15 Nov 2024 12:00:00 GMT"),
    ] {
        failed(cut_after(4, [other]).await, 4, NotResumedReason::Changed);
    }
}

/// R86 Another validator is an error, also if it is weak now.
#[tokio::test(start_paused = true)]
async fn another_validator() {
    for tag in ["\"v2\"", "W/\"v1\""] {
        let answer = rest().header("etag", tag);
        failed(cut_after(4, [answer]).await, 4, NotResumedReason::Changed);
    }
    let dated = |answer: Answer| {
        let answer = answer
            .without("etag")
            .header("date", "Fri, 15 Nov 2024 13:00:00 GMT");
        answer.header("last-modified", "Fri, 15 Nov 2024 12:00:00 GMT")
    };
    let first = || dated(Answer::whole(CONTENT)).cut_after(4);
    for (answer, fits) in [
        (dated(rest()), true),
        (dated(rest()).without("date"), true),
        (dated(rest()).without("last-modified"), true),
        (
            dated(rest()).header("last-modified", "Fri, 15 Nov 2024 12:00:01 GMT"),
            false,
        ),
        (dated(rest()).header("etag", "\"v1\""), false),
    ] {
        let server = Server::new([first(), answer]);
        let got = download(ResumeLayer::new().layer(server.client()), get()).await;
        match fits {
            true => got.is_whole(),
            false => {
                got.is_not_resumed(&CONTENT[..4], NotResumedReason::Changed);
            }
        }
    }
}

/// R86 A 200 restarts only if nothing was delivered, and only with the same representation: the
/// caller has its head.
#[tokio::test(start_paused = true)]
async fn the_whole_again() {
    let whole = || Answer::whole(CONTENT);
    failed(
        cut_after(4, [whole()]).await,
        4,
        NotResumedReason::RangeIgnored,
    );
    failed(
        cut_after(4, [whole().header("etag", "\"v2\"")]).await,
        4,
        NotResumedReason::Changed,
    );
    failed(
        cut_after(4, [whole().without("etag")]).await,
        4,
        NotResumedReason::Changed,
    );

    let (got, server) = cut_after(0, [whole()]).await;
    got.is_whole();
    assert_eq!(server.ranges(), ["", "bytes=0-"]);
    let (got, _) = cut_after(0, [Answer::rest(CONTENT, 0)]).await;
    got.is_whole();
    failed(
        cut_after(0, [whole().header("etag", "\"v2\"")]).await,
        0,
        NotResumedReason::Changed,
    );
    let shorter = Answer::whole(&CONTENT[..9]);
    failed(cut_after(0, [shorter]).await, 0, NotResumedReason::Changed);
    let encoded = whole().header("content-encoding", "gzip");
    failed(cut_after(0, [encoded]).await, 0, NotResumedReason::Changed);

    // It was a range from 2 on: the whole is something else.
    let mut request = get();
    request
        .headers_mut()
        .insert("range", "bytes=2-".parse().unwrap());
    let server = Server::new([Answer::rest(CONTENT, 2).cut_after(0), whole()]);
    let got = download(ResumeLayer::new().layer(server.client()), request).await;
    got.is_not_resumed("", NotResumedReason::RangeIgnored);
}

/// R86 Other statuses are errors, and say which.
#[tokio::test(start_paused = true)]
async fn other_statuses() {
    for status in [204, 301, 304, 400, 401, 404, 412, 416, 500, 501] {
        let expected = status.try_into().unwrap();
        let answer = Answer::status(status).body("not the content");
        failed(
            cut_after(4, [answer]).await,
            4,
            NotResumedReason::Status(expected),
        );
    }
}

/// R86 A 503 on a range request is a failed attempt: its `Retry-After` is honoured.
#[tokio::test(start_paused = true)]
async fn a_busy_server() {
    for status in [408, 425, 429, 502, 503, 504] {
        let busy = Answer::status(status)
            .header("retry-after", 30)
            .body("busy");
        let (got, server) = cut_after(4, [busy, rest()]).await;
        got.is_whole();
        assert_eq!(server.ranges(), ["", "bytes=4-", "bytes=4-"]);
        let waited = server.arrived()[2].at - server.arrived()[1].at;
        assert!((30..=33).contains(&waited.as_secs()), "{waited:?}");
    }

    let busy = || Answer::status(503);
    let (got, server) = cut_after(4, [busy(), busy(), busy()]).await;
    let reason = NotResumedReason::Status(http::StatusCode::SERVICE_UNAVAILABLE);
    got.is_not_resumed(&CONTENT[..4], reason);
    assert_eq!(server.arrived().len(), 4);

    // It asks for too long a wait.
    let later = busy().header("retry-after", 61);
    failed(cut_after(4, [later]).await, 4, reason);
}

/// R86 A part that is shorter than what was asked for is continued: RFC 9110, section 15.3.7.
#[tokio::test(start_paused = true)]
async fn a_shorter_part() {
    let part = |first: usize, last: usize| {
        Answer::status(206)
            .header("content-range", format!("bytes {first}-{last}/10"))
            .header("etag", "\"v1\"")
            .body(&CONTENT[first..=last])
    };
    let (got, server) = cut_after(4, [part(4, 5), part(6, 8), part(9, 9)]).await;
    got.is_whole();
    assert_eq!(server.ranges(), ["", "bytes=4-", "bytes=6-", "bytes=9-"]);
}

/// R86 A resumed body that breaks off is resumed again. A body that ends early never counts as whole.
#[tokio::test(start_paused = true)]
async fn cuts_in_a_row() {
    let cuts = [
        rest().cut_after(1),
        Answer::rest(CONTENT, 5).ends_after(2, End::Done),
        Answer::rest(CONTENT, 7).exact(3).cut_after(2),
        Answer::rest(CONTENT, 9),
    ];
    let (got, server) = cut_after(4, cuts).await;
    got.is_whole();
    assert_eq!(
        server.ranges(),
        ["", "bytes=4-", "bytes=5-", "bytes=7-", "bytes=9-"]
    );

    let empty = || rest().ends_after(0, End::Done);
    let (got, _) = cut_after(4, [empty(), empty(), empty()]).await;
    got.is_not_resumed(
        &CONTENT[..4],
        NotResumedReason::GaveUp(GiveUpReason::Exhausted),
    );
}

/// R86 Trailers before the last byte end a response early.
#[tokio::test(start_paused = true)]
async fn early_trailers() {
    let early = rest().body("45").trailers();
    let (got, server) = cut_after(4, [early, Answer::rest(CONTENT, 6)]).await;
    got.is_whole();
    assert!(!got.trailers);
    assert_eq!(server.ranges(), ["", "bytes=4-", "bytes=6-"]);
}

/// R86 An error has the number of bytes, the reason and the cause.
#[tokio::test(start_paused = true)]
async fn the_error_says_what_happened() {
    let first = Answer::whole(CONTENT).cut_after(4);
    let server = Server::with_errors([
        Ok(first),
        Err(std::io::ErrorKind::ConnectionRefused),
        Err(std::io::ErrorKind::ConnectionRefused),
        Err(std::io::ErrorKind::ConnectionRefused),
    ]);
    let got = download(ResumeLayer::new().layer(server.client()), get()).await;
    let error = got.is_not_resumed(&CONTENT[..4], NotResumedReason::Failed);
    assert_eq!(
        error.to_string(),
        "the response body broke off after 4 bytes and was not resumed: the range request failed"
    );
    assert_eq!(error.interruption().to_string(), "unexpected end of file");
    assert_eq!(error.source().unwrap().to_string(), "connection refused");
    assert_eq!(ErrorKind::of(error), ErrorKind::NeverSent);

    let (got, _) = cut_after(4, [Answer::status(416)]).await;
    let reason = NotResumedReason::Status(http::StatusCode::RANGE_NOT_SATISFIABLE);
    let error = got.is_not_resumed(&CONTENT[..4], reason);
    assert_eq!(
        error.to_string(),
        "the response body broke off after 4 bytes and was not resumed: \
         the server answered a range request with 416"
    );
    assert_eq!(
        error.source().unwrap().to_string(),
        "unexpected end of file"
    );
    assert_eq!(ErrorKind::of(error), ErrorKind::BodyTruncated);
}

/// R86 The same answers do the same under a retry that resumes.
#[tokio::test(start_paused = true)]
async fn under_a_retry() {
    let changed = rest().header("etag", "\"v2\"");
    for (answers, whole) in [
        (vec![Answer::status(503), rest()], true),
        (vec![changed], false),
    ] {
        let first = [Answer::status(503), Answer::whole(CONTENT).cut_after(4)];
        let server = Server::new(first.into_iter().chain(answers));
        let got = download(RetryLayer::http().resume().layer(server.client()), get()).await;
        match whole {
            true => got.is_whole(),
            false => {
                got.is_not_resumed(&CONTENT[..4], NotResumedReason::Changed);
            }
        }
    }
}
