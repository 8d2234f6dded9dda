//! Over hyper's client and server, HTTP/1 and HTTP/2.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{
    HeaderMap, Request, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING},
};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::sync::mpsc;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, ReplayLayer, RetryLayer,
    http::replay::ReplayBody,
    retry::{Attempt, Decision},
};
use tower_keep_test::Gate;
use tower_keep_tests::servers::{SOON, Server, bounded};

use super::{Body, frames, whole, written};

/// What one attempt brought to the server.
#[derive(Clone, Debug, PartialEq)]
struct Arrived {
    length: Option<String>,
    chunked: bool,
    body: String,
    trailers: Option<HeaderMap>,
}

/// A server that reads whole bodies, and rejects the first requests with 503.
#[derive(Clone, Debug, Default)]
struct Origin {
    rejects: usize,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Origin {
    fn rejects(rejects: usize) -> Self {
        Self {
            rejects,
            ..Self::default()
        }
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }

    async fn serve(&self) -> Server {
        let origin = self.clone();
        Server::hyper(move || {
            let origin = origin.clone();
            service_fn(move |request: Request<Incoming>| {
                let origin = origin.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?;
                    let trailers = body.trailers().cloned();
                    let length = head.headers.get(CONTENT_LENGTH);
                    let arrived = Arrived {
                        length: length.map(|length| length.to_str().unwrap().into()),
                        chunked: head.headers.contains_key(TRANSFER_ENCODING),
                        body: String::from_utf8(body.to_bytes().into()).unwrap(),
                        trailers,
                    };
                    let mut all = origin.arrived.lock().unwrap();
                    all.push(arrived);
                    let rejected = all.len() <= origin.rejects;
                    Ok::<_, BoxError>(response(rejected))
                }
            })
        })
        .await
    }
}

fn response(rejected: bool) -> Response<Empty<Bytes>> {
    let status = match rejected {
        true => StatusCode::SERVICE_UNAVAILABLE,
        false => StatusCode::OK,
    };
    Response::builder()
        .status(status)
        .body(Empty::new())
        .unwrap()
}

type Hyper = Client<HttpConnector, ReplayBody<Body>>;

fn hyper(version: Version) -> Hyper {
    Client::builder(TokioExecutor::new())
        .http2_only(version == Version::HTTP_2)
        .retry_canceled_requests(false)
        .build_http()
}

type Outcome = Result<Response<Incoming>, BoxError>;

/// Retries failures, as long as the body can be sent again.
fn client(
    version: Version,
    replay: ReplayLayer,
) -> impl Service<Request<Body>, Response = Response<Incoming>, Error = BoxError, Future: Send> + Clone
{
    ServiceBuilder::new()
        .layer(replay)
        .layer(RetryLayer::new().base_delay(SOON).decide_with_request(
            |request: &Request<ReplayBody<Body>>| request.body().clone(),
            |body: &ReplayBody<Body>, outcome: &Outcome, _: &Attempt<'_>| {
                let failed = outcome.as_ref().map_or(true, |response| {
                    response.status() == StatusCode::SERVICE_UNAVAILABLE
                });
                match failed && body.is_replayable() {
                    true => Decision::Retry,
                    false => Decision::Stop,
                }
            },
        ))
        .map_err(BoxError::from)
        .service(hyper(version))
}

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

fn put(server: &Server, body: Body) -> Request<Body> {
    Request::put(server.url("/")).body(body).unwrap()
}

/// R83 After a 503, the same body is sent again, with the same `Content-Length`.
#[tokio::test]
async fn a_body_is_sent_again_with_its_length() {
    bounded(async {
        for version in VERSIONS {
            let origin = Origin::rejects(2);
            let server = origin.serve().await;
            let request = put(&server, whole("an upload"));
            let outcome = client(version, ReplayLayer::new()).oneshot(request).await;
            assert_eq!(outcome.unwrap().status(), StatusCode::OK);
            let expected = Arrived {
                length: Some("9".into()),
                chunked: false,
                body: "an upload".into(),
                trailers: None,
            };
            assert_eq!(origin.arrived(), vec![expected; 3]);
        }
    })
    .await;
}

/// R83 A request without data stays one.
#[tokio::test]
async fn an_empty_body_stays_empty() {
    bounded(async {
        for version in VERSIONS {
            let origin = Origin::rejects(1);
            let server = origin.serve().await;
            let request = Request::get(server.url("/")).body(whole("")).unwrap();
            let outcome = client(version, ReplayLayer::new()).oneshot(request).await;
            assert_eq!(outcome.unwrap().status(), StatusCode::OK);
            let expected = Arrived {
                length: None,
                chunked: false,
                body: String::new(),
                trailers: None,
            };
            assert_eq!(origin.arrived(), vec![expected; 2]);
        }
    })
    .await;
}

