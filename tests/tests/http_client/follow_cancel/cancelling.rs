//! A cancellation at each point of a body.

use std::{sync::Arc, task::Poll};

use http_body_util::BodyExt;
use hyper::body::Body;
use tokio_util::sync::CancellationToken;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{CancelLayer, CancelReason, EventKind, LogLayer};
use tower_keep_test::Recorder;

use super::{
    super::follow::{
        Step::{Data, Error, Panics, Trailers},
        Steps, end, get, poll, server,
    },
    Alive, Wakes, cancelled, poll_with,
};

/// R84 A cancellation before the first frame, between frames, and while the reader waits: the job
/// ends at once, the reader wakes, the body ends with the reason, and the inner body is dropped.
#[tokio::test(start_paused = true)]
async fn at_each_point() {
    for outer in [false, true] {
        for polls in 0..=3 {
            let (alive, recorder) = (Alive::default(), Recorder::new());
            let cancel = CancelLayer::http();
            let handle = cancel.handle();
            let log = LogLayer::http_to(recorder.clone());
            let server = server(200, alive.body(2));
            // The log, or the Cancel layer, ends the job.
            let mut body = if outer {
                let service = ServiceBuilder::new()
                    .layer(log)
                    .layer(cancel)
                    .service(server);
                service
                    .oneshot(get())
                    .await
                    .unwrap()
                    .into_body()
                    .boxed_unsync()
            } else {
                let service = ServiceBuilder::new()
                    .layer(cancel)
                    .layer(log)
                    .service(server);
                service
                    .oneshot(get())
                    .await
                    .unwrap()
                    .into_body()
                    .boxed_unsync()
            };
            let wakes = Wakes::new();
            for frame in 0..polls {
                assert_eq!(poll_with(&mut body, &wakes).is_ready(), frame < 2);
            }
            assert_eq!(end(&recorder), None);
            let job = handle.jobs()[0].job;
            assert!(handle.cancel_because(job, "not needed"));
            assert!(!handle.cancel(job), "once");
            assert_eq!(wakes.count(), usize::from(polls == 3));
            let (how, _) = end(&recorder).expect("at once");
            assert_eq!(how, "cancelled: not needed");
            let kind = recorder.terminal(job).unwrap();
            assert!(matches!(kind, EventKind::Cancelled { dropped: true, .. }));
            assert!(handle.jobs().is_empty());

            assert_eq!(alive.count(), 1);
            assert_eq!(cancelled(poll_with(&mut body, &wakes)), "not needed");
            assert_eq!(alive.count(), 0);
            assert!(matches!(poll_with(&mut body, &wakes), Poll::Ready(None)));
            assert!(body.is_end_stream());
            recorder.assert_one_terminal_each();
            drop(body);
            assert_eq!(Arc::strong_count(&wakes), 1, "no waker is left");
        }
    }
}

/// R84 A body that ends by itself, or is dropped at any point, leaves the list. A cancellation is
/// then too late, and no waker is left.
#[tokio::test(start_paused = true)]
async fn other_ends() {
    let steps = || [Data("a "), Data("page"), Trailers];
    for polls in 0..=3 {
        let (recorder, wakes) = (Recorder::new(), Wakes::new());
        let cancel = CancelLayer::http();
        let handle = cancel.handle();
        let service = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(cancel)
            .service(server(200, Steps::new(steps())));
        let mut body = service.oneshot(get()).await.unwrap().into_body();
        let job = handle.jobs()[0].job;
        for _ in 0..polls {
            assert!(matches!(
                poll_with(&mut body, &wakes),
                Poll::Ready(Some(Ok(_)))
            ));
        }
        assert_eq!(handle.jobs().len(), usize::from(polls < 3));
        drop(body);
        assert!(handle.jobs().is_empty());
        assert!(!handle.cancel(job));
        let body_end = if polls < 3 { "dropped" } else { "complete" };
        assert_eq!(end(&recorder), Some(("succeeded".to_owned(), body_end)));
        assert_eq!(Arc::strong_count(&wakes), 1);
    }
}

/// R84 A reader that leaves while it waits frees its waker.
#[tokio::test(start_paused = true)]
async fn a_waiting_reader_leaves() {
    let (alive, wakes) = (Alive::default(), Wakes::new());
    let cancel = CancelLayer::http();
    let handle = cancel.handle();
    let service = cancel.layer(server(200, alive.body(0)));
    let mut body = service.oneshot(get()).await.unwrap().into_body();
    assert!(poll_with(&mut body, &wakes).is_pending());
    assert!(poll_with(&mut body, &wakes).is_pending());
    drop(body);
    assert_eq!((alive.count(), handle.jobs().len()), (0, 0));
    assert_eq!(Arc::strong_count(&wakes), 1);
}

