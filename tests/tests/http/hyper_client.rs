//! hyper-util's client behind the layers.

use std::{convert::Infallible, time::Duration};

use axum::Router;
use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, DedupLayer, EventKind, FailureCause,
    LogLayer, ProgressLayer, RetryLayer, TimeoutLayer,
    cancel::Cancelled,
    circuit_breaker::{Open, State},
    dedup::Duplicate,
    find,
    timeout::Elapsed,
};
use tower_keep_test::Recorder;
use tower_keep_tests::running_ids;
use tower_keep_tests::servers::{
    Count, LONG, SHORT, SOON, Server, all_ended, bounded, cause, ended, held, reason, refusing,
};

use crate::layers::{Keep, server_errors};

type Whole = Full<Bytes>;

fn hyper_client() -> Client<HttpConnector, Whole> {
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build_http()
}

fn request(server: &Server, path: &str) -> Request<Whole> {
    Request::get(server.url(path))
        .body(Full::default())
        .unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// All seven layers. The request is `Clone` here, as its body is, so that the retry needs no help.
fn client(
    attempt: Duration,
) -> (
    impl Service<Request<Whole>, Response = Response<Incoming>, Error = BoxError, Future: Send> + Clone,
    Keep,
) {
    let progress = ProgressLayer::new();
    let cancel = CancelLayer::new();
    let circuit = CircuitBreakerLayer::new()
        .named("upstream")
        .failure_threshold(1)
        .classify(server_errors::<Incoming, BoxError>);
    let keep = Keep::new(&progress, &cancel, circuit.handle());
    let client = ServiceBuilder::new()
        .layer(LogLayer::to(keep.seen.clone()).classify(server_errors::<Incoming, BoxError>))
        .layer(progress)
        .layer(cancel)
        .layer(DedupLayer::new(|request: &Request<Whole>| {
            Some(request.uri().clone())
        }))
        .layer(circuit)
        .layer(TimeoutLayer::new(LONG))
        .layer(
            RetryLayer::new()
                .max_retries(2)
                .base_delay(SOON)
                .classify(server_errors::<Incoming, BoxError>),
        )
        .layer(TimeoutLayer::new(attempt).per_attempt())
        .service(hyper_client());
    (client, keep)
}

/// A 503 is retried within one job.
#[tokio::test]
async fn a_503_is_retried_within_one_job() {
    bounded(async {
        let requests = Count::default();
        let server = Server::axum(Router::new().route("/", requests.fails_first(2))).await;
        let (client, keep) = client(LONG);
        let response = client.oneshot(request(&server, "/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(text(response).await, "3");
        assert_eq!(keep.seen.count("retrying"), 2);
        assert_eq!(all_ended(&keep.seen, 1).await, [EventKind::Succeeded]);
    })
    .await;
}

/// A server that never answers runs into the limits.
#[tokio::test]
async fn a_silent_server_times_out() {
    bounded(async {
        let server = Server::silent().await;
        let (client, keep) = client(SHORT);
        let error = client.oneshot(request(&server, "/")).await.unwrap_err();
        assert_eq!(find::<Elapsed>(&*error).unwrap().attempt(), 3);
        let endings = all_ended(&keep.seen, 1).await;
        assert_eq!(cause(endings[0].clone()), FailureCause::TimedOut);
    })
    .await;
}

/// Refused connections open the circuit, and hyper-util's own error stays within reach.
#[tokio::test]
async fn refused_connections_open_the_circuit() {
    bounded(async {
        let (_socket, addr) = refusing();
        let uri: Uri = format!("http://{addr}/").parse().unwrap();
        let to = || {
            let mut request = Request::new(Full::default());
            *request.uri_mut() = uri.clone();
            request
        };
        let (client, keep) = client(LONG);
        for _ in 0..2 {
            let error = client.clone().oneshot(to()).await.unwrap_err();
            assert!(find::<legacy::Error>(&*error).unwrap().is_connect());
        }
        assert_eq!(keep.circuit.state(), State::Open);
        let error = client.oneshot(to()).await.unwrap_err();
        assert_eq!(find::<Open>(&*error).unwrap().circuit(), "upstream");
        all_ended(&keep.seen, 3).await;
    })
    .await;
}

/// A duplicate is rejected; the first is cancelled by the handle, and the server sees it leave.
#[tokio::test]
async fn a_duplicate_and_a_cancellation() {
    bounded(async {
        let (held, mut entries) = held();
        let server = Server::axum(Router::new().route("/held", held.route())).await;
        let (client, keep) = client(LONG);
        let first = tokio::spawn(client.clone().oneshot(request(&server, "/held")));
        entries.recv().await;
        let job = keep.seen.job();
        let error = client.oneshot(request(&server, "/held")).await.unwrap_err();
        assert_eq!(find::<Duplicate>(&*error).unwrap().job(), Some(job));
        assert!(keep.cancel.cancel(job));
        let error = first.await.unwrap().unwrap_err();
        assert!(find::<Cancelled>(&*error).is_some());
        held.left.cancelled().await;
        let endings = all_ended(&keep.seen, 2).await;
        assert_eq!(reason(endings[0].clone()), CancelReason::Requested);
        assert_eq!(cause(endings[1].clone()), FailureCause::Duplicate);
    })
    .await;
}

/// Callers join one request once its response is collected.
#[tokio::test]
async fn callers_join_one_request() {
    async fn collect(response: Response<Incoming>) -> Result<Response<Bytes>, BoxError> {
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }

    bounded(async {
        let (held, mut entries) = held();
        let server = Server::axum(Router::new().route("/held", held.route())).await;
        let seen = Recorder::new();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(DedupLayer::new(|request: &Request<Whole>| Some(request.uri().clone())).join())
            .layer(RetryLayer::new())
            .and_then(collect)
            .service(hyper_client());
        let call = || tokio::spawn(client.clone().oneshot(request(&server, "/held")));
        let (first, second) = (call(), call());
        seen.until(|seen| seen.count("duplicate") == 1).await;
        entries.recv().await;
        held.gate.open();
        assert_eq!(first.await.unwrap().unwrap().body(), "0");
        assert_eq!(second.await.unwrap().unwrap().body(), "0");
        assert!(entries.is_empty());
        all_ended(&seen, 2).await;
    })
    .await;
}

/// R70 A body that is streamed is not `Clone`; with a `clone_with` that gives `None` it is tried
/// once, and the job ends as failed with what the retry would have repeated.
#[tokio::test]
async fn a_streaming_body_is_tried_once() {
    bounded(async {
        let requests = Count::default();
        let server = Server::axum(Router::new().route("/", requests.fails_first(9))).await;
        let seen = Recorder::new();
        let client: Client<_, BoxBody<Bytes, Infallible>> =
            Client::builder(TokioExecutor::new()).build_http();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(
                RetryLayer::new()
                    .classify(server_errors::<Incoming, legacy::Error>)
                    .clone_with(|_: &Request<BoxBody<Bytes, Infallible>>| None),
            )
            .service(client);
        let parts = stream::iter(["a", "b"].map(|part| Ok(Frame::data(Bytes::from(part)))));
        let request = Request::post(server.url("/"))
            .body(BodyExt::boxed(StreamBody::new(parts)))
            .unwrap();
        let response = client.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(requests.get(), 1);
        seen.assert_names([
            "dispatched",
            "started",
            "attempt_ended",
            "retry_given_up",
            "failed",
        ]);
    })
    .await;
}

/// hyper's own body cannot be made by hand. Boxed inside the layers, a client can answer by itself
/// too.
#[tokio::test]
async fn a_client_that_answers_by_itself() {
    bounded(async {
        let server = Server::silent().await;
        let seen = Recorder::new();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(TimeoutLayer::new(SHORT).respond_with(|why: Elapsed| {
                let body = Full::from(why.to_string()).map_err(|never| match never {});
                let mut response = Response::new(body.boxed());
                *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
                response
            }))
            .map_response(|response: Response<Incoming>| response.map(BodyExt::boxed))
            .service(hyper_client());
        let response = client.oneshot(request(&server, "/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        let endings = all_ended(&seen, 1).await;
        assert_eq!(cause(endings[0].clone()), FailureCause::TimedOut);
    })
    .await;
}

/// Two requests over one HTTP/2 connection are two jobs; cancelling one leaves the other alone.
#[tokio::test]
async fn two_http2_requests_are_two_jobs() {
    bounded(async {
        let (held, mut entries) = held();
        let server = Server::axum(Router::new().route("/{n}", held.route())).await;
        let seen = Recorder::new();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let inner: Client<_, Whole> = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build_http();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(cancel)
            .service(inner);
        let first = tokio::spawn(client.clone().oneshot(request(&server, "/1")));
        entries.recv().await;
        let second = tokio::spawn(client.oneshot(request(&server, "/2")));
        entries.recv().await;
        let jobs = seen.jobs();
        assert_eq!(running_ids(&handle), jobs);
        handle.cancel(jobs[0]);
        assert!(find::<Cancelled>(&*first.await.unwrap().unwrap_err()).is_some());
        held.left.cancelled().await;
        held.gate.open();
        assert_eq!(second.await.unwrap().unwrap().status(), StatusCode::OK);
        assert_eq!(ended(&seen, jobs[1]).await, EventKind::Succeeded);
        all_ended(&seen, 2).await;
    })
    .await;
}
