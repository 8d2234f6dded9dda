//! The Cancel layer among other layers.

use std::time::Duration;

use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    CancelLayer, CircuitBreakerLayer, JobLayer, LogLayer, Pipeline, RetryLayer, TimeoutLayer,
};
use tower_keep_test::Recorder;

use super::{
    super::{
        follow::{end, get, poll},
        follow_circuit::{cut, page, server as replies},
    },
    Alive, cancelled,
};

/// R84 The pipeline for clients reaches the body, and its circuit counts nothing.
#[tokio::test(start_paused = true)]
async fn in_the_pipeline() {
    let recorder = Recorder::new();
    let alive = Alive::default();
    let pipeline = Pipeline::http_client()
        .log(LogLayer::http_to(recorder.clone()))
        .build()
        .unwrap();
    let handle = pipeline.cancel().handle();
    let circuits = pipeline.circuit_breaker().handle();
    let bodies = alive.clone();
    let client = tower::service_fn(move |_: http::Request<String>| {
        let response = http::Response::new(bodies.body(1));
        async move { Ok::<_, tower_keep::BoxError>(response) }
    });
    let api = pipeline.layer(client);
    let mut body = api.oneshot(get()).await.unwrap().into_body();
    assert!(poll(&mut body).is_ready());
    assert!(poll(&mut body).is_pending());
    assert!(handle.cancel(handle.jobs()[0].job));
    assert_eq!(end(&recorder).unwrap().0, "cancelled: requested");
    assert_eq!(cancelled(poll(&mut body)), "requested");
    assert_eq!(alive.count(), 0);
    assert_eq!(circuits.circuits()[0].1.snapshot().failures_in_a_row, 0);
}

/// R84 A circuit outside the layer does not count a cancelled body.
#[tokio::test(start_paused = true)]
async fn a_circuit_outside() {
    let alive = Alive::default();
    let (cancel, breaker) = (CancelLayer::http(), CircuitBreakerLayer::http());
    let (handle, circuits) = (cancel.handle(), breaker.handle());
    let service = ServiceBuilder::new()
        .layer(breaker)
        .layer(cancel)
        .service(super::super::follow::server(200, alive.body(1)));
    let mut body = service.oneshot(get()).await.unwrap().into_body();
    assert!(poll(&mut body).is_ready());
    handle.cancel_all("enough");
    assert_eq!(cancelled(poll(&mut body)), "enough");
    assert_eq!(circuits.circuits()[0].1.snapshot().failures_in_a_row, 0);
}

/// R84 Inside a retry, each attempt has its own place, which its body leaves.
#[tokio::test(start_paused = true)]
async fn inside_a_retry() {
    let recorder = Recorder::new();
    let cancel = CancelLayer::http();
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(TimeoutLayer::new(Duration::from_secs(60)))
        .layer(RetryLayer::http())
        .layer(cancel)
        .service(replies([(503, page()), (503, cut()), (200, page())]));
    let mut body = service.oneshot(get()).await.unwrap().into_body();
    assert_eq!(handle.jobs().len(), 1);
    assert!(poll(&mut body).is_ready());
    assert!(handle.cancel(handle.jobs()[0].job));
    assert_eq!(end(&recorder).unwrap().0, "cancelled: requested");
    assert_eq!(cancelled(poll(&mut body)), "requested");
}

/// R84 Two Cancel layers of one stack: both list the job, and each reaches the body.
#[tokio::test(start_paused = true)]
async fn two_layers() {
    for inner in [false, true] {
        let alive = Alive::default();
        let (outside, inside) = (CancelLayer::http(), CancelLayer::http());
        let handles = [outside.handle(), inside.handle()];
        let service = ServiceBuilder::new()
            .layer(JobLayer::new("page").http())
            .layer(outside)
            .layer(inside)
            .service(super::super::follow::server(200, alive.body(1)));
        let mut body = service.oneshot(get()).await.unwrap().into_body();
        let job = handles[0].jobs()[0].job;
        assert!(handles[usize::from(inner)].cancel(job));
        assert!(handles.iter().all(|handle| handle.jobs().is_empty()));
        assert_eq!(cancelled(poll(&mut body)), "requested");
        assert_eq!(alive.count(), 0);
    }
}
