//! A `reqwest::Response` with a limited body: its errors are timeouts for reqwest, too.

use std::{error::Error, time::Duration};

use http::Version;
use tower::ServiceBuilder;
use tower_keep::{
    BoxError, LogLayer, Rejection, SendThrough, TimeoutLayer, find,
    http::ErrorKind,
    timeout::{Elapsed, LimitScope},
};
use tower_keep_test::{
    Recorder,
    http::{Origin, Reply},
};
use tower_keep_tests::servers::{LONG, SHORT, bounded};

use super::super::{follow::end, origin::clients};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// How the body is read.
#[derive(Clone, Copy, Debug)]
enum Reads {
    Json,
    Text,
    Bytes,
    Chunk,
}

async fn fails(
    version: Version,
    reads: Reads,
    overall: Duration,
    idle: Duration,
) -> Result<(reqwest::Error, Recorder), BoxError> {
    let origin = Origin::start()
        .await?
        .then(Reply::status(200).body("0123456789").stall_after(4));
    let recorder = Recorder::new();
    let client = clients::reqwest(version);
    let api = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(TimeoutLayer::http(overall))
        .layer(TimeoutLayer::http_attempt(LONG).idle(idle))
        .service(client.clone());
    let mut response = client.get(origin.url("/")).send_through(&api).await?;
    assert_eq!(response.content_length(), Some(10));
    let error = match reads {
        Reads::Json => response.json::<u32>().await.unwrap_err(),
        Reads::Text => response.text().await.unwrap_err(),
        Reads::Bytes => response.bytes().await.unwrap_err(),
        Reads::Chunk => {
            assert_eq!(response.chunk().await?.unwrap(), "0123");
            response.chunk().await.unwrap_err()
        }
    };
    Ok((error, recorder))
}

/// R84 Each way to read fails with an error that is a timeout for reqwest and for this library, and
/// has the typed error in its chain of sources.
#[tokio::test]
async fn a_stalled_body_is_a_timeout() -> Result<(), BoxError> {
    let shorts = SHORT * 4;
    for version in VERSIONS {
        for reads in [Reads::Json, Reads::Text, Reads::Bytes, Reads::Chunk] {
            for (overall, idle, scope) in [
                (shorts, LONG, LimitScope::Overall),
                (LONG, shorts, LimitScope::Idle),
            ] {
                let failed = bounded(fails(version, reads, overall, idle)).await;
                let (error, recorder) = failed?;
                let row = format!("{version:?} {reads:?} {scope}: {error:?}");
                assert!(error.is_timeout(), "{row}");
                assert_eq!(Rejection::of(&error), Some(Rejection::TimedOut), "{row}");
                assert_eq!(find::<Elapsed>(&error).unwrap().scope(), &scope, "{row}");
                assert_eq!(ErrorKind::of(&error), ErrorKind::BodyStalled, "{row}");
                let mut next: Option<&dyn Error> = Some(&error);
                let mut has_typed = false;
                while let Some(error) = next {
                    has_typed |= error.is::<Elapsed>();
                    next = error.source();
                }
                assert!(has_typed, "{row}");
                let (how, body_end) = end(&recorder).unwrap();
                assert!(how.contains("time limit"), "{row}: {how}");
                assert_eq!(body_end, "stalled", "{row}");
                assert_eq!(recorder.count("timed_out"), 1, "{row}");
            }
        }
    }
    Ok(())
}

/// R84 R85 Bodies in time are read as before: complete, empty, HEAD, 204, slowly.
#[tokio::test]
async fn a_body_in_time_is_read() -> Result<(), BoxError> {
    for version in VERSIONS {
        let page = || Reply::status(200).body(r#"{"page":7}"#);
        for (method, reply, expected) in [
            ("GET", page(), r#"{"page":7}"#),
            ("GET", page().trickle(5, SHORT), r#"{"page":7}"#),
            ("GET", Reply::status(200), ""),
            ("GET", Reply::status(204), ""),
            ("HEAD", page(), ""),
        ] {
            let origin = Origin::start().await?.then(reply);
            let recorder = Recorder::new();
            let client = clients::reqwest(version);
            let api = ServiceBuilder::new()
                .layer(LogLayer::http_to(recorder.clone()))
                .layer(TimeoutLayer::http(LONG))
                .layer(TimeoutLayer::http_attempt(LONG).idle(LONG))
                .service(client.clone());
            let request = client.request(method.parse()?, origin.url("/"));
            let response = bounded(request.send_through(&api)).await?;
            assert_eq!(bounded(response.text()).await?, expected);
            assert_eq!(end(&recorder), Some(("succeeded".to_owned(), "complete")));
        }
    }
    Ok(())
}

/// R84 Before the head, the error is that of the layer.
#[tokio::test]
async fn a_late_head_is_the_layers_error() -> Result<(), BoxError> {
    let origin = Origin::start().await?.then(Reply::hang());
    let client = clients::reqwest(Version::HTTP_11);
    let api = ServiceBuilder::new()
        .layer(TimeoutLayer::http(SHORT))
        .service(client.clone());
    let error = bounded(client.get(origin.url("/")).send_through(&api))
        .await
        .unwrap_err();
    assert_eq!(
        find::<Elapsed>(&*error).unwrap().scope(),
        &LimitScope::Overall
    );
    Ok(())
}