/// R83 Trailers are sent again too.
#[tokio::test]
async fn trailers_are_sent_again() {
    bounded(async {
        for version in VERSIONS {
            let origin = Origin::rejects(1);
            let server = origin.serve().await;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", "77".parse().unwrap());
            let parts = ["one ", "two"].map(|part| Frame::data(part.into()));
            let body = frames(parts.into_iter().chain([Frame::trailers(trailers.clone())]));
            let mut request = put(&server, body);
            if version == Version::HTTP_11 {
                let names = "x-checksum".parse().unwrap();
                request.headers_mut().insert(TRAILER, names);
            }
            let outcome = client(version, ReplayLayer::new()).oneshot(request).await;
            assert_eq!(outcome.unwrap().status(), StatusCode::OK);
            let expected = Arrived {
                length: None,
                chunked: version == Version::HTTP_11,
                body: "one two".into(),
                trailers: Some(trailers),
            };
            assert_eq!(origin.arrived(), vec![expected; 2]);
        }
    })
    .await;
}

/// R83 A larger body is sent once, whether its length is known or not, and the 503 comes out.
#[tokio::test]
async fn a_larger_body_is_sent_once() {
    bounded(async {
        for version in VERSIONS {
            let large = "x".repeat(100_001);
            let parts = (0..100).map(|_| Frame::data(Bytes::from_static(&[b'x'; 1000])));
            let end = [Frame::data("x".into())];
            for body in [whole(large.clone()), frames(parts.chain(end))] {
                let origin = Origin::rejects(1);
                let server = origin.serve().await;
                let outcome = client(version, ReplayLayer::new())
                    .oneshot(put(&server, body))
                    .await;
                assert_eq!(outcome.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
                let arrived = origin.arrived();
                assert_eq!(arrived.len(), 1);
                assert!(arrived[0].body == large, "it arrives whole");
            }
            // With a higher cap it is sent again.
            let origin = Origin::rejects(1);
            let server = origin.serve().await;
            let replay = ReplayLayer::new().max_body(100_001);
            let outcome = client(version, replay)
                .oneshot(put(&server, whole(large.clone())))
                .await;
            assert_eq!(outcome.unwrap().status(), StatusCode::OK);
            assert!(origin.arrived().iter().all(|arrived| arrived.body == large));
        }
    })
    .await;
}

/// R83 The server rejects the first attempt while the upload runs. The second delivers the whole
/// body, and the transport of the first stops with an error at the server.
#[tokio::test]
async fn an_early_response_does_not_lose_the_rest() {
    bounded(async {
        for version in VERSIONS {
            let calls = Arc::new(AtomicUsize::new(0));
            let began = Gate::new();
            let (aborted, mut aborts) = mpsc::unbounded_channel();
            let (delivered, mut deliveries) = mpsc::unbounded_channel();
            let server = {
                let (calls, began) = (Arc::clone(&calls), began.clone());
                Server::hyper(move || {
                    let (calls, began) = (Arc::clone(&calls), began.clone());
                    let (aborted, delivered) = (aborted.clone(), delivered.clone());
                    service_fn(move |request: Request<Incoming>| {
                        let is_first = calls.fetch_add(1, Ordering::SeqCst) == 0;
                        let (began, aborted) = (began.clone(), aborted.clone());
                        let delivered = delivered.clone();
                        async move {
                            let mut body = request.into_body();
                            let first = body.frame().await.unwrap()?.into_data().unwrap();
                            assert_eq!(first, "one ");
                            if is_first {
                                // It reads on after its response.
                                tokio::spawn(async move {
                                    let rest = body.collect().await;
                                    let _ = aborted.send(rest.map(|rest| rest.to_bytes()));
                                });
                            } else {
                                began.open();
                                let rest = body.collect().await?.to_bytes();
                                let _ = delivered.send(rest);
                            }
                            Ok::<_, BoxError>(response(is_first))
                        }
                    })
                })
                .await
            };
            let (writer, body) = written();
            writer.send("one ").unwrap();
            let client = client(version, ReplayLayer::new());
            let call = tokio::spawn(client.oneshot(put(&server, body)));
            began.opened().await;
            // The test goes on writing only now: the rest reaches the second attempt alone.
            let aborted = aborts.recv().await.unwrap();
            assert!(aborted.is_err(), "{version:?} {aborted:?}");
            for part in ["two ", "three"] {
                writer.send(part).unwrap();
            }
            drop(writer);
            assert_eq!(deliveries.recv().await.unwrap(), "two three", "{version:?}");
            let response = call.await.unwrap().unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{version:?}");
            assert_eq!(calls.load(Ordering::SeqCst), 2);
        }
    })
    .await;
}
