//! How long a retry waits: what the service asks for, and what the policy decides.

use std::time::Duration;

use futures::FutureExt;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    CancelLayer, Classify, EventKind, GiveUpReason, Outcome, RetryLayer, TimeoutLayer,
    retry::{Backoff, Decision, Jitter},
};
use tower_keep_test::Scripted;
use tower_keep_tests::*;

/// Decides the same after every error.
fn always(
    decision: Decision,
) -> impl Fn(&Result<u32, &'static str>, &tower_keep::retry::Attempt<'_>) -> Decision + Clone {
    move |result, _| {
        if result.is_err() {
            decision
        } else {
            Decision::Stop
        }
    }
}

fn failing_once() -> Scripted<u32, u32> {
    Scripted::new().error("no").answer(1)
}

/// R68 What the service asks for is waited for in full, also beyond `max_delay`; zero is the
/// backoff.
#[tokio::test(start_paused = true)]
async fn a_requested_wait_is_never_shortened() {
    for (asked, waited) in [
        (ms(1), ms(1)),
        (secs(59), secs(59)),
        (secs(60), secs(60)),
        // Of no time at all, or a date in the past.
        (Duration::ZERO, secs(1)),
    ] {
        let inner = failing_once();
        let calls = inner.calls();
        let retry = RetryLayer::new()
            .max_delay(secs(2))
            .decide_with(always(Decision::RetryAfter(asked)));
        assert_eq!(retry.layer(inner.strict()).oneshot(0).await, Ok(1));
        assert_eq!(calls.gaps(), [waited], "asked for {asked:?}");
    }
}

/// R68 Beyond `max_requested_delay` the retry is given up at once, with the outcome unchanged.
#[tokio::test(start_paused = true)]
async fn a_wait_that_is_too_long_is_given_up() {
    for (retry, asked) in [
        (RetryLayer::new(), ms(60_001)),
        (RetryLayer::new(), Duration::MAX),
        (RetryLayer::for_clients(), secs(3600)),
        (RetryLayer::new().max_requested_delay(secs(5)), secs(6)),
        (
            RetryLayer::new().max_requested_delay(Duration::ZERO),
            Duration::from_nanos(1),
        ),
    ] {
        let (log, recorder) = recording();
        let inner = failing_once();
        let calls = inner.calls();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(retry.decide_with(always(Decision::RetryAfter(asked))))
            .service(inner.strict());
        assert_eq!(
            service.oneshot(0).now_or_never(),
            Some(Err("no")),
            "at once"
        );
        assert_eq!(calls.count(), 1);
        assert_eq!(given_up(&recorder), [(1, GiveUpReason::AskedTooLong)]);
        recorder.assert_names([
            "dispatched",
            "started",
            "attempt_ended",
            "retry_given_up",
            "failed",
        ]);
    }
}

/// R68 A layer that clamps comes back after `max_requested_delay`, to the moment, with jitter too.
#[tokio::test(start_paused = true)]
async fn a_wait_that_is_too_long_may_be_clamped() {
    for jitter in [Jitter::None, Jitter::Full] {
        let inner = failing_once();
        let calls = inner.calls();
        let retry = RetryLayer::new()
            .jitter(jitter)
            .clamp_requested_delay()
            .max_requested_delay(secs(7))
            .decide_with(always(Decision::RetryAfter(Duration::MAX)));
        assert_eq!(retry.layer(inner.strict()).oneshot(0).await, Ok(1));
        assert_eq!(calls.gaps(), [secs(7)]);
    }
}

/// R68 Where no time at all may be asked for, a layer that clamps goes by its backoff.
#[tokio::test(start_paused = true)]
async fn a_wait_that_is_clamped_to_nothing_is_the_backoff() {
    let inner = failing_once();
    let calls = inner.calls();
    let retry = RetryLayer::new()
        .clamp_requested_delay()
        .max_requested_delay(Duration::ZERO)
        .decide_with(always(Decision::RetryAfter(secs(9))));
    assert_eq!(retry.layer(inner.strict()).oneshot(0).await, Ok(1));
    assert_eq!(calls.gaps(), [secs(1)]);
}

/// R68 Jitter of any kind only lengthens a requested wait, by a tenth at most, and within the
/// longest that may be asked for.
#[tokio::test(start_paused = true)]
async fn jitter_lengthens_a_requested_wait() {
    let mut lengthened = 0;
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
        for seed in 0..20 {
            for (asked, longest) in [(secs(10), secs(11)), (secs(59), secs(60))] {
                let inner = failing_once();
                let calls = inner.calls();
                let retry = RetryLayer::new()
                    .jitter(jitter)
                    .seed(seed)
                    .decide_with(always(Decision::RetryAfter(asked)));
                assert_eq!(retry.layer(inner.strict()).oneshot(0).await, Ok(1));
                let waited = calls.gaps()[0];
                // The timer counts whole milliseconds.
                assert!(asked <= waited && waited <= longest + ms(1), "{waited:?}");
                lengthened += usize::from(waited > asked);
            }
        }
    }
    assert!(lengthened > 100, "{lengthened} of 120");
}

