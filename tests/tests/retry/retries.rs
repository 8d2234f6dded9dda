//! Which failures are retried, when, and with which events.

use std::time::Duration;

use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    AttemptOutcome, CancelLayer, EventKind, FailureCause, Job, LogLayer, Outcome, RetryLayer,
    TimeoutLayer,
    retry::{Attempt, Decision, Policy},
};
use tower_keep_test::{Polled, Scripted, Step};
use tower_keep_tests::*;

/// R17: success ends the attempts.
#[tokio::test(start_paused = true)]
async fn success_ends_the_attempts() {
    let inner = Scripted::<u32, u32>::new().error("a").answer(5);
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .service(inner.strict());
    assert_eq!(service.oneshot(0).await, Ok(5));
    assert_eq!(calls.count(), 2);
    calls.assert_finished();
}

/// R18: a failure with retries left is `RetryScheduled`, the wait, `Retrying`, the next attempt, in
/// this order. R25: the events carry the attempt, the maximum, the delay and the last error.
#[tokio::test(start_paused = true)]
async fn a_failure_is_followed_by_a_retry() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new()
        .error_after(secs(1), "first")
        .error_after(secs(1), "second")
        .answer(1);
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().max_retries(7))
        .service(inner.strict());
    service.oneshot(0).await.unwrap();
    assert_eq!(calls.started_at(), [secs(0), secs(2), secs(5)]);
    let told: Vec<_> = recorder.kinds()[2..8]
        .iter()
        .map(|kind| match kind {
            EventKind::AttemptEnded {
                attempt,
                took,
                outcome,
                ..
            } => format!("{attempt} ended after {took:?}: {outcome}"),
            EventKind::RetryScheduled {
                attempt,
                max_retries,
                took,
                delay,
                error,
                ..
            } => format!("{attempt} of 1+{max_retries} took {took:?}: {error}, wait {delay:?}"),
            EventKind::Retrying {
                attempt,
                max_retries,
            } => format!("retry as {attempt} of 1+{max_retries}"),
            other => panic!("{other:?}"),
        })
        .collect();
    let failed = AttemptOutcome::Failed(FailureCause::Error);
    assert_eq!(
        told,
        [
            format!("1 ended after 1s: {failed}"),
            "1 of 1+7 took 1s: first, wait 1s".to_owned(),
            "retry as 2 of 1+7".to_owned(),
            format!("2 ended after 1s: {failed}"),
            "2 of 1+7 took 1s: second, wait 2s".to_owned(),
            "retry as 3 of 1+7".to_owned(),
        ]
    );
    assert_eq!(
        recorder.times()[2..],
        [
            ("attempt_ended", secs(1)),
            ("retry_scheduled", secs(1)),
            ("retrying", secs(2)),
            ("attempt_ended", secs(3)),
            ("retry_scheduled", secs(3)),
            ("retrying", secs(5)),
            ("attempt_ended", secs(5)),
            ("succeeded", secs(5)),
        ]
    );
    let attempts: Vec<_> = recorder
        .events()
        .iter()
        .map(|event| event.attempt)
        .collect();
    assert_eq!(attempts, [1, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
}

/// R19: with none left, one `Failed` with the last error, unchanged.
#[tokio::test(start_paused = true)]
async fn the_last_error_is_unchanged() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new()
        .error("a")
        .error("b")
        .error("last");
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().max_retries(2))
        .service(inner.strict());
    assert_eq!(service.oneshot(0).await, Err("last"));
    assert_eq!(recorder.count("failed"), 1);
    assert!(
        matches!(&recorder.kinds().pop(), Some(EventKind::Failed { error, .. }) if &**error == "last")
    );
}

