//! A shutdown while a body is read.

use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, CancelLayer, Dispatcher, JobLayer, LogLayer};

use super::{
    super::follow::{Step::Data, Steps, get, poll, server},
    Alive, cancelled,
};

/// R84 A shutdown waits for a body that is read, and counts its job as finished.
#[tokio::test(start_paused = true)]
async fn waits_for_the_reader() {
    let cancel = CancelLayer::http();
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(LogLayer::http())
        .layer(cancel)
        .service(server(200, Steps::new([Data("a "), Data("page")])));
    let mut body = service.oneshot(get()).await.unwrap().into_body();
    assert!(poll(&mut body).is_ready());
    let shutdown = tokio::spawn(handle.shutdown(Duration::from_secs(30)));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!shutdown.is_finished());
    while let std::task::Poll::Ready(Some(frame)) = poll(&mut body) {
        frame.unwrap();
    }
    let report = shutdown.await.unwrap();
    assert_eq!(
        (report.finished, report.cancelled, report.refused),
        (1, 0, 0)
    );
}

/// R84 At the deadline a shutdown cancels a body, and does not wait for a reader that does not poll.
#[tokio::test(start_paused = true)]
async fn cancels_at_the_deadline() {
    for logs in [false, true] {
        let alive = Alive::default();
        let cancel = CancelLayer::http();
        let handle = cancel.handle();
        let begun = Instant::now();
        let mut body = if logs {
            let service = ServiceBuilder::new().layer(LogLayer::http()).layer(cancel);
            let service = service.service(server(200, alive.body(2)));
            let response = service.oneshot(get()).await.unwrap();
            http_body_util::BodyExt::boxed_unsync(response.into_body())
        } else {
            let response = cancel.layer(server(200, alive.body(2))).oneshot(get());
            http_body_util::BodyExt::boxed_unsync(response.await.unwrap().into_body())
        };
        let report = handle.shutdown(Duration::from_secs(30)).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(30));
        assert_eq!((report.finished, report.cancelled), (0, 1), "{logs}");
        assert_eq!(cancelled(poll(&mut body)), "shutting down");
        assert_eq!(alive.count(), 0);
    }
}

/// R84 If the layer that ends the job does not follow the body, the job ends at the head, and a
/// shutdown does not wait for the body.
#[tokio::test(start_paused = true)]
async fn a_job_that_ended_at_the_head() -> Result<(), BoxError> {
    let (cancel, alive) = (CancelLayer::http(), Alive::default());
    let handle = cancel.handle();
    let bodies = alive.clone();
    let dispatcher = Dispatcher::new(cancel.layer(service_fn(move |_: Request<String>| {
        let response = Response::new(bodies.body(2));
        async move { Ok::<_, BoxError>(response) }
    })));
    let mut body = dispatcher.dispatch(get()).await?.into_body();
    assert!(handle.jobs().is_empty());
    assert_eq!(handle.shutdown(Duration::from_secs(30)).await.cancelled, 0);
    assert!(poll(&mut body).is_ready());

    let cancel = CancelLayer::http();
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(JobLayer::new("page"))
        .layer(cancel);
    let mut service = service.service(server(200, alive.body(2)));
    let mut body = service.ready().await?.call(get()).await?.into_body();
    assert!(handle.jobs().is_empty());
    let begun = Instant::now();
    handle.shutdown(Duration::from_secs(30)).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!(poll(&mut body).is_ready());
    Ok(())
}
