//! Real uploads: hyper-util's client and reqwest, over HTTP/1.1 and HTTP/2.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, Request, Version};
use http_body_util::{Full, StreamBody};
use hyper::body::{Body, Frame};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, Pipeline, ProgressLayer, ReplayLayer, Report, RetryLayer, SendThrough,
    http::{replay::ReplayBody, upload::UploadBody},
    progress::{JobState, ProgressHandle},
};
use tower_keep_test::{
    Gate, Recorder,
    http::{Origin, Reply},
};
use tower_keep_tests::{recording, servers::bounded};

use super::{super::origin::clients, MIB, amounts, attempts, data, reports, whole};

pub(super) const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// hyper-util's client, for any body.
pub(super) fn hyper<B>(version: Version) -> Client<HttpConnector, B>
where
    B: Body<Data: Send> + Send,
{
    Client::builder(TokioExecutor::new())
        .retry_canceled_requests(false)
        .http2_only(version == Version::HTTP_2)
        .build_http()
}

/// A body of these bytes, of unknown length, which may have trailers.
fn streamed(
    bytes: Bytes,
    has_trailers: bool,
) -> impl Body<Data = Bytes, Error = Infallible> + Send + Sync + Unpin + 'static {
    let frames = bytes
        .chunks(10_000)
        .map(Bytes::copy_from_slice)
        .map(Frame::data);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let trailers = has_trailers.then(|| Frame::trailers(trailers));
    let frames: Vec<_> = frames.chain(trailers).collect();
    StreamBody::new(futures::stream::iter(frames.into_iter().map(Ok)))
}

/// The amounts grow from 0 to the whole.
#[track_caller]
fn assert_whole(recorder: &Recorder, length: usize) {
    let amounts = amounts(recorder);
    assert_eq!(attempts(&amounts).len(), 1, "{amounts:?}");
    assert_eq!(amounts[0], 0);
    let whole = length as u64;
    assert_eq!(
        reports(recorder).last(),
        Some(&Report::bytes(whole, Some(whole)))
    );
}

/// What the board shows once the request has arrived.
async fn shown(board: &ProgressHandle, origin: &Origin) -> Report {
    origin
        .until(|all| all.last().is_some_and(|last| last.complete))
        .await;
    board.jobs()[0].report.clone()
}

/// R29b R87 Both clients and versions: the whole upload is shown before the response. The length on
/// the wire stays what it is.
#[tokio::test]
async fn uploads_are_shown() {
    bounded(async {
        for version in VERSIONS {
            let gate = Gate::new();
            let reply = Reply::status(204).when(&gate);
            let origin = Origin::start().await.unwrap().times(2, &reply);
            let progress = ProgressLayer::http().uploads();
            let board = progress.handle();
            let total = Report::bytes(MIB as u64, Some(MIB as u64));

            let client = clients::reqwest(version);
            let api = progress.layer(client.clone());
            let request = client.put(origin.url("/")).body(data(MIB));
            let call = tokio::spawn(async move { request.send_through(&api).await });
            assert_eq!(shown(&board, &origin).await, total);
            gate.open();
            call.await.unwrap().unwrap();

            let api = progress.layer(hyper(version));
            let request = Request::put(origin.url("/")).body(whole(MIB)).unwrap();
            api.oneshot(request).await.unwrap();

            for view in board.history() {
                assert_eq!(
                    (view.state, view.report),
                    (JobState::Succeeded, total.clone())
                );
            }
            for request in origin.received() {
                assert_eq!(request.body, data(MIB));
                assert_eq!(request.header("content-length"), Some("1048576"));
                assert_eq!(request.header("transfer-encoding"), None);
            }
            origin.assert_finished();
        }
    })
    .await;
}

/// R87 A stream stays one: chunked in HTTP/1.1, without a length, with its trailers.
#[tokio::test]
async fn a_stream_stays_a_stream() {
    bounded(async {
        for version in VERSIONS {
            let origin = Origin::start().await.unwrap().times(2, &Reply::status(204));

            let (outer, recorder) = recording();
            let api = ServiceBuilder::new()
                .layer(ProgressLayer::http().uploads())
                .layer(outer)
                .service(hyper(version));
            let request = Request::put(origin.url("/"))
                .header("trailer", "x-sum")
                .body(streamed(data(300_000), true))
                .unwrap();
            api.oneshot(request).await.unwrap();
            assert_whole(&recorder, 300_000);

            let (outer, recorder) = recording();
            let client = clients::reqwest(version);
            let api = ServiceBuilder::new()
                .layer(ProgressLayer::http())
                .layer(outer)
                .layer(RetryLayer::http())
                .map_err(BoxError::from)
                .service(client.clone());
            let body = reqwest::Body::wrap(streamed(data(300_000), false));
            let request = client.put(origin.url("/")).body(body);
            request.send_through(&api).await.unwrap();
            assert_whole(&recorder, 300_000);

            let received = origin.received();
            for request in &received {
                assert_eq!(request.body, data(300_000));
                assert_eq!(request.header("content-length"), None);
                let coding = (version == Version::HTTP_11).then_some("chunked");
                assert_eq!(request.header("transfer-encoding"), coding);
            }
            let trailers = received[0].trailers.as_ref().unwrap();
            assert_eq!(trailers["x-sum"], "7");
        }
    })
    .await;
}