/// R20: the defaults give 4 attempts with waits of 1, 2, 4 s: attempts of 1 s start at 0, 2, 5, 10;
/// failure at 11. R21: `max_retries` is 3, retries rather than attempts. R22: `base_delay` is 1 s.
#[tokio::test(start_paused = true)]
async fn defaults() {
    let start = Instant::now();
    let inner = Scripted::<u32, u32>::new().times(4, || Step::error("no").after(secs(1)));
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .service(inner.strict());
    service.oneshot(0).await.unwrap_err();
    assert_eq!(calls.started_at(), [secs(0), secs(2), secs(5), secs(10)]);
    assert_eq!(start.elapsed(), secs(11));
    assert_eq!(RetryLayer::new().total_delay(), secs(7));
}

/// R23: `max_delay` is 30 s and caps every wait, whatever their number.
#[tokio::test(start_paused = true)]
async fn waits_are_capped() {
    let inner = Scripted::<u32, u32>::new().times(41, || Step::error("no"));
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new().max_retries(40))
        .service(inner.strict());
    service.oneshot(0).await.unwrap_err();
    let gaps = calls.gaps();
    assert_eq!(
        gaps[..6],
        [secs(1), secs(2), secs(4), secs(8), secs(16), secs(30)]
    );
    assert!(gaps[5..].iter().all(|gap| *gap == secs(30)));
    assert_eq!(gaps.len(), 40);
    // The sum saturates rather than overflow.
    let endless = RetryLayer::new()
        .max_retries(u32::MAX)
        .max_delay(Duration::MAX)
        .base_delay(Duration::MAX);
    assert_eq!(endless.total_delay(), Duration::MAX);
}

/// R24: `should_retry` false means failure at once: no wait, no `Retrying`.
#[tokio::test(start_paused = true)]
async fn should_retry_decides() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new().error("again").error("stop");
    let start = Instant::now();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().should_retry(|error| *error == "again"))
        .service(inner.strict());
    assert_eq!(service.oneshot(0).await, Err("stop"));
    assert_eq!(start.elapsed(), secs(1));
    recorder.assert_names([
        "dispatched",
        "started",
        "attempt_ended",
        "retry_scheduled",
        "retrying",
        "attempt_ended",
        "failed",
    ]);
}

/// R24: a classifier can have a response retried.
#[tokio::test(start_paused = true)]
async fn a_response_can_be_retried() {
    let inner = Scripted::<u32, u32>::new().answer(503).answer(200);
    let calls = inner.calls();
    let classify = |result: &Result<u32, &'static str>| match result {
        Ok(500..) | Err(_) => Outcome::Failure,
        Ok(_) => Outcome::Success,
    };
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new().classify(classify))
        .service(inner.strict());
    assert_eq!(service.oneshot(0).await, Ok(200));
    assert_eq!(calls.count(), 2);
}

/// R25: code inside the job can read its attempt number.
#[tokio::test(start_paused = true)]
async fn the_code_inside_knows_its_attempt() {
    let service = ServiceBuilder::new()
        .layer(LogLayer::to(|_: &tower_keep::Event| ()))
        .layer(RetryLayer::new())
        .service(code(|job, _| async move {
            assert_eq!(Job::current().attempt(), job.attempt());
            if job.attempt() < 3 {
                Err(job.attempt().to_string().into())
            } else {
                Ok(job.attempt())
            }
        }));
    assert_eq!(service.oneshot(0).await.unwrap(), 3);
}

/// R25b, R68 A delay that the outcome asks for is taken, and clamped where that is asked for.
#[tokio::test(start_paused = true)]
async fn a_policy_says_when() {
    #[derive(Clone)]
    struct ByError;
    impl<T> Policy<u32, T, &'static str> for ByError {
        type Seen = ();
        fn see(&self, _: &u32) {}
        fn decide(&self, (): &(), result: &Result<T, &'static str>, _: &Attempt<'_>) -> Decision {
            match result {
                Err("soon") => Decision::RetryAfter(ms(5)),
                Err("much later") => Decision::RetryAfter(Duration::MAX),
                _ => Decision::Stop,
            }
        }
    }
    let inner = Scripted::<u32, u32>::new()
        .error("soon")
        .error("much later")
        .error("final");
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new().policy(ByError).clamp_requested_delay())
        .service(inner.strict());
    assert_eq!(service.oneshot(0).await, Err("final"));
    assert_eq!(calls.gaps(), [ms(5), secs(60)]);
}

