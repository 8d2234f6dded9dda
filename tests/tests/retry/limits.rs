//! When a retry gives up, and what it says of that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};
use tower_keep::{
    CancelLayer, DedupLayer, EventKind, GiveUpReason, LogLayer, RetryLayer, TimeoutLayer, find,
    timeout::Elapsed,
};
use tower_keep_test::{Polled, Recorder, Scripted, Step};
use tower_keep_tests::*;

fn failing() -> Scripted<u32, u32> {
    Scripted::new().error("no").repeat_last()
}

/// R19, R25b: with no retries left an event says so, before the job's end, and only where another
/// attempt was wanted.
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
        "attempt_ended",
        "retry_scheduled",
        "retrying",
        "attempt_ended",
        "retry_given_up",
        "failed",
    ]);
    assert!(matches!(
        recorder.kinds()[6],
        EventKind::RetryGivenUp {
            attempt: 2,
            max_retries: 1,
            reason: GiveUpReason::Exhausted,
            ..
        }
    ));

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

/// R25b, behaviour 19: a retry that would begin at the job's deadline or past it is given up at
/// once, with the last outcome, whether a job knows of the deadline or the limit's layer alone.
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
            let log = tracked.then(|| LogLayer::to(recorder.clone()));
            let inner = failing();
            let calls = inner.calls();
            let service = ServiceBuilder::new()
                .option_layer(log)
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

/// R25b: a client inside a job's code keeps to the job's deadline, though its stack begins no job
/// of its own.
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

/// R54b: the deadline of one caller does not end the retries that others wait for; a limit on the
/// execution does.
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

/// Behaviour 20: a request that cannot be repeated is tried once, and an event says so where a
/// retry was wanted.
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

    // A request that can be repeated only once.
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
    recorder.assert_names(["dispatched", "started", "attempt_ended", "cancelled"]);
}

/// Behaviour 23: a call that is dropped during the wait keeps nothing of the inner service and
/// begins nothing more.
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

/// Behaviour 20: capacity of the inner service is not held during a wait: with one permit for all,
/// another call goes through meanwhile.
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
