//! The layers of a stack serve one job, which ends once; a client called inside begins another.

use std::time::Duration;

use futures::executor::block_on;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, EventKind, FailureCause, Job,
    LimitScope, LogLayer, Outcome, Pipeline, RetryLayer, TimeoutLayer, timeout::Elapsed,
};
use tower_keep_test::{Readiness, Recorder, Scripted, Step};
use tower_keep_tests::*;

/// R63: exactly one terminal event per job, on every path; every event carries the job's id, the
/// attempt and a sequence number.
#[tokio::test(start_paused = true)]
async fn one_terminal_event_on_every_path() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let pipeline = Pipeline::new()
        .log(log)
        .cancel(cancel)
        .dedup(DedupLayer::new(|key: &u32| (*key > 0).then_some(*key)))
        .retry(RetryLayer::new().max_retries(1))
        .build()
        .unwrap();
    let inner = Scripted::<u32, u32>::new()
        .answer(1)
        .times(2, || Step::error("no"))
        .never()
        .never()
        .never()
        .panic("in the future")
        .step(Step::panic_in_call("in call"))
        .never()
        .never()
        .readiness_otherwise(Readiness::ok);
    let mut service = ServiceBuilder::new()
        .layer(pipeline)
        .service(inner.strict());
    begin(&mut service, 0).await.await.unwrap();
    begin(&mut service, 0).await.await.unwrap_err();
    begin(&mut service, 0).await.await.unwrap_err();
    // Cancelled, with a rejected duplicate.
    let cancelled = tokio::spawn(begin(&mut service, 1).await);
    tokio::task::yield_now().await;
    begin(&mut service, 1).await.await.unwrap_err();
    handle.cancel(handle.jobs()[0].job);
    cancelled.await.unwrap().unwrap_err();
    for _ in 0..2 {
        let mut service = service.clone();
        let panicked = tokio::spawn(async move { begin(&mut service, 0).await.await });
        assert!(panicked.await.unwrap_err().is_panic());
    }
    // Dropped before the first poll, and later.
    drop(begin(&mut service, 0).await);
    let dropped = tokio::spawn(begin(&mut service, 0).await);
    tokio::time::sleep(secs(1)).await;
    dropped.abort();
    tokio::task::yield_now().await;
    recorder.assert_one_terminal_each();
    let endings: Vec<_> = recorder
        .jobs()
        .iter()
        .map(|job| recorder.terminal(*job).unwrap())
        .collect();
    let names: Vec<_> = endings.iter().map(EventKind::name).collect();
    assert_eq!(
        names,
        [
            "succeeded",
            "failed",
            "failed",
            "cancelled",
            "failed",
            "failed",
            "failed",
            "cancelled",
            "cancelled"
        ]
    );
    let panics = endings.iter().filter(|kind| {
        matches!(
            kind,
            EventKind::Failed {
                cause: FailureCause::Panicked,
                ..
            }
        )
    });
    assert_eq!(panics.count(), 2);
}

/// R63: a service that cannot be made ready ends its job once.
#[tokio::test(start_paused = true)]
async fn a_readiness_error_ends_the_job() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new().readiness(Readiness::error("not ready"));
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(DedupLayer::new(|key: &u32| Some(*key)))
        .service(inner.strict());
    assert_eq!(
        service.oneshot(0).await.unwrap_err().to_string(),
        "not ready"
    );
    recorder.assert_names(["dispatched", "failed"]);
}

/// A client stack called by the job's code begins a child job, which the parent's cancellation
/// reaches.
#[tokio::test(start_paused = true)]
async fn a_client_call_is_a_child_job() {
    let (log, recorder) = recording();
    let (client_log, client_recorder) = recording();
    let cancel = CancelLayer::new().grace(secs(1));
    let handle = cancel.handle();
    let client = ServiceBuilder::new()
        .layer(client_log)
        .layer(CancelLayer::new())
        .layer(RetryLayer::new())
        .service(
            Scripted::<u32, u32>::new()
                .error("no")
                .answer(1)
                .never()
                .strict(),
        );
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .service(code(move |job, n| {
            let mut client = client.clone();
            async move {
                let first = begin(&mut client, n).await.await?;
                assert_eq!(Job::current().id(), job.id());
                // Still a child where it is carried to another task.
                let second = begin(&mut client, n).await;
                tokio::spawn(job.scope(second))
                    .await?
                    .map(|second| first + second)
            }
        }));
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(5)).await;
    let parent = recorder.job();
    let children = client_recorder.jobs();
    assert_eq!(children.len(), 2);
    assert!(
        client_recorder
            .events()
            .iter()
            .all(|event| event.parent == Some(parent))
    );
    client_recorder.assert_names_of(children[0], RETRIED_ONCE);
    handle.cancel(parent);
    call.await.unwrap().unwrap_err();
    assert!(matches!(
        client_recorder.terminal(children[1]),
        Some(EventKind::Cancelled { .. })
    ));
    client_recorder.assert_one_terminal_each();
    recorder.assert_one_terminal_each();
}