/// Behaviour 20: a request is cloned once less than it is tried, where all attempts are used. A
/// request that cannot be repeated is tried once.
#[tokio::test(start_paused = true)]
async fn requests_are_cloned_for_retries_only() {
    for max_retries in [0, 1, 3] {
        let inner = Scripted::<Counted, u32>::new().error("no").repeat_last();
        let calls = inner.calls();
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new().max_retries(max_retries))
            .service(inner.strict());
        let request = Counted::default();
        let clones = request.clones.clone();
        service.oneshot(request).await.unwrap_err();
        assert_eq!(calls.count(), max_retries as usize + 1);
        let clones = clones.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(clones, max_retries);
    }

    struct NotClone;
    let inner = Scripted::<NotClone, u32>::new().error("no");
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new().clone_with(|_: &NotClone| None))
        .service(inner.strict());
    assert_eq!(service.oneshot(NotClone).await, Err("no"));
    assert_eq!(calls.count(), 1);
}

#[derive(Default)]
struct Counted {
    clones: std::sync::Arc<std::sync::atomic::AtomicU32>,
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.clones
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self {
            clones: self.clones.clone(),
        }
    }
}

/// A service that is not ready for the next attempt counts as that attempt's failure.
#[tokio::test(start_paused = true)]
async fn a_readiness_error_is_an_attempts_failure() {
    use tower_keep_test::Readiness;
    let inner = Scripted::<u32, u32>::new()
        .error("call")
        .answer(1)
        .readiness(Readiness::ok())
        .readiness(Readiness::error("not ready"))
        .readiness(Readiness::ok());
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .service(inner.strict());
    assert_eq!(service.oneshot(0).await, Ok(1));
    assert_eq!(calls.started_at(), [secs(0), secs(3)]);
}

/// A per-attempt limit that answers with a response is retried like a limit that fails.
#[tokio::test(start_paused = true)]
async fn an_attempt_limit_with_a_response_is_retried() {
    let inner = Scripted::<u32, u32>::new().never().answer(200);
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(
            TimeoutLayer::new(secs(1))
                .per_attempt()
                .respond_with(|_| 504),
        )
        .service(inner.strict());
    assert_eq!(service.oneshot(0).await, Ok(200));
}

/// R11: a cancel reaches every attempt of a retry around the Cancel layer, however many came
/// before.
#[tokio::test(start_paused = true)]
async fn a_cancel_reaches_every_attempt() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new()
        .times(3, || Step::error("no"))
        .never();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().base_delay(Duration::ZERO))
        .layer(cancel)
        .service(inner.strict());
    let mut call = Polled::new(begin(&mut service, 0).await);
    while recorder.count("retrying") < 3 {
        call.assert_pending();
        tokio::time::sleep(ms(1)).await;
    }
    call.assert_waiting();
    assert!(handle.cancel(recorder.job()));
    call.assert_woken();
    call.assert_ready().unwrap_err();
    recorder.assert_one_terminal_each();
}

/// R24: `should_retry` is asked of an attempt's time limit too.
#[tokio::test(start_paused = true)]
async fn should_retry_decides_on_a_limit() {
    let inner = Scripted::<u32, u32>::new().never();
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(
            RetryLayer::new().should_retry(|error: &tower_keep::BoxError| {
                tower_keep::find::<tower_keep::timeout::Elapsed>(&**error).is_none()
            }),
        )
        .layer(TimeoutLayer::new(secs(1)).per_attempt())
        .service(inner.strict());
    service.oneshot(0).await.unwrap_err();
    assert_eq!(calls.count(), 1);
}
