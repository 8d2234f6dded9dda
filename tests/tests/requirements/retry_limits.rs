//! When a retry gives up, and what it says of that.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};
use tower_keep::{
    BoxError, CancelLayer, DedupLayer, EventKind, FailureCause, GiveUpReason, Job, LogLayer,
    Outcome, RetryLayer, TimeoutLayer, find,
    retry::{Attempt, Decision},
    timeout::Elapsed,
};
use tower_keep_test::{Polled, Recorder, Scripted, Step};

use super::support::*;

fn failing() -> Scripted<u32, u32> {
    Scripted::new().error("no").repeat_last()
}

/// Why a retry was given up, each time it was: the attempt and the reason.
fn given_up(recorder: &Recorder) -> Vec<(u32, GiveUpReason)> {
    recorder
        .kinds()
        .into_iter()
        .filter_map(|kind| match kind {
            EventKind::RetryGivenUp {
                attempt, reason, ..
            } => Some((attempt, reason)),
            _ => None,
        })
        .collect()
}

/// R19, R25b: with no retries left this is told, before the job's end, and only where another attempt was wanted.
#[tokio::test(start_paused = true)]
async fn exhausted() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().max_retries(1))
        .service(failing().strict());
    assert_eq!(service.oneshot(0).await, Err("no"));
    recorder.assert_names([
        "dispatched",
        "started",
        "retry_scheduled",
        "retrying",
        "retry_given_up",
        "failed",
    ]);
    assert_eq!(
        recorder.kinds()[4],
        EventKind::RetryGivenUp {
            attempt: 2,
            max_retries: 1,
            reason: GiveUpReason::Exhausted
        }
    );

    // The last attempt fails with what nobody would retry; or there were to be no retries at all.
    for (max_retries, last) in [(1, "final"), (0, "no")] {
        let (log, recorder) = recording();
        let inner = Scripted::<u32, u32>::new()
            .times(max_retries as usize, || Step::error("no"))
            .error(last);
        let retry = RetryLayer::new().max_retries(max_retries);
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(retry.should_retry(|error| *error == "no"))
            .service(inner.strict());
        assert_eq!(service.oneshot(0).await, Err(last));
        assert_eq!(given_up(&recorder), []);
    }
}

/// R25b, behaviour 19: a retry that would begin at the job's deadline or past it is given up at once, with the last
/// outcome, whoever knows of the deadline: a job, or the limit's layer alone.
#[tokio::test(start_paused = true)]
async fn no_wait_reaches_the_deadline() {
    // Retries of what fails at once begin at 1, 3 and 7 s.
    for (limit, begun, over) in [
        (ms(7001), 4, secs(7)),
        (secs(7), 3, secs(3)),
        (ms(3001), 3, secs(3)),
        (secs(3), 2, secs(1)),
        (secs(1), 1, secs(0)),
    ] {
        for tracked in [true, false] {
            let start = Instant::now();
            let recorder = Recorder::new();
            let log = if tracked {
                LogLayer::to(recorder.clone())
            } else {
                LogLayer::off()
            };
            let inner = failing();
            let calls = inner.calls();
            let service = ServiceBuilder::new()
                .layer(log)
                .layer(TimeoutLayer::new(limit))
                .layer(RetryLayer::new())
                .service(inner.strict());
            let error = service.oneshot(0).await.unwrap_err();
            assert_eq!(error.to_string(), "no");
            assert_eq!((calls.count(), start.elapsed()), (begun, over), "{limit:?}");
            if tracked {
                let reason = if begun == 4 {
                    GiveUpReason::Exhausted
                } else {
                    GiveUpReason::Deadline
                };
                assert_eq!(given_up(&recorder), [(begun as u32, reason)]);
                assert_eq!(recorder.count("timed_out"), 0);
            }
        }
    }
}

