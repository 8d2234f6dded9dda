//! Jobs that other jobs began, and such that only look like it.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    task::{Context, Wake, Waker},
};

use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, Event, EventKind, Job, JobLayer, LogLayer, Observer,
    TimeoutLayer,
};
use tower_keep_test::{Polled, Recorder, Scripted};

use super::support::*;

/// R11: a chain of jobs each of which began the next one can be cancelled, however long it is.
#[tokio::test(start_paused = true)]
async fn a_long_chain_of_jobs_is_cancelled() {
    const LENGTH: u32 = 10_000;
    let own: Arc<OnceLock<Stack>> = Arc::default();
    let below = Arc::clone(&own);
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let stack = ServiceBuilder::new()
        .layer(JobLayer::new("link"))
        .layer(cancel)
        .service(code(move |job, more| {
            if more > 0 {
                let below = below.get().unwrap().clone();
                tokio::spawn(job.scope(below.oneshot(more - 1)));
            }
            std::future::pending()
        }));
    let stack = own.get_or_init(|| Stack::new(stack)).clone();
    let call = tokio::spawn(stack.oneshot(LENGTH - 1));
    tokio::time::sleep(secs(1)).await;
    let running = handle.jobs().iter().map(|job| job.job).collect::<Vec<_>>();
    assert_eq!(running.len(), LENGTH as usize);
    assert!(handle.cancel(running[0]));
    call.await.unwrap().unwrap_err();
    tokio::time::sleep(secs(1)).await;
    assert!(handle.jobs().is_empty());
}

/// R11: a child that is cancelled with its parent was not cancelled before, and is counted.
#[tokio::test(start_paused = true)]
async fn children_are_counted() {
    for shut_down in [false, true] {
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let never = Scripted::<u32, u32, BoxError>::new().never();
        let client = cancel.clone().layer(never);
        let server = cancel.layer(code(move |_, request| client.clone().oneshot(request)));
        let call = tokio::spawn(server.oneshot(0));
        tokio::time::sleep(secs(1)).await;
        let count = if shut_down {
            handle.shutdown_now()
        } else {
            handle.cancel_all(CancelReason::Requested)
        };
        assert_eq!(count, 2);
        call.await.unwrap().unwrap_err();
    }
}

/// R63: an observer that is told of `Dispatched` may call another stack: that call is a job of its own, whether the job
/// that it is told of begins inside a layer that waits for it or within another one.
#[tokio::test(start_paused = true)]
async fn an_observer_may_call_another_stack() {
    for waited_for in [false, true] {
        let (audit_log, audit) = recording();
        let client = ServiceBuilder::new()
            .layer(audit_log)
            .layer(CancelLayer::new())
            .service(Scripted::<u32, u32>::new().answer_after(secs(100), 9));
        let recorder = Recorder::new();
        let record = recorder.clone();
        let log = LogLayer::to(move |event: &Event| {
            record.on_event(event);
            if event.kind == EventKind::Dispatched {
                tokio::spawn(client.clone().call(1));
            }
        });
        let limit = TimeoutLayer::new(secs(50));
        let inner = Scripted::<u32, u32>::new().answer_after(secs(1), 1);
        let service = if waited_for {
            Stack::new(limit.layer(log.layer(inner)))
        } else {
            let begins = JobLayer::new("main");
            Stack::new(begins.layer(log.layer(limit.layer(inner))))
        };
        assert_eq!(service.oneshot(0).await.unwrap(), 1);
        tokio::time::sleep(secs(200)).await;
        assert_ne!(recorder.job(), audit.job());
        for job in [&recorder, &audit] {
            job.assert_names(["dispatched", "started", "succeeded"]);
        }
        assert_eq!(audit.times().last(), Some(&("succeeded", secs(100))));
        assert_eq!(Job::current().id(), None);
    }
}

/// Wakes by asking a job why it is cancelled, as an executor may that drops a task when it wakes it.
struct Asks(Job);

impl Wake for Asks {
    fn wake(self: Arc<Self>) {
        let _ = self.0.cancel_reason();
    }
}

/// No lock of a job is held while a waker runs: here that of a child, which is cancelled with its parent.
#[test]
fn a_cancelled_child_is_woken_without_its_lock() {
    let (give, job) = std::sync::mpsc::channel();
    let client = quiet().layer(code(move |job, _| {
        give.send(job).unwrap();
        std::future::pending()
    }));
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut server = cancel.layer(service_fn(move |request| client.clone().oneshot(request)));
    let mut call = Polled::new(server.call(0));
    call.assert_waiting();
    let job = job.recv().unwrap();
    let mut cancelled = Box::pin({
        let job = job.clone();
        async move { job.cancelled().await }
    });
    let waker = Waker::from(Arc::new(Asks(job)));
    assert!(
        cancelled
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let (done, over) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        handle.cancel_all(CancelReason::Requested);
        done.send(()).unwrap();
    });
    let over = over.recv_timeout(secs(5));
    if over.is_err() {
        // What is dropped would wait for the lock as well.
        std::mem::forget((call, cancelled));
    }
    assert!(over.is_ok(), "it waits for the lock that it holds");
}
