//! A response that is cut at each of its bytes.

use std::collections::BTreeSet;

use http::Version;
use tower_keep::http::body::BodyEnd::{Complete, Truncated};
use tower_keep_test::{
    http::{Origin, Reply},
    secs,
};

use super::{Client, Stack, VERSIONS, read, relay::Relay};

const PAGE: &str = "a page of twenty-six bytes";

/// What became of a call whose connection was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    NoHead,
    Truncated,
    Complete,
}

/// Makes a call over a connection that is cut after `bytes` bytes of the server, and checks that
/// the caller, the job and the circuit agree. Returns what became of it, and how many bytes the
/// server sent.
async fn call(client: &Client, reply: &Reply, bytes: usize) -> (Outcome, usize) {
    let what = format!("{}, cut after {bytes}", client.name());
    let origin = Origin::in_memory().then(reply.clone());
    let relay = Relay::cut_after(&origin, bytes).await.unwrap();
    let stack = Stack::new();
    let outcome = match client.get(&stack, relay.url()).await {
        Err(_) => {
            stack.assert_ended(None, &what);
            Outcome::NoHead
        }
        Ok(response) => {
            assert!(stack.runs(), "{what}");
            let read = read(response.into_body()).await;
            match read.error {
                None => {
                    assert_eq!(read.bytes, PAGE.as_bytes(), "{what}");
                    stack.assert_ended(Some(Complete), &what);
                    Outcome::Complete
                }
                Some(_) => {
                    stack.assert_ended(Some(Truncated), &what);
                    assert!(PAGE.as_bytes().starts_with(&read.bytes), "{what}");
                    Outcome::Truncated
                }
            }
        }
    };
    (outcome, relay.passed())
}

/// R84 Cut at each byte, from the first of the head to the last of the body, a response is an error
/// or complete: never a shorter body that looks complete. The job's end, the end of its body and
/// the circuit agree with what the caller got.
async fn at_each_byte(version: Version, reply: Reply) {
    for client in Client::both(version) {
        let (whole, length) = call(&client, &reply, usize::MAX).await;
        assert_eq!(whole, Outcome::Complete);
        assert!(length > PAGE.len() && length < 300, "{length} bytes");
        let mut outcomes = BTreeSet::new();
        for bytes in 0..=length {
            let (outcome, passed) = call(&client, &reply, bytes).await;
            assert!(passed <= bytes);
            match version {
                // The last byte is the end of the message. HTTP/2 sends other frames after it.
                Version::HTTP_11 => assert_eq!(outcome == Outcome::Complete, bytes == length),
                _ if bytes < PAGE.len() => assert_ne!(outcome, Outcome::Complete),
                _ => {}
            }
            outcomes.insert(outcome);
        }
        let all = [Outcome::NoHead, Outcome::Truncated, Outcome::Complete];
        assert_eq!(outcomes, BTreeSet::from(all), "{}", client.name());
    }
}

fn page() -> Reply {
    Reply::status(200).header("x-kind", "page").body(PAGE)
}

/// R84 As [`at_each_byte`], for a body with a length.
#[tokio::test]
async fn a_body_with_a_length() {
    for version in VERSIONS {
        at_each_byte(version, page()).await;
    }
}

/// R84 As [`at_each_byte`], for a body in chunks.
#[tokio::test]
async fn a_body_in_chunks() {
    for version in VERSIONS {
        at_each_byte(version, page().chunked().trickle(10, secs(0))).await;
    }
}

/// R84 As [`at_each_byte`], for a body with trailers.
#[tokio::test]
async fn a_body_with_trailers() {
    for version in VERSIONS {
        at_each_byte(version, page().trailer("x-sum", "26")).await;
    }
}