/// R25b: a client inside a job's code keeps to the job's deadline, though its stack begins no job of its own.
#[tokio::test(start_paused = true)]
async fn a_client_keeps_to_the_deadline_of_the_job_around() {
    let start = Instant::now();
    let client = RetryLayer::new().layer(failing());
    let service = ServiceBuilder::new()
        .layer(LogLayer::to(|_: &tower_keep::Event| ()))
        .layer(TimeoutLayer::new(secs(5)))
        .service(code(move |_, _| {
            let client = client.clone();
            async move { Ok(client.oneshot(0).await?) }
        }));
    assert_eq!(service.oneshot(0).await.unwrap_err().to_string(), "no");
    assert_eq!(start.elapsed(), secs(3));
}

/// R54b: the deadline of one caller does not end the retries that others wait for; a limit on the execution does.
#[tokio::test(start_paused = true)]
async fn a_deadline_is_no_matter_to_those_who_joined() {
    for within in [None, Some(secs(3))] {
        let (log, recorder) = recording();
        let inner = Scripted::<u32, u32>::new()
            .error("no")
            .error("no")
            .answer(1);
        let calls = inner.calls();
        let shared = ServiceBuilder::new()
            .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
            .layer(TimeoutLayer::new(within.unwrap_or(secs(60))))
            .layer(RetryLayer::new())
            .service(inner.strict());
        let hurried = ServiceBuilder::new()
            .layer(log)
            .layer(TimeoutLayer::new(secs(2)))
            .service(shared.clone());
        let hurried = tokio::spawn(hurried.oneshot(0));
        tokio::task::yield_now().await;
        let patient = tokio::spawn(shared.oneshot(0));
        let hurried = hurried.await.unwrap().unwrap_err();
        let patient = patient.await.unwrap();
        if within.is_none() {
            assert!(find::<Elapsed>(&*hurried).is_some());
            assert_eq!(patient.unwrap(), 1);
            assert_eq!(calls.started_at(), [secs(0), secs(1), secs(3)]);
            assert_eq!(given_up(&recorder), []);
        } else {
            assert_eq!(patient.unwrap_err().to_string(), "no");
            assert_eq!(given_up(&recorder), [(2, GiveUpReason::Deadline)]);
        }
    }
}

/// R25b: the total time counts attempts and waits from the call on, and ends no attempt that runs.
#[tokio::test(start_paused = true)]
async fn the_total_time() {
    // Attempts of 1 s begin at 0, 2, 5 and 10 s.
    for (total, begun) in [
        (Duration::ZERO, 1),
        (secs(2), 1),
        (ms(2001), 2),
        (secs(5), 2),
        (ms(5001), 3),
        (secs(10), 3),
        (secs(11), 4),
        (Duration::MAX, 4),
    ] {
        let (log, recorder) = recording();
        let start = Instant::now();
        let inner = Scripted::<u32, u32>::new().times(4, || Step::error("no").after(secs(1)));
        let calls = inner.calls();
        let mut service = ServiceBuilder::new()
            .layer(log)
            .layer(RetryLayer::new().max_total_time(total))
            .service(inner.strict());
        // The layer's own age is no matter.
        tokio::time::sleep(secs(3)).await;
        let call = begin(&mut service, 0).await;
        assert_eq!(call.await, Err("no"));
        assert_eq!(calls.count(), begun, "{total:?}");
        let over = [4, 6, 9, 14][begun - 1];
        assert_eq!(start.elapsed(), secs(over));
        let reason = if begun == 4 {
            GiveUpReason::Exhausted
        } else {
            GiveUpReason::TotalTime
        };
        assert_eq!(given_up(&recorder), [(begun as u32, reason)]);
    }
}

/// R12: the total time begins at the call, also where the future is polled late.
#[tokio::test(start_paused = true)]
async fn the_total_time_begins_at_the_call() {
    let inner = failing();
    let calls = inner.calls();
    let mut service = RetryLayer::new().max_total_time(secs(2)).layer(inner);
    let call = begin(&mut service, 0).await;
    tokio::time::sleep(secs(1)).await;
    assert_eq!(call.await, Err("no"));
    assert_eq!(calls.count(), 1);
}

