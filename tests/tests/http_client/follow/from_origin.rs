//! Bodies of a misbehaving origin, with reqwest and hyper-util, over HTTP/1.1 and HTTP/2.

use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};
use tower_keep::{
    BoxError, LogLayer, SendThrough,
    http::ErrorKind::{self, BodyTruncated, PossiblyProcessed},
};
use tower_keep_test::{
    Recorder,
    http::{Origin, Reply},
};

use super::{super::origin::clients, end};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// What the reader does with the body.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reads {
    All,
    OneFrame,
    Nothing,
}

/// What the reader got: the body, or the kind of its error. `None`: it did not read all.
type Read = Option<Result<String, ErrorKind>>;

async fn with_hyper(
    version: Version,
    origin: &Origin,
    method: &str,
    reads: Reads,
) -> Result<(Recorder, Read), BoxError> {
    let recorder = Recorder::new();
    let client = LogLayer::http_to(recorder.clone()).layer(clients::hyper(version));
    let request = Request::builder().method(method).uri(origin.url("/"));
    let response = client.oneshot(request.body(Full::default())?).await?;
    let mut body = response.into_body();
    let read = match reads {
        Reads::All => {
            let read = body.collect().await;
            let read = read.map_err(|error| ErrorKind::of(&*error));
            Some(read.map(|read| String::from_utf8_lossy(&read.to_bytes()).into_owned()))
        }
        Reads::OneFrame => {
            body.frame().await.expect("a frame")?;
            drop(body);
            None
        }
        Reads::Nothing => {
            drop(body);
            None
        }
    };
    Ok((recorder, read))
}

async fn with_reqwest(
    version: Version,
    origin: &Origin,
    method: &str,
    reads: Reads,
) -> Result<(Recorder, Read), BoxError> {
    let recorder = Recorder::new();
    let client = clients::reqwest(version);
    let api = LogLayer::http_to(recorder.clone()).layer(client.clone());
    let request = client.request(method.parse()?, origin.url("/"));
    let mut response = request.send_through(&api).await?;
    let read = match reads {
        Reads::All => Some(response.text().await.map_err(|error| ErrorKind::of(&error))),
        Reads::OneFrame => {
            response.chunk().await?.expect("a frame");
            drop(response);
            None
        }
        Reads::Nothing => {
            drop(response);
            None
        }
    };
    Ok((recorder, read))
}

/// R84 What the origin does with a body decides the end of the job, for each client and version.
#[tokio::test]
async fn the_body_decides() -> Result<(), BoxError> {
    let page = || Reply::status(200).body("0123456789");
    let done = |text: &str| Some(Ok(text.to_owned()));
    let cut = Some(Err(BodyTruncated));
    let reset = Some(Err(PossiblyProcessed));
    for version in VERSIONS {
        let truncated = match version {
            Version::HTTP_2 => reset.clone(),
            _ => cut.clone(),
        };
        for (what, method, reply, reads, read, body_end) in [
            (
                "complete",
                "GET",
                page(),
                Reads::All,
                done("0123456789"),
                "complete",
            ),
            (
                "chunked",
                "GET",
                page().chunked(),
                Reads::All,
                done("0123456789"),
                "complete",
            ),
            (
                "trailers",
                "GET",
                page().chunked().trailer("x-sum", "45"),
                Reads::All,
                done("0123456789"),
                "complete",
            ),
            (
                "empty",
                "GET",
                Reply::status(200),
                Reads::Nothing,
                None,
                "complete",
            ),
            (
                "no content",
                "GET",
                Reply::status(204),
                Reads::Nothing,
                None,
                "complete",
            ),
            ("head", "HEAD", page(), Reads::Nothing, None, "complete"),
            (
                "truncated",
                "GET",
                page().truncate_after(4),
                Reads::All,
                truncated.clone(),
                "truncated",
            ),
            (
                "reset",
                "GET",
                page().reset_after(4),
                Reads::All,
                reset.clone(),
                "truncated",
            ),
            (
                "not read",
                "GET",
                page().stall_after(4),
                Reads::Nothing,
                None,
                "dropped",
            ),
            (
                "partly read",
                "GET",
                page().stall_after(4),
                Reads::OneFrame,
                None,
                "dropped",
            ),
        ] {
            for client in ["hyper", "reqwest"] {
                let origin = Origin::start().await?.then(reply.clone());
                let (recorder, seen) = match client {
                    "hyper" => with_hyper(version, &origin, method, reads).await?,
                    _ => with_reqwest(version, &origin, method, reads).await?,
                };
                let row = format!("{client} {version:?} {what}");
                let (how, body) = end(&recorder).unwrap_or_else(|| panic!("{row}: no end"));
                assert_eq!(body, body_end, "{row}");
                assert_eq!(how == "succeeded", body != "truncated", "{row}: {how}");
                let is_error = |read: &Read| matches!(read, Some(Err(_)));
                assert_eq!(is_error(&seen), is_error(&read), "{row}: {seen:?}");
                if !is_error(&read) {
                    assert_eq!(seen, read, "{row}");
                }
            }
        }
    }
    Ok(())
}

/// R84 The connection of a body that was read is used again, and so it is after a body that the
/// wrapper holds.
#[tokio::test]
async fn the_connection_is_used_again() -> Result<(), BoxError> {
    for version in VERSIONS {
        let origin = Origin::start()
            .await?
            .then(Reply::status(200).body("page"))
            .repeat_last();
        let client = clients::hyper(version);
        let api = LogLayer::http().layer(client);
        for _ in 0..3 {
            let request = Request::get(origin.url("/")).body(Full::default())?;
            let response = api.clone().oneshot(request).await?;
            assert_eq!(response.into_body().collect().await?.to_bytes(), "page");
        }
        assert_eq!(origin.connections(), 1, "{version:?}");
    }
    Ok(())
}
