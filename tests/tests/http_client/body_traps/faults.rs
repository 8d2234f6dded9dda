//! Bodies that stall, trickle or break: the whole pipeline agrees on their end.

use std::time::Duration;

use http::Version;
use http_body_util::BodyExt;
use tower_keep::{
    BoxError, Rejection,
    http::body::BodyEnd::{self, Complete, Stalled, Truncated},
};
use tower_keep_test::http::{ErrorCode, Origin, Reply};

use super::{Client, Stack, VERSIONS, read};

const PAGE: &str = "0123456789";

/// R84 R85 Over HTTP/2 a body can stall after its whole length, as its end is a frame of its own.
/// The idle limit also holds there.
#[tokio::test]
async fn an_end_that_does_not_come() -> Result<(), BoxError> {
    for client in Client::both(Version::HTTP_2) {
        let reply = Reply::status(200).body(PAGE).stall_after(PAGE.len());
        let origin = Origin::start().await?.then(reply.clone()).then(reply);
        let stack = Stack::idle(Duration::from_millis(50));
        let response = client.get(&stack, &origin.url("/")).await?;
        let read = read(response.into_body()).await;
        assert_eq!(read.bytes, PAGE.as_bytes(), "{}", client.name());
        let error = read.error.expect("an error");
        assert_eq!(Rejection::of(&**error), Some(Rejection::TimedOut));
        stack.assert_ended(Some(Stalled), client.name());

        // A reader that has the whole length needs no end.
        let stack = Stack::new();
        let mut body = client.get(&stack, &origin.url("/")).await?.into_body();
        let frame = body.frame().await.expect("a frame")?;
        assert_eq!(frame.into_data().unwrap(), PAGE);
        drop(body);
        stack.assert_ended(Some(Complete), client.name());
    }
    Ok(())
}

/// R84 R85 What the server does with a body, and how the job, the body and the circuit end. A
/// server that trickles is slow, but does not stall.
#[tokio::test]
async fn what_a_server_does_with_a_body() -> Result<(), BoxError> {
    let page = || Reply::status(200).body(PAGE);
    let rows: [(&str, Reply, BodyEnd); 9] = [
        ("stalls", page().stall_after(4), Stalled),
        ("stalls at once", page().stall_after(0), Stalled),
        ("stalls in chunks", page().chunked().stall_after(4), Stalled),
        (
            "trickles",
            page().trickle(1, Duration::from_millis(5)),
            Complete,
        ),
        (
            "trickles chunks",
            page().chunked().trickle(3, Duration::from_millis(5)),
            Complete,
        ),
        ("resets", page().reset_after(4), Truncated),
        ("resets chunks", page().chunked().reset_after(4), Truncated),
        ("closes", page().close_after(4), Truncated),
        (
            "resets the stream",
            page().rst_stream_after(4, ErrorCode::INTERNAL_ERROR),
            Truncated,
        ),
    ];
    for version in VERSIONS {
        for client in Client::both(version) {
            for (what, reply, ends) in rows.clone() {
                let what = format!("{} {version:?} {what}", client.name());
                let origin = Origin::start().await?.then(reply);
                let stack = match ends {
                    Stalled => Stack::idle(Duration::from_millis(50)),
                    _ => Stack::new(),
                };
                let response = client.get(&stack, &origin.url("/")).await?;
                let read = read(response.into_body()).await;
                stack.assert_ended(Some(ends), &what);
                assert_eq!(read.error.is_none(), ends == Complete, "{what}");
                if let Some(error) = read.error {
                    let is_late = Rejection::of(&**error) == Some(Rejection::TimedOut);
                    assert_eq!(is_late, ends == Stalled, "{what}: {error}");
                    assert!(read.bytes.len() <= 4, "{what}");
                } else {
                    assert_eq!(read.bytes, PAGE.as_bytes(), "{what}");
                }
            }
        }
    }
    Ok(())
}
