//! A hook that changes the request before each attempt.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::FutureExt;
use tower::{Layer, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};
use tower_keep::{
    BoxError, Dispatcher, EventKind, FailureCause, GiveUpReason, Job, LogLayer, Pipeline,
    RetryLayer, retry::Attempt,
};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

/// A request that counts its clones.
#[derive(Debug, Default)]
struct Counted {
    headers: Vec<u32>,
    clones: Arc<AtomicUsize>,
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::Relaxed);
        Self {
            headers: self.headers.clone(),
            clones: Arc::clone(&self.clones),
        }
    }
}

/// Adds the attempt's number, as a header would.
fn number(request: &mut Counted, attempt: &Attempt<'_>) {
    request.headers.push(attempt.number());
}

/// Fails, and notes what it was asked.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<Vec<u32>>>>);

impl Asked {
    fn note(&self, request: &Counted) -> Result<u32, BoxError> {
        self.0.lock().unwrap().push(request.headers.clone());
        Err("no".into())
    }

    fn seen(&self) -> Vec<Vec<u32>> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// R78 The hook runs before each attempt, the first one too, and each attempt starts from the
/// request as it came. There are no more clones than without the hook.
#[tokio::test(start_paused = true)]
async fn each_attempt_starts_from_the_request_as_it_came() {
    let asked = Asked::default();
    let inner = asked.clone();
    let inner = service_fn(move |request: Counted| {
        let result = inner.note(&request);
        async { result }
    });
    let request = Counted::default();
    let clones = Arc::clone(&request.clones);
    let retry = RetryLayer::new().max_retries(2).before_attempt(number);
    let service = retry.layer(inner);
    service.oneshot(request).await.unwrap_err();
    assert_eq!(asked.seen(), [[1], [2], [3]]);
    assert_eq!(clones.load(Ordering::Relaxed), 2);
}

/// R78 `Attempt` describes the attempt that begins.
#[tokio::test(start_paused = true)]
async fn it_sees_the_attempt_that_begins() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().max_retries(1).before_attempt(
            move |_: &mut u32, attempt: &Attempt<'_>| {
                assert!(!attempt.timed_out());
                let job = attempt.job();
                assert_eq!(job.attempt(), attempt.number());
                let of = (attempt.number(), attempt.retries_left(), job.id());
                noted.lock().unwrap().push(of);
            },
        ))
        .service(Scripted::<u32, u32>::new().error("no").answer(1).strict());
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
    let job = Some(recorder.job());
    assert_eq!(*seen.lock().unwrap(), [(1, 1, job), (2, 0, job)]);
}

/// R78 a request that is no `Clone`, or that must not be repeated, is changed before its one
/// attempt.
#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_repeated() {
    struct Upload(u32);
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(
            RetryLayer::new()
                .clone_with(|_: &Upload| None)
                .before_attempt(|upload: &mut Upload, attempt| upload.0 += attempt.number()),
        )
        .service(service_fn(|upload: Upload| async move {
            assert_eq!(upload.0, 8);
            Err::<u32, BoxError>("no".into())
        }));
    service.oneshot(Upload(7)).await.unwrap_err();
    assert_eq!(given_up(&recorder), [(1, GiveUpReason::NotRepeatable)]);
}

/// R78 in a pipeline, around and inside other layers, in clones and under a dispatcher.
#[tokio::test(start_paused = true)]
async fn in_compositions() {
    let asked = Asked::default();
    let inner = asked.clone();
    let inner = service_fn(move |request: Counted| {
        let result = inner.note(&request);
        async { result }
    });
    let retry = RetryLayer::new().max_retries(1).before_attempt(number);
    let pipeline = Pipeline::new().retry(retry.clone()).build().unwrap();
    let service = pipeline.layer(inner.clone());
    service
        .clone()
        .oneshot(Counted::default())
        .await
        .unwrap_err();
    assert_eq!(asked.seen(), [[1], [2]]);
    let dispatcher = Dispatcher::new(service);
    dispatcher.dispatch(Counted::default()).await.unwrap_err();
    assert_eq!(asked.seen(), [[1], [2]]);
    // The outer attempts are the inner ones' requests.
    let nested = retry.layer(retry.layer(inner));
    nested.oneshot(Counted::default()).await.unwrap_err();
    assert_eq!(asked.seen(), [[1, 1], [1, 2], [2, 1], [2, 2]]);
}

/// R78 R10 a hook that panics before the first attempt does not start the job; a panic before a
/// later attempt ends the job. The service's permit is free again either way.
#[tokio::test(start_paused = true)]
async fn a_panic() {
    for attempt in [1, 2] {
        for log_outside in [true, false] {
            let (log, recorder) = recording();
            let retry = RetryLayer::new().before_attempt(move |_: &mut u32, begins| {
                assert!(begins.number() < attempt, "hook");
            });
            let inner = Scripted::<u32, u32>::new().error("no").answer(1);
            let limit = ConcurrencyLimitLayer::new(1);
            let inner = limit.layer(inner);
            let service = match log_outside {
                true => Stack::new(log.layer(retry.layer(inner)).map_err(BoxError::from)),
                false => Stack::new(retry.layer(log.layer(inner)).map_err(BoxError::from)),
            };
            let call = AssertUnwindSafe(service.oneshot(0)).catch_unwind().await;
            let panic = call.unwrap_err();
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"hook"));
            if attempt == 1 && !log_outside {
                // The job is begun below.
                assert_eq!(recorder.jobs(), []);
                continue;
            }
            recorder.assert_one_terminal_each();
            let started = recorder.count("started");
            assert_eq!(started, attempt as usize - 1, "{recorder}");
            let failed = recorder.terminal(recorder.job());
            let text = "the service panicked: hook";
            let cause = FailureCause::Panicked;
            assert!(
                matches!(&failed, Some(EventKind::Failed { cause: why, error }) if *why == cause && **error == *text),
                "{failed:?}"
            );
        }
    }
}

/// R78 without retries it still runs, once for each call; a layer with it says so nowhere else.
#[tokio::test(start_paused = true)]
async fn without_retries() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let retry = RetryLayer::new()
        .max_retries(0)
        .before_attempt(move |_: &mut u32, _| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::with(Ok));
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(retry)
        .service(inner.strict());
    for call in 1..4 {
        assert_eq!(service.clone().oneshot(7).await.unwrap(), 7);
        assert_eq!(runs.load(Ordering::Relaxed), call);
    }
    assert_eq!(Job::current().id(), None);
}
