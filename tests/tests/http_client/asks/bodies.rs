//! Request bodies that are streamed or boxed: asks 8 and 17.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame};
use tower::{Service, ServiceBuilder, ServiceExt, buffer::Buffer, util::BoxService};
use tower_keep::{
    BoxError, EventKind, GiveUpReason, LogLayer, ReplayLayer, RetryLayer, SendThrough,
    retry::Jitter,
};
use tower_keep_test::{
    Recorder,
    http::{Origin, Reply},
};
use tower_keep_tests::*;

use super::{VERSIONS, arrivals, in_memory, reqwest_client};

type KubeBody = UnsyncBoxBody<Bytes, BoxError>;

type Kube =
    Buffer<
        Request<KubeBody>,
        <BoxService<Request<KubeBody>, Response<KubeBody>, BoxError> as Service<
            Request<KubeBody>,
        >>::Future,
    >;

/// Takes any tower service as its transport, as `kube::Client::new` does.
fn kube_client<S, B>(service: S) -> Kube
where
    S: Service<Request<KubeBody>, Response = Response<B>, Future: Send> + Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let service = service
        .map_response(|response| response.map(|body| body.map_err(Into::into).boxed_unsync()))
        .map_err(Into::into);
    Buffer::new(BoxService::new(service), 16)
}

fn retrying(origin: &Origin, version: Version, recorder: &Recorder) -> Kube {
    let stack = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(ReplayLayer::new())
        .layer(RetryLayer::http().base_delay(secs(1)).jitter(Jitter::None))
        .map_err(BoxError::from)
        .service(in_memory(origin, version));
    kube_client(stack)
}

fn whole(text: &str) -> KubeBody {
    Full::from(text.to_owned())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Pieces whose number is not known before.
fn streamed(piece: &'static [u8], count: usize) -> KubeBody {
    let pieces = (0..count).map(move |_| Ok(Frame::data(Bytes::from_static(piece))));
    StreamBody::new(stream::iter(pieces)).boxed_unsync()
}

fn request(method: Method, origin: &Origin, body: KubeBody) -> Request<KubeBody> {
    Request::builder()
        .method(method)
        .uri(origin.url("/api/v1/pods"))
        .body(body)
        .unwrap()
}

/// R80 R82 R83 Ask 8: a client that is generic over tower services, with boxed bodies, gets all of
/// it: `Retry-After` as seconds and as a date, retries after errors, and streamed bodies.
#[tokio::test(start_paused = true)]
async fn a_client_over_a_tower_service() -> Result<(), BoxError> {
    for version in VERSIONS {
        let origin = Origin::in_memory()
            .then(Reply::status(429).header("retry-after", "5").body("busy"))
            .then(
                Reply::status(503)
                    .header("date", "Sun, 06 Nov 1994 08:49:37 GMT")
                    .header("retry-after", "Sun, 06 Nov 1994 08:49:57 GMT"),
            )
            .then(Reply::close())
            .then(Reply::status(200).body("pods"));
        let recorder = Recorder::new();
        let kube = retrying(&origin, version, &recorder);
        let response = kube
            .oneshot(request(Method::GET, &origin, whole("")))
            .await?;
        assert_eq!(response.into_body().collect().await?.to_bytes(), "pods");
        assert_eq!(
            arrivals(&origin, version),
            [0, 5, 25, 29].map(Duration::from_secs)
        );
        assert_eq!(recorder.count("retry_scheduled"), 3);

        // A streamed body is sent again, whole.
        let origin = Origin::in_memory()
            .then(Reply::status(503))
            .then(Reply::status(503).early())
            .then(Reply::status(201));
        let kube = retrying(&origin, version, &Recorder::new());
        let put = request(Method::PUT, &origin, streamed(b"0123456789", 100));
        assert_eq!(kube.oneshot(put).await?.status(), 201);
        let received = origin.received();
        assert_eq!(received.len(), 3);
        for index in [0, 2] {
            assert_eq!(received[index].body, "0123456789".repeat(100));
        }
    }
    Ok(())
}

/// R83 Ask 8: a streamed body above the cap is sent once, and the log says why it is not repeated.
#[tokio::test(start_paused = true)]
async fn a_large_stream_says_why_it_is_not_repeated() -> Result<(), BoxError> {
    for version in VERSIONS {
        let origin = Origin::in_memory().then(Reply::status(503)).repeat_last();
        let recorder = Recorder::new();
        let kube = retrying(&origin, version, &recorder);
        let put = request(Method::PUT, &origin, streamed(&[7; 1024], 65));
        assert_eq!(kube.oneshot(put).await?.status(), 503);
        assert_eq!(arrivals(&origin, version).len(), 1);
        assert_eq!(origin.received()[0].body.len(), 65 * 1024);
        let kinds = recorder.kinds();
        assert!(
            kinds.iter().any(|kind| matches!(
                kind,
                EventKind::RetryGivenUp {
                    reason: GiveUpReason::NotRepeatable,
                    ..
                }
            )),
            "{kinds:?}"
        );
    }
    Ok(())
}

/// The parts of a form, as a multipart body has them.
fn form(bytes: usize) -> (reqwest::Body, String) {
    let parts = [
        "--edge\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\n".to_owned(),
        "x".repeat(bytes),
        "\r\n--edge--\r\n".to_owned(),
    ];
    let text = parts.concat();
    let parts = parts.map(Ok::<_, Infallible>);
    (reqwest::Body::wrap_stream(stream::iter(parts)), text)
}

/// R83 Ask 17: a streamed form does not fail before its first attempt. Up to the cap it is
/// repeated, above it is sent once.
#[tokio::test]
async fn a_streamed_form_is_tried() -> Result<(), BoxError> {
    for version in VERSIONS {
        for (bytes, attempts) in [(1000, 2), (100_000, 1)] {
            let origin = Origin::start().await?;
            for _ in 1..attempts {
                origin.push(Reply::status(503));
            }
            let last = if attempts == 1 { 503 } else { 201 };
            origin.push(Reply::status(last));
            let client = reqwest_client(version)?;
            let api = ServiceBuilder::new()
                .layer(RetryLayer::http().base_delay(ms(1)))
                .service(client.clone());
            let (body, text) = form(bytes);
            let response = client
                .put(origin.url("/upload"))
                .header("content-type", "multipart/form-data; boundary=edge")
                .body(body)
                .send_through(&api)
                .await?;
            assert_eq!(response.status(), last);
            origin.assert_finished();
            assert_eq!(arrivals(&origin, version).len(), attempts);
            for received in origin.received() {
                assert_eq!(received.body, text);
            }
        }
    }
    Ok(())
}
