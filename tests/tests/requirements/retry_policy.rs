//! Who decides whether and when to try again, and who learns how often it was.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, DedupLayer, EventKind, FailureCause, GiveUpReason, Job, LogLayer,
    Outcome, RetryLayer, TimeoutLayer, find,
    retry::{Attempt, Decision},
    timeout::Elapsed,
};
use tower_keep_test::{Recorder, Scripted, Step};

use super::support::*;

/// A policy's `Never` ends the attempts here and in every retry around, with the result as it is.
#[tokio::test(start_paused = true)]
async fn never_reaches_the_retries_around() {
    for (decision, attempts, reasons) in [
        (Decision::Never, 1, vec![(1, GiveUpReason::Forbidden)]),
        // A mere stop is no matter to the outer one.
        (Decision::Stop, 4, vec![(4, GiveUpReason::Exhausted)]),
    ] {
        let (log, recorder) = recording();
        let inner = Scripted::<u32, u32>::new().error("no").repeat_last();
        let calls = inner.calls();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(RetryLayer::new())
            .layer(TimeoutLayer::per_attempt(secs(60)).fail_with(|_| "slow"))
            .layer(RetryLayer::new().decide_with(move |_: &Result<u32, &str>, _| decision))
            .service(inner.strict());
        assert_eq!(service.oneshot(0).await, Err("no"));
        assert_eq!(calls.count(), attempts);
        assert_eq!(given_up(&recorder), reasons);
        assert!(matches!(
            recorder.terminal(recorder.job()),
            Some(EventKind::Failed {
                cause: FailureCause::Error,
                ..
            })
        ));
    }
}

/// `Never` holds beside what a layer inside said of the result: the job's failure keeps its cause.
#[tokio::test(start_paused = true)]
async fn never_keeps_the_cause() {
    let never = || RetryLayer::new().decide_with(|_: &Result<u32, BoxError>, _| Decision::Never);
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new().never();
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .layer(never())
        .layer(TimeoutLayer::per_attempt(secs(1)))
        .service(inner.strict());
    let error = service.oneshot(0).await.unwrap_err();
    assert!(find::<Elapsed>(&*error).is_some());
    assert_eq!(calls.count(), 1);
    assert!(matches!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Failed {
            cause: FailureCause::TimedOut,
            ..
        })
    ));

    // Also through a task of its own, and an execution that several share.
    for spawned in [true, false] {
        let inner = Scripted::<u32, u32, BoxError>::new().step(Step::error("no".into()));
        let calls = inner.calls();
        let retry = ServiceBuilder::new()
            .layer(LogLayer::to(|_: &tower_keep::Event| ()))
            .layer(RetryLayer::new());
        if spawned {
            let service = retry.layer(CancelLayer::new().detached()).layer(never());
            service.service(inner).oneshot(0).await.unwrap_err();
        } else {
            let service = retry
                .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
                .layer(never());
            service.service(inner).oneshot(0).await.unwrap_err();
        }
        assert_eq!(calls.count(), 1, "spawned: {spawned}");
    }
}

/// `Never` on a response makes no failure of it, and leaves the word to a classifier around.
#[tokio::test(start_paused = true)]
async fn never_on_a_response() {
    for classified in [false, true] {
        let recorder = Recorder::new();
        let log = LogLayer::to(recorder.clone()).classify(move |result: &Result<u32, &str>| {
            if classified && *result != Ok(200) {
                Outcome::Failure
            } else {
                Outcome::Success
            }
        });
        let inner = Scripted::<u32, u32>::new().answer(400);
        let retry_all = |_: &Result<u32, &str>, _: &Attempt<'_>| Decision::Retry;
        let never = |_: &Result<u32, &str>, _: &Attempt<'_>| Decision::Never;
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new().policy(retry_all))
            .layer(log)
            .layer(RetryLayer::new().policy(never))
            .service(inner.strict());
        assert_eq!(service.oneshot(0).await, Ok(400));
        let last = if classified { "failed" } else { "succeeded" };
        recorder.assert_names(["dispatched", "started", "retry_given_up", last]);
    }
}

/// A policy sees the outcome, the attempt, its job and the time left; what it asks for is clamped.
#[tokio::test(start_paused = true)]
async fn a_policy_sees_it_all() {
    let (log, recorder) = recording();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    let retry = RetryLayer::new().max_retries(2).decide_with(
        move |result: &Result<u32, BoxError>, attempt| {
            told.lock().unwrap().push((
                attempt.number(),
                attempt.retries_left(),
                attempt.job().id(),
                attempt.job().attempt(),
                attempt.remaining(),
            ));
            match result {
                Ok(_) => Decision::Stop,
                Err(_) if attempt.number() == 1 => Decision::RetryAfter(ms(250)),
                Err(_) => Decision::RetryIn(secs(30)),
            }
        },
    );
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(100)))
        .layer(retry)
        .service(code(|job: Job, _| async move {
            match job.attempt() {
                3 => Ok(3),
                _ => Err("no".into()),
            }
        }));
    assert_eq!(service.oneshot(0).await.unwrap(), 3);
    let job = Some(recorder.job());
    assert_eq!(
        *seen.lock().unwrap(),
        [
            (1, 2, job, 1, Some(secs(100))),
            (2, 1, job, 2, Some(ms(99_750))),
            (3, 0, job, 3, Some(ms(69_750))),
        ]
    );
}

/// Whoever makes the call can tell how many attempts were made: while it runs, and of its result.
#[tokio::test(start_paused = true)]
async fn attempts_are_visible_to_the_caller() {
    let inner = Scripted::<u32, u32>::new()
        .error("a")
        .error("b")
        .answer(1)
        .answer(2);
    let mut service = RetryLayer::new().layer(inner);
    let mut call = std::pin::pin!(service.ready().await.unwrap().call(0));
    assert_eq!(call.attempts(), 1);
    // During the second wait, two were made.
    let pending = tokio::time::timeout(ms(2500), call.as_mut()).await;
    assert!(pending.is_err());
    assert_eq!(call.attempts(), 2);
    assert_eq!(call.as_mut().await, Ok(1));
    assert_eq!(call.attempts(), 3);

    let counted = service.ready().await.unwrap().call(0).counted();
    assert_eq!(counted.await, (Ok(2), 1));
}
