//! The circuit among other layers.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, Dispatcher, LogLayer, Pipeline, RetryLayer, TimeoutLayer,
    circuit_breaker::State, http::body::FollowedBody,
};
use tower_keep_test::Recorder;

use super::{
    super::follow::{
        Step::{Data, Pends},
        end, get,
    },
    circuit, cut, in_a_row, page, read, server,
};

/// R84 The job emits the opening of the circuit before it fails with the body's error.
#[tokio::test(start_paused = true)]
async fn the_job_sees_the_circuit_open() {
    let recorder = Recorder::new();
    let breaker = CircuitBreakerLayer::http().failure_threshold(0);
    let service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(breaker)
        .layer(TimeoutLayer::new(Duration::from_secs(60)))
        .layer(RetryLayer::http())
        .layer(TimeoutLayer::new(Duration::from_secs(10)).per_attempt())
        .service(server([(503, page()), (200, cut())]));
    let response = service.oneshot(get()).await.unwrap();
    assert!(read(response).await.is_err());
    let names = recorder.names();
    assert_eq!(names[names.len() - 2..], ["circuit_opened", "failed"]);
    let (how, body) = end(&recorder).unwrap();
    assert_eq!((&*how, body), ("unexpected end of file", "truncated"));
}

/// R84 Each order of the circuit and the log gives the same end and the same count.
#[tokio::test(start_paused = true)]
async fn outside_the_log() {
    let recorder = Recorder::new();
    let breaker = CircuitBreakerLayer::http();
    let circuits = breaker.handle();
    let service = ServiceBuilder::new()
        .layer(breaker)
        .layer(LogLayer::http_to(recorder.clone()))
        .service(server([(200, cut())]));
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(end(&recorder), None);
    assert!(read(response).await.is_err());
    assert_eq!(in_a_row(&circuits), 1);
    assert_eq!(end(&recorder).unwrap().1, "truncated");
}

/// R84 The pipeline for clients opens its circuit for truncated bodies.
#[tokio::test(start_paused = true)]
async fn in_the_pipeline() {
    let pipeline = Pipeline::http_client()
        .circuit_breaker(CircuitBreakerLayer::http().failure_threshold(0))
        .build()
        .unwrap();
    let circuits = pipeline.circuit_breaker().handle();
    let service = pipeline.layer(server([(200, cut())]));
    let response = service.clone().oneshot(get()).await.unwrap();
    assert!(read(response).await.is_err());
    assert_eq!(circuit(&circuits).state(), State::Open);
    assert!(service.oneshot(get()).await.is_err());
}

/// R84 The body counts after the end of a dispatched job too.
#[tokio::test(start_paused = true)]
async fn under_a_dispatcher() {
    let breaker = CircuitBreakerLayer::http();
    let circuits = breaker.handle();
    let dispatcher = Dispatcher::new(breaker.layer(server([(200, cut())])));
    let response = dispatcher.dispatch(get()).await.unwrap();
    assert_eq!(in_a_row(&circuits), 0);
    assert!(read(response).await.is_err());
    assert_eq!(in_a_row(&circuits), 1);
}

/// R84 A rejection of the circuit may be a response, which has the type of a followed one.
#[tokio::test(start_paused = true)]
async fn a_rejection_as_a_response() {
    let breaker = CircuitBreakerLayer::http()
        .failure_threshold(0)
        .respond_with(|_| {
            let mut response = Response::new(Full::from("closed for today"));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        });
    let circuits = breaker.handle();
    let service = breaker.layer(tower::service_fn(|_: Request<String>| async {
        Ok::<_, BoxError>(Response::new(Full::<bytes::Bytes>::from("a page")))
    }));
    let open: Response<FollowedBody<_, _>> = service.clone().oneshot(get()).await.unwrap();
    assert_eq!(
        open.into_body().collect().await.unwrap().to_bytes(),
        "a page"
    );
    circuit(&circuits).force_open();
    let rejected = service.oneshot(get()).await.unwrap();
    assert_eq!(rejected.status(), 503);
    let body = rejected.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "closed for today");
    assert_eq!(circuit(&circuits).snapshot().rejected, 1);
}

/// R84 A limit on the time without progress counts as its setting says, on either side of the
/// circuit.
#[tokio::test(start_paused = true)]
async fn a_stalled_body_on_either_side() {
    for (ignores, expected) in [(false, 1), (true, 0)] {
        let circuit = || match ignores {
            true => CircuitBreakerLayer::http().ignore_timeouts(),
            false => CircuitBreakerLayer::http(),
        };
        let limit = TimeoutLayer::http_attempt(Duration::from_secs(5));
        let stalls = || server([(200, vec![Data("a "), Pends, Pends])]);

        let around = circuit();
        let circuits = around.handle();
        let client = ServiceBuilder::new().layer(around).layer(limit.clone());
        let response = client.service(stalls()).oneshot(get()).await.unwrap();
        assert!(read(response).await.is_err());
        assert_eq!(in_a_row(&circuits), expected, "around the limit");

        let inside = circuit();
        let circuits = inside.handle();
        let client = ServiceBuilder::new().layer(limit).layer(inside);
        let response = client.service(stalls()).oneshot(get()).await.unwrap();
        assert!(read(response).await.is_err());
        assert_eq!(in_a_row(&circuits), expected, "inside the limit");
    }
}
