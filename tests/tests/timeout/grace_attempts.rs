//! Attempts whose limit, or whose overall limit, has a grace period.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, Job, LimitScope, LogLayer, RetryLayer, TimeoutLayer, find, timeout::Elapsed,
};
use tower_keep_test::{Readiness, Recorder, Scripted, secs};
use tower_keep_tests::*;

use super::grace::{cleaning_up, elapsed, limits};

/// A retry that waits for its service to be ready has nothing running that could clean up: no
/// grace, and no attempt begins in it.
#[tokio::test(start_paused = true)]
async fn no_attempt_begins_in_the_grace_period() {
    for readiness in [Readiness::ok().after(secs(10)), Readiness::never()] {
        let inner = Scripted::<u32, u32>::new()
            .error("no")
            .answer(1)
            .readiness(Readiness::ok())
            .readiness(readiness);
        let calls = inner.calls();
        let began = tokio::time::Instant::now();
        let service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(secs(5)).grace(secs(60)))
            .layer(RetryLayer::new())
            .service(inner);
        let error = service.oneshot(0).await.unwrap_err();
        assert!(find::<Elapsed>(&*error).is_some());
        assert_eq!((calls.count(), began.elapsed()), (1, secs(5)));
    }
}

/// R11b: a second attempt that runs has its grace.
#[tokio::test(start_paused = true)]
async fn a_second_attempt_has_its_grace() {
    let recorder = Recorder::new();
    let attempts = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let service = ServiceBuilder::new()
        .layer(LogLayer::to(recorder.clone()))
        .layer(TimeoutLayer::new(secs(5)).grace(secs(60)))
        .layer(RetryLayer::new())
        .service(service_fn(move |_: u32| {
            let attempt = attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move {
                if attempt == 0 {
                    return Err(BoxError::from("no"));
                }
                Job::current().cancelled().await;
                tokio::time::sleep(secs(2)).await;
                Ok(1_u32)
            }
        }));
    let began = tokio::time::Instant::now();
    service.oneshot(0).await.unwrap_err();
    assert_eq!(began.elapsed(), secs(7));
}

/// R16: the limit of an attempt cancels that attempt, and what it handed elsewhere, and not the
/// next one: each has a token of its own. The job is not cancelled.
#[tokio::test(start_paused = true)]
async fn an_attempt_is_cancelled_and_the_next_is_not() {
    let handles = Arc::new(Mutex::new(Vec::new()));
    let seen = handles.clone();
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .layer(TimeoutLayer::new(secs(10)).per_attempt().grace(secs(5)))
        .service(code(move |job, _| {
            let seen = seen.clone();
            async move {
                let attempt = job.attempt();
                let token = job.token();
                assert!(!job.is_cancelled() && !token.is_cancelled());
                job.checkpoint()?;
                // Handed to another task, which knows it from the job that it was given.
                let given = job.clone();
                let spawned = tokio::spawn(job.scope(async move {
                    given.cancelled().await;
                    assert!(Job::current().is_cancelled());
                    Job::current().attempt()
                }));
                seen.lock().unwrap().push((job.clone(), token, spawned));
                match attempt {
                    1 => cleaning_up(job, 2).await,
                    2 => cleaning_up(job, 100).await,
                    _ => {
                        tokio::time::sleep(secs(10)).await;
                        assert!(!job.is_cancelled() && job.cancel_reason().is_none());
                        Ok(7)
                    }
                }
            }
        }));
    assert_eq!(service.oneshot(0).await.unwrap(), 7);
    assert_eq!(
        limits(&recorder),
        [
            (LimitScope::Attempt, 12, false),
            (LimitScope::Attempt, 12 + 1 + 15, true)
        ]
    );
    recorder.assert_one_terminal_each();
    let handles: Vec<_> = handles.lock().unwrap().drain(..).collect();
    assert_eq!(handles.len(), 3);
    for (attempt, (job, token, spawned)) in (1..).zip(handles) {
        // They stay as they were when their attempt was over.
        let stopped = attempt < 3;
        assert_eq!(job.is_cancelled(), stopped, "attempt {attempt}");
        assert_eq!(job.token().is_cancelled(), stopped, "attempt {attempt}");
        assert_eq!(token.is_cancelled(), stopped, "attempt {attempt}");
        if stopped {
            assert_eq!(spawned.await.unwrap(), attempt);
        } else {
            assert!(!spawned.is_finished());
            spawned.abort();
        }
    }
}

/// R4: the token of an overall limit is for good: nothing inside begins another attempt in the
/// grace period.
#[tokio::test(start_paused = true)]
async fn nothing_is_retried_in_the_grace_period() {
    for per_attempt in [false, true] {
        let attempts = Arc::new(AtomicU32::new(0));
        let count = attempts.clone();
        let limit = if per_attempt {
            TimeoutLayer::new(secs(10)).per_attempt()
        } else {
            TimeoutLayer::new(secs(10))
        };
        let service = ServiceBuilder::new()
            .layer(limit.grace(secs(60)))
            .layer(RetryLayer::new())
            .service(code(move |job, _| {
                count.fetch_add(1, Ordering::Relaxed);
                cleaning_up(job, 1)
            }));
        let start = Instant::now();
        elapsed(&service.oneshot(0).await.unwrap_err());
        assert_eq!(
            (start.elapsed(), attempts.load(Ordering::Relaxed)),
            (secs(11), 1)
        );
    }
}

/// R15: an outer limit holds during the grace period of an attempt: it drops the work, and the job
/// is over.
#[tokio::test(start_paused = true)]
async fn the_overall_limit_ends_an_attempts_grace() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(12)))
        .layer(RetryLayer::new())
        .layer(TimeoutLayer::new(secs(10)).per_attempt().grace(secs(5)))
        .service(code(|job, _| cleaning_up(job, 100)));
    let error = service.oneshot(0).await.unwrap_err();
    assert_eq!(elapsed(&error), &LimitScope::Overall);
    assert_eq!(limits(&recorder), [(LimitScope::Overall, 12, true)]);
    recorder.assert_names([
        "dispatched",
        "started",
        "timed_out",
        "attempt_ended",
        "failed",
    ]);
}
