//! Observers that come late, that call another stack, and that an ended job lets go of.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use tower::{Layer, Service, ServiceBuilder, ServiceExt, layer::layer_fn, service_fn};
use tower_keep::{
    BoxError, CancelLayer, Event, EventKind, Job, JobLayer, LogLayer, Observer, RetryLayer,
    TimeoutLayer,
};
use tower_keep_test::{Recorder, Scripted};
use tower_keep_tests::*;

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

/// An observer that joins at the second attempt gets the beginning, as it was, and all that
/// follows.
#[tokio::test(start_paused = true)]
async fn a_late_observer_gets_the_beginning() {
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
            early.assert_names(RETRIED_ONCE);
            let numbers = |recorder: &Recorder| -> Vec<u64> {
                recorder.events().iter().map(|event| event.seq).collect()
            };
            assert_eq!(numbers(&early), [0, 1, 2, 3, 4, 5, 6]);
            assert_eq!(numbers(&late), [0, 1, 5, 6]);
        }
    }
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

/// R63: an observer may call another stack at `Dispatched`: that call is a job of its own, whether
/// the observed job begins inside a layer that waits for it or within another layer.
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