/// R84 The body's own error, and its panic, end the job and free its place.
#[tokio::test(start_paused = true)]
async fn errors_and_panics() {
    for panics in [false, true] {
        let recorder = Recorder::new();
        let cancel = CancelLayer::http();
        let handle = cancel.handle();
        let last = match panics {
            true => Panics,
            false => Error(std::io::ErrorKind::UnexpectedEof),
        };
        let service = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(cancel)
            .service(server(200, Steps::new([Data("a "), last])));
        let body = service.oneshot(get()).await.unwrap().into_body();
        let read = tokio::spawn(body.collect()).await;
        assert_eq!(read.is_err(), panics);
        assert!(handle.jobs().is_empty());
        assert!(matches!(
            recorder.terminal(recorder.job()),
            Some(EventKind::Failed { .. })
        ));
    }
}

/// R84 A response without a body is not listed.
#[tokio::test(start_paused = true)]
async fn without_a_body() {
    let cancel = CancelLayer::http();
    let handle = cancel.handle();
    for status in [204, 304] {
        let alive = Alive::default();
        let service = cancel.layer(server(status, alive.body(1)));
        let _response = service.oneshot(get()).await.unwrap();
        assert!(handle.jobs().is_empty());
    }
    let mut head = get();
    *head.method_mut() = http::Method::HEAD;
    let alive = Alive::default();
    let service = cancel.layer(server(200, alive.body(1)));
    let _response = service.oneshot(head).await.unwrap();
    assert!(handle.jobs().is_empty());
}

/// R84 A call that has no head yet is cancelled as by `CancelLayer::new`.
#[tokio::test(start_paused = true)]
async fn before_the_head() {
    let cancel = CancelLayer::http();
    let handle = cancel.handle();
    let service = cancel.layer(tower::service_fn(|_: http::Request<String>| {
        std::future::pending::<Result<http::Response<Steps>, tower_keep::BoxError>>()
    }));
    let call = tokio::spawn(service.oneshot(get()));
    tokio::task::yield_now().await;
    assert!(handle.cancel(handle.jobs()[0].job));
    let error = call.await.unwrap().err().expect("cancelled");
    assert_eq!(error.to_string(), "job cancelled: requested");
}

/// R84 The layer's own token, and a group, reach the body.
#[tokio::test(start_paused = true)]
async fn tokens_and_groups() {
    let (token, wakes, alive) = (CancellationToken::new(), Wakes::new(), Alive::default());
    let service = CancelLayer::http()
        .token(token.clone())
        .layer(server(200, alive.body(1)));
    let mut body = service.oneshot(get()).await.unwrap().into_body();
    assert!(poll(&mut body).is_ready());
    assert!(poll_with(&mut body, &wakes).is_pending());
    token.cancel();
    assert_eq!(wakes.count(), 1);
    assert_eq!(cancelled(poll(&mut body)), "requested");

    let cancel = CancelLayer::http().replace(|_: &http::Request<String>| Some(7));
    let first = cancel.layer(server(200, alive.body(1)));
    let mut first = first.oneshot(get()).await.unwrap().into_body();
    let second = cancel.layer(server(200, alive.body(1)));
    let mut second = second.oneshot(get()).await.unwrap().into_body();
    assert_eq!(
        cancelled(poll(&mut first)),
        CancelReason::Replaced.to_string()
    );
    assert!(poll(&mut second).is_ready());
    drop(second);
    assert_eq!(alive.count(), 0);
}

/// R84 A cancellation from another thread reaches a reader that waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_another_thread() {
    for _ in 0..200 {
        let alive = Alive::default();
        let cancel = CancelLayer::http();
        let handle = cancel.handle();
        let service = cancel.layer(server(200, alive.body(3)));
        let body = service.oneshot(get()).await.unwrap().into_body();
        let job = handle.jobs()[0].job;
        let reader = tokio::spawn(body.collect());
        assert!(handle.cancel(job));
        assert!(reader.await.unwrap().is_err());
        assert_eq!((alive.count(), handle.jobs().len()), (0, 0));
    }
}