/// R69 A wait that the policy itself decides on is exact: no cap, no jitter, no limit on requests.
#[tokio::test(start_paused = true)]
async fn a_decided_wait_is_exact() {
    for delay in [ms(1), secs(61), secs(86_400)] {
        let inner = failing_once();
        let calls = inner.calls();
        let retry = RetryLayer::new()
            .max_delay(secs(2))
            .max_requested_delay(secs(1))
            .jitter(Jitter::Full)
            .decide_with(always(Decision::RetryIn(delay)));
        assert_eq!(retry.layer(inner.strict()).oneshot(0).await, Ok(1));
        assert_eq!(calls.gaps(), [delay]);
    }
}

/// R69 No wait at all takes no timer, and so no runtime; the events are those of any retry.
#[test]
fn a_retry_at_once_needs_no_runtime() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .error("no")
        .answer(1);
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().decide_with(always(Decision::RetryIn(Duration::ZERO))))
        .service(inner.strict());
    assert_eq!(service.oneshot(0).now_or_never(), Some(Ok(1)));
    recorder.assert_names([
        "dispatched",
        "started",
        "attempt_ended",
        "retry_scheduled",
        "retrying",
        "attempt_ended",
        "retry_scheduled",
        "retrying",
        "attempt_ended",
        "succeeded",
    ]);
    assert!(recorder.kinds().iter().all(|kind| match kind {
        EventKind::RetryScheduled { delay, .. } => delay.is_zero(),
        _ => true,
    }));
}

/// R69 Attempts without a wait between them, however many, starve nobody: a limit around ends them,
/// and a cancellation too.
#[tokio::test(start_paused = true)]
async fn retries_at_once_starve_nobody() {
    for retry in [
        RetryLayer::new().base_delay(Duration::ZERO),
        RetryLayer::new().backoff(Backoff::constant(Duration::ZERO)),
    ] {
        let at_once = retry.max_retries(u32::MAX);
        let inner = Scripted::<u32, u32>::new().error("no").repeat_last();
        let cancel = CancelLayer::new().fail_with(|_| "cancelled");
        let handle = cancel.handle();
        let service = ServiceBuilder::new()
            .layer(cancel)
            .layer(at_once.decide_with(always(Decision::RetryIn(Duration::ZERO))))
            .service(inner.strict());
        let call = tokio::spawn(service.oneshot(0));
        tokio::task::yield_now().await;
        assert_eq!(handle.cancel_all("enough"), 1);
        assert_eq!(call.await.unwrap(), Err("cancelled"));
    }
}

/// R69 A base beyond 30 s is waited for.
#[tokio::test(start_paused = true)]
async fn the_default_cap_does_not_cut_the_base() {
    let inner = failing_once();
    let calls = inner.calls();
    let service = RetryLayer::new().base_delay(secs(60)).layer(inner.strict());
    assert_eq!(service.oneshot(0).await, Ok(1));
    assert_eq!(calls.gaps(), [secs(60)]);
}

/// R69 A cap below the base is rejected where it is set.
#[test]
#[should_panic(expected = "max_delay is shorter than base_delay")]
fn a_cap_below_the_base_is_rejected() {
    let _ = RetryLayer::new().base_delay(secs(2)).max_delay(secs(1));
}

/// R69 A base above the cap is rejected where it is set.
#[test]
#[should_panic(expected = "max_delay is shorter than base_delay")]
fn a_base_above_the_cap_is_rejected() {
    let _ = RetryLayer::for_clients().base_delay(secs(21));
}

/// Says of 503 that it asks for 7 s.
#[derive(Clone)]
struct Busy;

impl Classify<u32, &'static str> for Busy {
    fn classify(&self, result: &Result<u32, &'static str>) -> Outcome {
        match result {
            Ok(200) => Outcome::Success,
            _ => Outcome::Failure,
        }
    }

    fn retry_after(&self, result: &Result<u32, &'static str>) -> Option<Duration> {
        (*result == Ok(503)).then_some(secs(7))
    }
}

/// R68 `retry_after` comes before the classifier's hint, and where it says nothing the hint counts:
/// in Retry as in CircuitBreaker.
#[tokio::test(start_paused = true)]
async fn one_precedence_of_hints() {
    use tower_keep::CircuitBreakerLayer;

    for (said, expected) in [(Some(secs(3)), secs(3)), (None, secs(7))] {
        let inner = Scripted::<u32, u32>::new().answer(503).answer(200);
        let calls = inner.calls();
        let retry = RetryLayer::new()
            .classify(Busy)
            .retry_after(move |_: &Result<u32, &str>| said);
        assert_eq!(retry.layer(inner.strict()).oneshot(0).await, Ok(200));
        assert_eq!(calls.gaps(), [expected]);

        let layer = CircuitBreakerLayer::new()
            .failure_threshold(0)
            .cooldown(secs(1))
            .classify(Busy)
            .retry_after(move |_: &Result<u32, &'static str>| said)
            .fail_with(|_| "open");
        let handle = layer.handle();
        let inner = Scripted::<u32, u32>::new().answer(503);
        assert_eq!(layer.layer(inner.strict()).oneshot(0).await, Ok(503));
        assert_eq!(handle.snapshot().time_until_probe, Some(expected));
    }
}

/// A requested wait that reaches the deadline is given up for the deadline's sake.
#[tokio::test(start_paused = true)]
async fn a_requested_wait_beyond_the_deadline() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(30)).fail_with(|_| "slow"))
        .layer(RetryLayer::new().decide_with(always(Decision::RetryAfter(secs(40)))))
        .service(failing_once().strict());
    assert_eq!(service.oneshot(0).await, Err("no"));
    assert_eq!(given_up(&recorder), [(1, GiveUpReason::Deadline)]);
}