/// A retry of tower's own between the layers stays within the job.
#[tokio::test(start_paused = true)]
async fn a_foreign_retry_stays_within_the_job() {
    #[derive(Clone)]
    struct Once(bool);
    impl tower::retry::Policy<u32, u32, BoxError> for Once {
        type Future = std::future::Ready<()>;
        fn retry(
            &mut self,
            _: &mut u32,
            result: &mut Result<u32, BoxError>,
        ) -> Option<Self::Future> {
            (result.is_err() && std::mem::take(&mut self.0)).then(|| std::future::ready(()))
        }
        fn clone_request(&mut self, request: &u32) -> Option<u32> {
            Some(*request)
        }
    }
    let (outer, outer_recorder) = recording();
    let (inner_log, inner_recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(outer)
        .retry(Once(true))
        .layer(TimeoutLayer::new(secs(5)).per_attempt())
        .layer(inner_log)
        .layer(CancelLayer::new())
        .service(Scripted::<u32, u32>::new().never().answer(1).strict());
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
    assert_eq!(outer_recorder.jobs(), inner_recorder.jobs());
    outer_recorder.assert_names(["dispatched", "started", "timed_out", "succeeded"]);
}

/// The job is still the current one after its code called a client stack whose outermost layer
/// tracks none: that layer took over the child that a layer below it began.
#[tokio::test(start_paused = true)]
async fn the_job_is_current_again_after_a_client_call() {
    let (log, recorder) = recording();
    let (client_log, client_recorder) = recording();
    let client = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(9)))
        .layer(RetryLayer::new())
        .layer(client_log)
        .service(
            Scripted::<u32, u32>::new()
                .error("no")
                .answer_after(secs(1), 1)
                .strict(),
        );
    let service = ServiceBuilder::new()
        .layer(log)
        .service(code(move |job, n| {
            let mut client = client.clone();
            async move {
                let call = begin(&mut client, n).await;
                assert_eq!(Job::current().id(), job.id());
                let answer = call.await?;
                assert_eq!(Job::current().id(), job.id());
                Ok(answer)
            }
        }));
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
    assert_eq!(Job::current().id(), None);
    let child = client_recorder.job();
    assert!(
        client_recorder
            .events()
            .iter()
            .all(|event| event.parent == Some(recorder.job()))
    );
    client_recorder.assert_names_of(child, RETRIED_ONCE);
}

/// R40b: work that failed in its first poll had started, whichever layer says that it failed.
#[tokio::test(start_paused = true)]
async fn what_fails_at_once_has_started() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(CircuitBreakerLayer::new().classify(|_: &Result<u32, _>| Outcome::Failure))
        .service(Scripted::<u32, u32>::new().answer(500));
    assert_eq!(service.oneshot(0).await.unwrap(), 500);
    assert_eq!(recorder.names()[..2], ["dispatched", "started"]);
}

/// R57, R63: a limit's error from which a layer outside made a response is a success, and no
/// attempt follows.
#[tokio::test(start_paused = true)]
async fn an_error_that_was_dealt_with_is_none() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new().never();
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .map_result(|result: Result<u32, BoxError>| Ok::<_, BoxError>(result.unwrap_or(7)))
        .layer(TimeoutLayer::new(secs(1)).per_attempt())
        .service(inner.strict());
    assert_eq!(service.oneshot(0).await.unwrap(), 7);
    assert_eq!(calls.count(), 1);
    assert_eq!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Succeeded)
    );
}

/// R14, R25: where a layer answers with a response, the job's failure says why in words.
#[tokio::test(start_paused = true)]
async fn a_response_in_place_of_an_error_has_its_words() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(1)).respond_with(|_| 504))
        .service(Scripted::<u32, u32>::new().never());
    assert_eq!(service.oneshot(0).await.unwrap(), 504);
    let Some(EventKind::Failed { error, .. }) = recorder.terminal(recorder.job()) else {
        panic!("{recorder}");
    };
    assert_eq!(&*error, "the overall time limit expired");
}

/// R25: the error of a limit says which attempt it ended, where that is not the first.
#[test]
fn a_limits_error_says_which_attempt() {
    let in_attempt = |attempt| Elapsed::new(LimitScope::Attempt, secs(2), attempt).to_string();
    let first = in_attempt(1);
    assert!(!first.contains("in attempt"), "{first}");
    assert_eq!(in_attempt(2), format!("{first} in attempt 2"));
}

/// A client call made while a service's `call` blocks on another stack is a job of its own.
#[tokio::test(start_paused = true)]
async fn a_client_call_awaited_within_a_call_is_a_job() {
    let (log, recorder) = recording();
    let client = log.layer(Scripted::<u32, u32, BoxError>::new().answer(1));
    let inner =
        CancelLayer::new().layer(service_fn(move |request| client.clone().oneshot(request)));
    let blocking = service_fn(move |request: u32| {
        let response = block_on(inner.clone().call(request));
        std::future::ready(response)
    });
    let service = LogLayer::to(recorder.clone()).layer(blocking);
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
    assert_eq!(recorder.jobs().len(), 2, "{recorder}");
    recorder.assert_one_terminal_each();
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

/// A gated call whose future was moved to a task of its own owns the job that begins below it: one
/// beginning, one ending, and none left on the thread.
#[tokio::test(start_paused = true)]
async fn a_gated_call_in_a_task_of_its_own_owns_its_job() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(60)))
        .layer(tower::layer::layer_fn(Spawned))
        .layer(tower_keep::DedupLayer::new(|key: &u32| Some(*key)))
        .layer(log)
        .service(tower::service_fn(|n: u32| async move {
            tokio::time::sleep(secs(1)).await;
            Ok::<u32, BoxError>(n)
        }));
    assert_eq!(service.oneshot(7).await.unwrap(), 7);
    assert_eq!(tower_keep::Job::current().id(), None);
    recorder.assert_names(["dispatched", "started", "succeeded"]);
}
