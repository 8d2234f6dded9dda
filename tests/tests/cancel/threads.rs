//! Cancellations from several threads, at any moment of a call.

use std::{future::pending, hint::spin_loop, time::Duration};

use tokio::task::yield_now;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, CancelLayer, CancelReason, Job, RetryLayer};
use tower_keep_tests::*;

/// A parent that is cancelled while its child comes into being cancels the child too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_child_that_begins_while_its_parent_is_cancelled() {
    for round in 0..1000 {
        // The grace period is long, so that nothing but its own cancellation ends the child.
        let cancel = CancelLayer::new().grace(secs(600));
        let child_cancel = CancelLayer::new();
        let (handle, child_handle) = (cancel.handle(), child_cancel.handle());
        let client = child_cancel.layer(service_fn(|_: u32| pending::<Result<u32, BoxError>>()));
        let service = cancel.layer(service_fn(move |request| {
            let client = client.clone();
            async move {
                let child = tokio::spawn(Job::current().scope(client.oneshot(request)));
                child.await.unwrap()
            }
        }));
        let call = tokio::spawn(service.oneshot(0));
        while handle.jobs().is_empty() {
            yield_now().await;
        }
        for _ in 0..round % 60 {
            spin_loop();
        }
        assert_eq!(handle.cancel_all(CancelReason::Requested), 1);
        in_time(call).await.unwrap().unwrap_err();
        // In a task of its own: a job that was born cancelled may be on its way out.
        in_time(async {
            while !child_handle.jobs().is_empty() {
                yield_now().await;
            }
        })
        .await;
    }
}

/// Calls of one group that replace each other from several threads all end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_replace_each_other() {
    let cancel = CancelLayer::new().replace(|_: &u32| Some(()));
    let handle = cancel.handle();
    let inner = service_fn(async |_: u32| {
        tokio::time::sleep(Duration::from_micros(200)).await;
        Ok::<u32, BoxError>(1)
    });
    let service = plain(cancel.layer(inner));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move {
                for _ in 0..250 {
                    // Answered or replaced.
                    let _ = service.clone().oneshot(0).await;
                }
            })
        })
        .collect();
    in_time(async {
        for worker in workers {
            worker.await.unwrap();
        }
    })
    .await;
    assert!(handle.jobs().is_empty());
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
}

/// A cancellation at any moment of a call's beginning wakes the call, also in its second or third
/// attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cancellation_wakes_its_call() {
    for round in 0..2000 {
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let retry = RetryLayer::new()
            .base_delay(Duration::from_micros(1))
            .max_retries(round % 4);
        let service = ServiceBuilder::new()
            .layer(retry)
            .layer(cancel)
            .service(service_fn(|_: u32| pending::<Result<u32, BoxError>>()));
        let call = tokio::spawn(service.oneshot(0));
        for _ in 0..round % 40 {
            spin_loop();
        }
        handle.shutdown_now();
        in_time(call).await.unwrap().unwrap_err();
        assert!(handle.jobs().is_empty());
    }
}

/// A job that was cancelled, as the handle says, does not succeed, however close to its end that
/// was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_does_not_succeed() {
    for round in 0..2000 {
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let (log, recorder) = recording();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(cancel)
            .service(service_fn(move |_: u32| async move {
                for _ in 0..round % 4 {
                    yield_now().await;
                }
                Ok::<u32, BoxError>(1)
            }));
        let call = tokio::spawn(service.oneshot(0));
        let mut cancelled = false;
        for _ in 0..50 {
            if let Some(job) = handle.jobs().first() {
                cancelled = handle.cancel(job.job);
                break;
            }
            spin_loop();
        }
        let result = in_time(call).await.unwrap();
        assert_eq!(result.is_err(), cancelled, "{recorder}");
        let ending = recorder.terminal(recorder.job()).unwrap().name();
        assert_eq!(ending == "cancelled", cancelled, "{recorder}");
        assert!(handle.jobs().is_empty());
    }
}