/// R87 A declared length is the total, and stays on the wire.
#[tokio::test]
async fn a_declared_length_is_the_total() {
    bounded(async {
        for version in VERSIONS {
            let origin = Origin::start().await.unwrap().then(Reply::status(204));
            let (outer, recorder) = recording();
            let client = clients::reqwest(version);
            let api = ServiceBuilder::new()
                .layer(outer)
                .layer(Pipeline::http_client().build().unwrap())
                .service(client.clone());
            let body = reqwest::Body::wrap(streamed(data(300_000), false));
            let request = client
                .put(origin.url("/"))
                .header("content-length", 300_000)
                .body(body);
            request.send_through(&api).await.unwrap();
            assert_whole(&recorder, 300_000);
            assert_eq!(reports(&recorder)[0], Report::bytes(0, Some(300_000)));
            let received = &origin.received()[0];
            assert_eq!(received.header("content-length"), Some("300000"));
            assert_eq!(received.body, data(300_000));
        }
    })
    .await;
}

/// R87 After a 503, the second attempt is counted from zero, and brings the same body: cloned,
/// recorded by a layer, recorded by the retry.
#[tokio::test]
async fn attempts_begin_at_zero() {
    bounded(async {
        for version in VERSIONS {
            let replies = [503, 204].map(|status| Reply::status(status).header("retry-after", "0"));
            let replies = replies.into_iter().cycle().take(6);
            let origin = Origin::start().await.unwrap().script(replies);
            let retry = || RetryLayer::http().max_body(MIB);
            let put = || Request::put(origin.url("/"));
            let mut recorders = Vec::new();

            let (outer, recorder) = recording();
            let api = ServiceBuilder::new()
                .layer(ProgressLayer::http().uploads())
                .layer(outer)
                .layer(retry())
                .map_err(BoxError::from)
                .service(hyper::<UploadBody<Full<Bytes>>>(version));
            api.oneshot(put().body(whole(300_000)).unwrap())
                .await
                .unwrap();
            recorders.push(recorder);

            let (outer, recorder) = recording();
            let api = ServiceBuilder::new()
                .layer(ReplayLayer::new().max_body(MIB))
                .layer(ProgressLayer::http().uploads())
                .layer(outer)
                .layer(retry())
                .map_err(BoxError::from)
                .service(hyper::<UploadBody<ReplayBody<_>>>(version));
            let body = streamed(data(300_000), false);
            api.oneshot(put().body(body).unwrap()).await.unwrap();
            recorders.push(recorder);

            let (outer, recorder) = recording();
            let client = clients::reqwest(version);
            let api = ServiceBuilder::new()
                .layer(ProgressLayer::http())
                .layer(outer)
                .layer(retry())
                .map_err(BoxError::from)
                .service(client.clone());
            let body = reqwest::Body::wrap(streamed(data(300_000), false));
            client
                .put(origin.url("/"))
                .body(body)
                .send_through(&api)
                .await
                .unwrap();
            recorders.push(recorder);

            for recorder in recorders {
                let found = attempts(&amounts(&recorder));
                assert_eq!(found.len(), 2, "{found:?}");
                for attempt in found {
                    assert_eq!(
                        (attempt.first(), attempt.last()),
                        (Some(&0), Some(&300_000))
                    );
                }
            }
            for request in origin.received() {
                assert_eq!(request.body, data(300_000));
            }
            origin.assert_finished();
        }
    })
    .await;
}

/// R87 HEAD and GET have no progress.
#[tokio::test]
async fn requests_without_a_body_have_no_progress() {
    bounded(async {
        for version in VERSIONS {
            let origin = Origin::start().await.unwrap().times(4, &Reply::status(204));
            let client = clients::reqwest(version);
            for method in [http::Method::GET, http::Method::HEAD] {
                let (outer, recorder) = recording();
                let layers = ServiceBuilder::new()
                    .layer(ProgressLayer::http().uploads())
                    .layer(outer);
                let api = layers.service(client.clone());
                let request = client.request(method.clone(), origin.url("/"));
                request.send_through(&api).await.unwrap();
                assert_eq!(amounts(&recorder), Vec::<u64>::new());

                let (outer, recorder) = recording();
                let layers = ServiceBuilder::new()
                    .layer(ProgressLayer::http().uploads())
                    .layer(outer);
                let api = layers.service(hyper(version));
                let request = Request::builder().method(method).uri(origin.url("/"));
                api.oneshot(request.body(whole(0)).unwrap()).await.unwrap();
                assert_eq!(amounts(&recorder), Vec::<u64>::new());
            }
            for request in origin.received() {
                assert_eq!(request.header("transfer-encoding"), None);
            }
        }
    })
    .await;
}
