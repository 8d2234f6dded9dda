//! What becomes of the connection after a body: used again, closed, or only its stream reset.

use http::Version;
use http_body_util::BodyExt;
use tower_keep::{BoxError, http::body::BodyEnd::Dropped};
use tower_keep_test::http::{Origin, Reply};

use super::{Client, Stack, VERSIONS, read};

/// R84 The connection is used again after a body that was read to its end through the whole
/// pipeline, with a length, in chunks, and with trailers.
#[tokio::test]
async fn used_again_after_a_body_that_was_read() -> Result<(), BoxError> {
    for version in VERSIONS {
        for client in Client::both(version) {
            let page = || Reply::status(200).body("page");
            let origin = Origin::start().await?.script([
                page(),
                page().chunked(),
                page().trailer("x-sum", "4"),
                page(),
            ]);
            let stack = Stack::new();
            for _ in 0..4 {
                let response = client.get(&stack, &origin.url("/")).await?;
                assert_eq!(read(response.into_body()).await.bytes, b"page");
            }
            assert_eq!(origin.connections(), 1, "{} {version:?}", client.name());
            assert_eq!(stack.recorder.count("succeeded"), 4);
            origin.assert_finished();
        }
    }
    Ok(())
}

/// R84 The retry reads the body of a failed attempt, through the layer that limits it: the next
/// attempt uses the same connection. The job is one, and ends with the last body.
#[tokio::test]
async fn used_again_after_a_retry() -> Result<(), BoxError> {
    for version in VERSIONS {
        for client in Client::both(version) {
            let what = format!("{} {version:?}", client.name());
            let busy = || {
                let reply = Reply::status(503).header("retry-after", "0");
                reply.body("busy, come back later")
            };
            let origin = Origin::start().await?.script([
                busy(),
                busy().chunked(),
                Reply::status(200).body("page"),
            ]);
            let stack = Stack::retrying();
            let response = client.get(&stack, &origin.url("/")).await?;
            assert!(stack.runs(), "{what}");
            assert_eq!(read(response.into_body()).await.bytes, b"page");
            assert_eq!(origin.connections(), 1, "{what}");
            assert_eq!(stack.recorder.count("succeeded"), 1);
            stack.recorder.assert_one_terminal_each();
            origin.assert_finished();
        }
    }
    Ok(())
}

/// R84 A reader that drops a body half-way ends the transfer: over HTTP/1.1 the connection closes,
/// over HTTP/2 only the stream is reset. The next call works.
#[tokio::test]
async fn a_dropped_body_ends_the_transfer() -> Result<(), BoxError> {
    for version in VERSIONS {
        for client in Client::both(version) {
            let what = format!("{} {version:?}", client.name());
            let origin = Origin::start().await?.script([
                Reply::status(200).body("a long page").stall_after(4),
                Reply::status(200).body("page"),
            ]);
            let stack = Stack::new();
            let mut body = client.get(&stack, &origin.url("/")).await?.into_body();
            let first = body.frame().await.expect("a frame")?;
            assert_eq!(first.into_data().unwrap(), "a lo");
            assert!(stack.runs(), "{what}");
            drop(body);
            stack.assert_ended(Some(Dropped), &what);
            origin
                .until(|received| received[0].abandoned.is_some())
                .await;
            let next = Stack::new();
            let response = client.get(&next, &origin.url("/")).await?;
            assert_eq!(read(response.into_body()).await.bytes, b"page");
            let connections = match version {
                Version::HTTP_2 => 1,
                _ => 2,
            };
            assert_eq!(origin.connections(), connections, "{what}");
        }
    }
    Ok(())
}
