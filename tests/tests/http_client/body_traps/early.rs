//! A response that arrives while the upload runs.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::Frame,
    client::conn::{http1, http2},
};
use hyper_util::{
    client::legacy::{Client as Legacy, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, ReplayLayer, SendThrough,
    http::{body::BodyEnd::Complete, replay::ReplayBody},
};
use tower_keep_test::{
    http::{Origin, Reply},
    secs,
};

use super::{super::origin::clients, Body, Stack, VERSIONS, of_reqwest, read};

/// The parts of an upload, from their writer.
type Parts = mpsc::UnboundedReceiver<&'static str>;
type Upload = UnsyncBoxBody<Bytes, Infallible>;

fn upload(parts: Parts) -> Upload {
    let frames = stream::unfold(parts, |mut parts| async move {
        let part = Bytes::from(parts.recv().await?);
        Some((Ok(Frame::data(part)), parts))
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

/// Posts an upload through the stack.
async fn post(
    stack: &Stack,
    (client, version): (&'static str, Version),
    url: &str,
    mut parts: Parts,
) -> Result<Response<Body>, BoxError> {
    use tower::Layer as _;
    if client == "reqwest" {
        let client = clients::reqwest(version);
        let api = stack.layer.layer(client.clone());
        let parts = stream::poll_fn(move |cx| {
            let part = parts.poll_recv(cx);
            part.map(|part| part.map(|part| Ok::<_, Infallible>(Bytes::from(part))))
        });
        let request = client.post(url).body(reqwest::Body::wrap_stream(parts));
        return Ok(of_reqwest(request.send_through(&api).await?));
    }
    let client: Legacy<_, ReplayBody<Upload>> = Legacy::builder(TokioExecutor::new())
        .retry_canceled_requests(false)
        .http2_only(version == Version::HTTP_2)
        .build(HttpConnector::new());
    let api = ServiceBuilder::new()
        .layer(ReplayLayer::new())
        .layer(&stack.layer)
        .service(client);
    let request = Request::post(url).body(upload(parts))?;
    Ok(api.oneshot(request).await?.map(BodyExt::boxed_unsync))
}

/// Posts an upload through the stack, on a connection in memory.
async fn post_in_memory(
    stack: &Stack,
    origin: &Origin,
    version: Version,
    parts: Parts,
) -> Result<Response<Body>, BoxError> {
    let connector = origin.connector();
    let client = service_fn(move |request: Request<ReplayBody<Upload>>| {
        let stream = connector.connect().map(TokioIo::new);
        async move {
            let stream = stream?;
            Ok::<_, BoxError>(match version {
                Version::HTTP_2 => {
                    let executor = TokioExecutor::new();
                    let (mut client, connection) = http2::handshake(executor, stream).await?;
                    tokio::spawn(connection);
                    client.send_request(request).await?
                }
                _ => {
                    let (mut client, connection) = http1::handshake(stream).await?;
                    tokio::spawn(connection);
                    client.send_request(request).await?
                }
            })
        }
    });
    let api = ServiceBuilder::new()
        .layer(ReplayLayer::new())
        .layer(&stack.layer)
        .service(client);
    let request = Request::post(origin.url("/"))
        .header("host", "origin.test")
        .body(upload(parts))?;
    Ok(api.oneshot(request).await?.map(BodyExt::boxed_unsync))
}

/// R84 R85 The server answers while the upload runs. The job ends with the response body, not with
/// the upload, which goes on after that.
#[tokio::test]
async fn the_upload_goes_on() -> Result<(), BoxError> {
    for version in VERSIONS {
        for client in ["hyper-util", "reqwest"] {
            let what = format!("{client} {version:?}");
            let early = Reply::status(200).body("thanks").early();
            let origin = Origin::start().await?.then(early);
            let stack = Stack::new();
            let (writer, parts) = mpsc::unbounded_channel();
            writer.send("one ")?;
            let response = post(&stack, (client, version), &origin.url("/"), parts).await?;
            assert_eq!(response.status(), 200);
            assert!(stack.runs(), "{what}");
            assert_eq!(read(response.into_body()).await.bytes, b"thanks", "{what}");
            stack.assert_ended(Some(Complete), &what);
            assert!(!origin.received()[0].complete, "{what}");
            writer.send("two ")?;
            writer.send("three")?;
            drop(writer);
            origin.until(|received| received[0].complete).await;
            assert_eq!(origin.received()[0].body, "one two three", "{what}");
            stack.recorder.assert_one_terminal_each();
        }
    }
    Ok(())
}

/// R84 The server rejects the upload early, and closes a second later: the caller gets the whole
/// answer, the job ends with it, and the upload stops.
#[tokio::test(start_paused = true)]
async fn the_upload_stops() -> Result<(), BoxError> {
    for version in VERSIONS {
        let early = Reply::status(413).body("too large").early();
        let origin = Origin::in_memory().then(early.close_idle_after(secs(1)));
        let stack = Stack::new();
        let (writer, parts) = mpsc::unbounded_channel();
        writer.send("one ")?;
        let start = Instant::now();
        let response = post_in_memory(&stack, &origin, version, parts).await?;
        assert_eq!(response.status(), 413, "{version:?}");
        let read = read(response.into_body()).await;
        assert_eq!(read.bytes, b"too large", "{version:?}: {:?}", read.error);
        assert_eq!(start.elapsed(), secs(0), "{version:?}");
        stack.assert_ended(Some(Complete), "413");
        assert!(!writer.is_closed());
        // The transport drops the upload.
        writer.closed().await;
        assert_eq!(start.elapsed(), secs(1), "{version:?}");
        assert!(!origin.received()[0].complete, "{version:?}");
        stack.recorder.assert_one_terminal_each();
    }
    Ok(())
}

/// R84 R85 No limit fires for an upload that outlives its response: neither the idle limit of 15 s
/// while a part of the upload is awaited for 20 s, nor the overall limit of 60 s. A reader that
/// waits for the end of the upload, before it reads the response, is not idle.
#[tokio::test(start_paused = true)]
async fn no_limit_fires_for_the_upload() -> Result<(), BoxError> {
    for version in VERSIONS {
        for reads_at in [0, 50] {
            let what = format!("{version:?}, read after {reads_at} s");
            let early = Reply::status(200).body("thanks").early();
            let origin = Origin::in_memory().then(early);
            let stack = Stack::new();
            let (writer, parts) = mpsc::unbounded_channel();
            let start = Instant::now();
            let writes = tokio::spawn(async move {
                for part in ["one ", "two ", "three ", "four ", "five"] {
                    writer.send(part).unwrap();
                    sleep(secs(20)).await;
                }
            });
            let response = post_in_memory(&stack, &origin, version, parts).await?;
            sleep(secs(reads_at)).await;
            let read = read(response.into_body()).await;
            assert_eq!(read.bytes, b"thanks", "{what}: {:?}", read.error);
            assert_eq!(start.elapsed(), secs(reads_at), "{what}");
            stack.assert_ended(Some(Complete), &what);
            writes.await?;
            origin.until(|received| received[0].complete).await;
            assert_eq!(
                origin.received()[0].body,
                "one two three four five",
                "{what}"
            );
            assert_eq!(start.elapsed(), secs(100), "{what}");
            assert_eq!(stack.recorder.count("timed_out"), 0, "{what}");
            stack.recorder.assert_one_terminal_each();
        }
    }
    Ok(())
}
