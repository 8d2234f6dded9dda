//! What a followed `reqwest::Response` keeps.

use std::{error::Error, net::SocketAddr};

use http::Version;
use tower::{Layer, ServiceBuilder, service_fn, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, JobLayer, LogLayer, SendThrough, TimeoutLayer, describe_error, http::ErrorKind,
};
use tower_keep_test::{
    Recorder,
    http::{Origin, Reply},
};
use tower_keep_tests::servers::SHORT;

use super::{super::origin::clients, end};

#[derive(Clone)]
struct Mark(u32);

/// R84 The URL after redirects, the head, the address, the extensions and the length stay, through
/// several layers that follow the body.
#[tokio::test]
async fn the_head_stays() -> Result<(), BoxError> {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let origin = Origin::start()
            .await?
            .then(Reply::status(302).header("location", "/moved?token=1"))
            .then(
                Reply::status(201)
                    .header("x-mark", "7")
                    .body(r#"{"page":7}"#),
            );
        let client = clients::reqwest(version);
        let inner = client.clone();
        let marked = service_fn(move |request| {
            let call = inner.execute(request);
            async move {
                let mut response = call.await?;
                response.extensions_mut().insert(Mark(7));
                Ok::<_, BoxError>(response)
            }
        });
        let recorder = Recorder::new();
        let api = ServiceBuilder::new()
            .layer(LogLayer::http())
            .layer(TimeoutLayer::new(tower_keep_tests::servers::LONG))
            .layer(LogLayer::http_to(recorder.clone()))
            .service(marked);
        let response = client.get(origin.url("/")).send_through(&api).await?;
        assert_eq!(response.url().as_str(), origin.url("/moved?token=1"));
        assert_eq!(response.status(), 201);
        assert_eq!(response.version(), version);
        assert_eq!(response.headers()["x-mark"], "7");
        assert_eq!(response.content_length(), Some(10));
        assert_eq!(
            response.extensions().get::<Mark>().map(|mark| mark.0),
            Some(7)
        );
        let addr: Option<SocketAddr> = response.remote_addr();
        assert!(addr.is_some(), "{version:?}");
        assert_eq!(end(&recorder), None);
        let page: serde_json::Value = response.error_for_status()?.json().await?;
        assert_eq!(page["page"], 7);
        assert_eq!(end(&recorder).unwrap().1, "complete");
    }
    Ok(())
}

/// R84 `error_for_status` names the URL and the status, and drops the body, which ends the job.
#[tokio::test]
async fn error_for_status_stays() -> Result<(), BoxError> {
    let origin = Origin::start()
        .await?
        .then(Reply::status(404).body("nothing"));
    let recorder = Recorder::new();
    let client = clients::reqwest(Version::HTTP_11);
    let api = LogLayer::http_to(recorder.clone()).layer(client.clone());
    let response = client.get(origin.url("/page")).send_through(&api).await?;
    let error = response.error_for_status().unwrap_err();
    assert_eq!(error.status().unwrap(), 404);
    assert_eq!(error.url().unwrap().as_str(), origin.url("/page"));
    assert_eq!(end(&recorder), Some(("succeeded".to_owned(), "dropped")));
    Ok(())
}

/// R84 reqwest's own limit in a followed body is still a timeout, and the job says that the body
/// stalled. A cut body is still one for the table of errors.
#[tokio::test]
async fn errors_keep_their_classes() -> Result<(), BoxError> {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let page = || Reply::status(200).body("0123456789");
        let origin = Origin::start()
            .await?
            .then(page().stall_after(4))
            .then(page().truncate_after(4));
        let client = clients::reqwest(version);
        for (is_timeout, body_end) in [(true, "stalled"), (false, "truncated")] {
            let bare = client.get(origin.url("/"));
            let request = match is_timeout {
                true => bare.timeout(SHORT * 4),
                false => bare,
            };
            let recorder = Recorder::new();
            let api = ServiceBuilder::new()
                .layer(LogLayer::http_to(recorder.clone()))
                .layer(LogLayer::http())
                .service(client.clone());
            let mut response = request.send_through(&api).await?;
            assert_eq!(response.chunk().await?.unwrap(), "0123");
            let error = response.chunk().await.unwrap_err();
            assert_eq!(error.is_timeout(), is_timeout, "{error:?}");
            assert!(error.is_decode() || error.is_body(), "{error:?}");
            assert!(error.source().is_some());
            match is_timeout {
                true => assert_eq!(ErrorKind::of(&error), ErrorKind::BodyStalled),
                false => assert_eq!(ErrorKind::of(&error), ErrorKind::BodyTruncated),
            }
            let (how, seen) = end(&recorder).unwrap();
            assert_eq!(seen, body_end, "{version:?}");
            assert_ne!(how, "succeeded");
        }
    }
    Ok(())
}

/// R75 Each layer adds two errors of reqwest to the chain. The cause below them is still in the log,
/// and in the text for the caller.
#[tokio::test]
async fn many_layers_do_not_hide_the_cause() -> Result<(), BoxError> {
    let page = Reply::status(200).body("0123456789");
    let origin = Origin::start().await?.then(page.truncate_after(4));
    let client = clients::reqwest(Version::HTTP_11);
    let recorder = Recorder::new();
    let mut api = BoxCloneSyncService::new(client.clone());
    for _ in 0..12 {
        api = BoxCloneSyncService::new(JobLayer::new("page").http().layer(api));
    }
    let api = LogLayer::http_to(recorder.clone()).layer(api);
    let response = client.get(origin.url("/")).send_through(&api).await?;
    let error = response.bytes().await.unwrap_err();
    let cause = "end of file before message length reached";
    for text in [describe_error(&error), end(&recorder).unwrap().0] {
        assert!(text.ends_with(cause), "{text}");
    }
    Ok(())
}
