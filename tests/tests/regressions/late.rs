//! What comes late: observers, starts, the end of a parent.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tower::{Layer, Service, ServiceBuilder, ServiceExt, layer::layer_fn, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, Event, EventKind, Job, JobLayer, LogLayer,
    Observer, RetryLayer, TimeoutLayer,
};
use tower_keep_test::{Recorder, Scripted};

/// A foreign layer that fails its first call without going further down.
#[derive(Clone)]
struct FailsFirst<S> {
    inner: S,
    calls: Arc<AtomicU32>,
}

impl<S> Service<u32> for FailsFirst<S>
where
    S: Service<u32, Response = u32, Error = &'static str>,
    S::Future: Send + 'static,
{
    type Response = u32;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<u32, &'static str>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: u32) -> Self::Future {
        if self.calls.fetch_add(1, Ordering::Relaxed) == 0 {
            return Box::pin(async { Err("first") });
        }
        Box::pin(self.inner.call(request))
    }
}

/// An observer that joins at the second attempt is told of the beginning, as it was, and of all that follows.
#[tokio::test(start_paused = true)]
async fn an_observer_that_comes_late_is_told_of_the_beginning() {
    for watched in [false, true] {
        let (early, late) = (Recorder::new(), Recorder::new());
        let fails_first = layer_fn(|inner| FailsFirst {
            inner,
            calls: Arc::default(),
        });
        let stack = RetryLayer::new().layer(fails_first.layer(
            LogLayer::to(late.clone()).layer(Scripted::<u32, u32>::new().answer(1).strict()),
        ));
        let result = if watched {
            LogLayer::to(early.clone()).layer(stack).oneshot(0).await
        } else {
            JobLayer::new("unwatched").layer(stack).oneshot(0).await
        };
        assert_eq!(result, Ok(1));
        late.assert_names(["dispatched", "started", "attempt_ended", "succeeded"]);
        let attempts: Vec<_> = late.events().iter().map(|event| event.attempt).collect();
        assert_eq!(attempts, [1, 1, 2, 2]);
        if watched {
            early.assert_names([
                "dispatched",
                "started",
                "attempt_ended",
                "retry_scheduled",
                "retrying",
                "attempt_ended",
                "succeeded",
            ]);
            let numbers = |recorder: &Recorder| -> Vec<u64> {
                recorder.events().iter().map(|event| event.seq).collect()
            };
            assert_eq!(numbers(&early), [0, 1, 2, 3, 4, 5, 6]);
            assert_eq!(numbers(&late), [0, 1, 5, 6]);
        }
    }
}

/// A limit that expires while a gate still holds the call back does not start the job.
#[tokio::test(start_paused = true)]
async fn a_limit_does_not_start_a_job_that_waits() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(LogLayer::to(recorder.clone()))
        .layer(TimeoutLayer::new(Duration::from_secs(5)))
        .layer(DedupLayer::new(|key: &u32| Some(*key)))
        .service(Scripted::<u32, u32>::new().never_ready().strict());
    service.oneshot(0).await.unwrap_err();
    recorder.assert_names(["dispatched", "timed_out", "failed"]);
}

/// Work that a job's code spawned hears of the caller's leaving: itself, and through a job of its own.
#[tokio::test(start_paused = true)]
async fn spawned_work_hears_that_the_caller_went() {
    let child = Recorder::new();
    let client = ServiceBuilder::new()
        .layer(LogLayer::to(child.clone()))
        .layer(CancelLayer::new())
        .service(Scripted::<u32, u32>::new().never().strict());
    let reason: Arc<Mutex<Option<CancelReason>>> = Arc::default();
    let heard = Arc::clone(&reason);
    let server = LogLayer::to(|_: &Event| ()).layer(service_fn(move |n: u32| {
        let (client, heard) = (client.clone(), Arc::clone(&heard));
        async move {
            let job = Job::current();
            tokio::spawn(job.scope(client.oneshot(n)));
            tokio::spawn(async move {
                job.cancelled().await;
                *heard.lock().unwrap() = job.cancel_reason();
            });
            std::future::pending::<Result<u32, BoxError>>().await
        }
    }));
    let call = tokio::spawn(server.oneshot(0));
    tokio::time::sleep(Duration::from_secs(1)).await;
    call.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*reason.lock().unwrap(), Some(CancelReason::CallerGone));
    let ended = child.terminal(child.job());
    assert!(
        matches!(&ended, Some(EventKind::Cancelled { reason, .. }) if *reason == CancelReason::CallerGone),
        "{ended:?}"
    );
}

/// Within a joined execution, too, what was handed elsewhere hears that the overall limit expired.
#[tokio::test(start_paused = true)]
async fn work_of_a_joined_execution_hears_of_the_limit() {
    let recorder = Recorder::new();
    let reason: Arc<Mutex<Option<CancelReason>>> = Arc::default();
    let heard = Arc::clone(&reason);
    let service = ServiceBuilder::new()
        .layer(LogLayer::to(recorder.clone()))
        .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
        .layer(TimeoutLayer::new(Duration::from_secs(5)))
        .service(service_fn(move |_: u32| {
            let heard = Arc::clone(&heard);
            async move {
                let job = Job::current();
                tokio::spawn(async move {
                    job.cancelled().await;
                    *heard.lock().unwrap() = job.cancel_reason();
                });
                std::future::pending::<Result<u32, BoxError>>().await
            }
        }));
    service.oneshot(0).await.unwrap_err();
    tokio::task::yield_now().await;
    assert_eq!(*reason.lock().unwrap(), Some(CancelReason::TimedOut));
    recorder.assert_names(["dispatched", "started", "timed_out", "failed"]);
}

/// A handle to a job that is over keeps neither the job around it nor that one's observers.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_over_lets_go_of_its_parent() {
    struct Gone(Arc<AtomicBool>);
    impl Observer for Gone {
        fn on_event(&self, _: &Event) {}
    }
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let gone = Arc::new(AtomicBool::new(false));
    let kept: Arc<Mutex<Option<Job>>> = Arc::default();
    let keep = Arc::clone(&kept);
    let client = LogLayer::new().layer(service_fn(move |n: u32| {
        *keep.lock().unwrap() = Some(Job::current());
        async move { Ok::<_, BoxError>(n) }
    }));
    let server = LogLayer::to(Gone(Arc::clone(&gone)))
        .layer(service_fn(move |n: u32| client.clone().oneshot(n)));
    assert_eq!(server.oneshot(7).await.unwrap(), 7);
    let job = kept.lock().unwrap().clone().unwrap();
    assert!(job.parent().is_some());
    assert!(gone.load(Ordering::Relaxed));
}

/// R40b: a job that is cancelled while it does all its work in one poll has started.
#[tokio::test(start_paused = true)]
async fn a_job_cancelled_in_its_only_poll_has_started() {
    let recorder = Recorder::new();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(LogLayer::to(recorder.clone()))
        .layer(cancel)
        .service(service_fn(move |n: u32| {
            let handle = handle.clone();
            async move {
                handle.cancel(handle.jobs()[0].job);
                Ok::<_, BoxError>(n)
            }
        }));
    service.oneshot(0).await.unwrap_err();
    recorder.assert_names(["dispatched", "started", "cancelled"]);
}