/// Behaviour 20: a request that cannot be repeated is tried once, and this is told where a retry was wanted.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_repeated() {
    for (error, expected) in [
        ("no", vec![(1, GiveUpReason::NotRepeatable)]),
        ("final", vec![]),
    ] {
        let (log, recorder) = recording();
        let retry = RetryLayer::new()
            .should_retry(|error| *error == "no")
            .clone_with(|_: &u32| None);
        let inner = Scripted::<u32, u32>::new().error(error);
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(retry)
            .service(inner.strict());
        assert_eq!(service.oneshot(0).await, Err(error));
        assert_eq!(given_up(&recorder), expected);
    }

    // One that can be repeated only once.
    let (log, recorder) = recording();
    let left = Arc::new(AtomicBool::new(true));
    let retry = RetryLayer::new()
        .clone_with(move |request: &u32| left.swap(false, Ordering::Relaxed).then_some(*request));
    let inner = failing();
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(retry)
        .service(inner.strict());
    assert_eq!(service.oneshot(0).await, Err("no"));
    assert_eq!(calls.count(), 2);
    assert_eq!(given_up(&recorder), [(2, GiveUpReason::NotRepeatable)]);
}

/// A policy's `Never` ends the attempts here and in every retry around, with the result as it is.
#[tokio::test(start_paused = true)]
async fn never_reaches_the_retries_around() {
    for (decision, attempts, reasons) in [
        (Decision::Never, 1, vec![(1, GiveUpReason::Forbidden)]),
        // A mere stop is no matter to the outer one.
        (Decision::Stop, 4, vec![(4, GiveUpReason::Exhausted)]),
    ] {
        let (log, recorder) = recording();
        let inner = failing();
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

/// R10: what is cancelled is not retried, and nothing is said of giving up.
#[tokio::test(start_paused = true)]
async fn a_cancelled_job_gives_nothing_up() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new().grace(secs(9));
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .layer(RetryLayer::new())
        .service(code(move |job, _| {
            let handle = handle.clone();
            async move {
                tokio::time::sleep(secs(1)).await;
                handle.cancel(job.id().unwrap());
                Err("no".into())
            }
        }));
    service.oneshot(0).await.unwrap_err();
    recorder.assert_names(["dispatched", "started", "cancelled"]);
}

/// Behaviour 23: a call that is dropped during the wait keeps nothing of the inner service and begins nothing more.
#[tokio::test(start_paused = true)]
async fn a_dropped_wait_is_over() {
    let inner = failing();
    let calls = inner.calls();
    let mut service = RetryLayer::new().layer(inner);
    let mut call = Polled::new(begin(&mut service, 0).await);
    call.assert_pending();
    drop(call);
    tokio::time::sleep(secs(60)).await;
    assert_eq!((calls.count(), calls.in_flight()), (1, 0));
}

/// Behaviour 20: capacity of the inner service is not held during a wait: with one permit for all, another call goes
/// through meanwhile.
#[tokio::test(start_paused = true)]
async fn no_capacity_is_held_during_a_wait() {
    let inner = Scripted::<u32, u32>::new().error("no").answer(2).answer(1);
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(inner.strict());
    let mut waiting = Polled::new(begin(&mut service, 0).await);
    waiting.assert_pending();
    let other = tokio::time::timeout(ms(1), async { begin(&mut service, 1).await.await });
    assert_eq!(other.await.expect("there is a permit"), Ok(2));
    drop(service);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(waiting.assert_ready(), Ok(1));
    assert_eq!(calls.started_at(), [secs(0), secs(0), secs(1)]);
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
                Err(_) => Decision::RetryAfter(Duration::MAX),
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
