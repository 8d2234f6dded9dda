//! The states of a circuit, and what moves it from one to the next.

use std::{num::NonZeroU32, time::Duration};

use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, EventKind, FailureCause, Outcome, RetryLayer, TimeoutLayer,
    circuit_breaker::{Open, State},
    find,
};
use tower_keep_test::{Polled, Readiness, Scripted, Step};
use tower_keep_tests::*;

fn open(error: &BoxError) -> &Open {
    find::<Open>(&**error).expect("the circuit rejected it")
}

/// R30: starts closed and lets through. R31: closed counts failures. R32: opens when failures
/// exceed the threshold: at the threshold still closed, one more opens. A success resets the count.
#[tokio::test(start_paused = true)]
async fn opens_past_the_threshold() {
    let breaker = CircuitBreakerLayer::new();
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .times(5, || Step::error("no"))
        .answer(1)
        .times(6, || Step::error("no"));
    let calls = inner.calls();
    let mut service = breaker.layer(inner.strict());
    assert_eq!(handle.state(), State::Closed);
    for failures in 1..=5 {
        begin(&mut service, 0).await.await.unwrap_err();
        assert_eq!(
            (handle.snapshot().failures_in_a_row, handle.state()),
            (failures, State::Closed)
        );
    }
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(handle.snapshot().failures_in_a_row, 0);
    for _ in 1..=5 {
        begin(&mut service, 0).await.await.unwrap_err();
    }
    assert_eq!(handle.state(), State::Closed);
    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(handle.state(), State::Open);
    calls.assert_finished();
}

/// R33: open rejects at once; the inner service is neither polled nor called; the error says which
/// circuit and how long.
#[tokio::test(start_paused = true)]
async fn open_rejects_without_the_inner_service() {
    let breaker = CircuitBreakerLayer::new().named("db").failure_threshold(0);
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .readiness(Readiness::ok())
        .readiness(Readiness::never());
    let calls = inner.calls();
    let mut service = breaker.layer(inner.strict());
    begin(&mut service, 0).await.await.unwrap_err();
    let polls = calls.polls();
    tokio::time::sleep(secs(10)).await;
    let error = begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(
        (open(&error).circuit(), open(&error).remaining()),
        ("db", Some(secs(20)))
    );
    assert_eq!((calls.polls(), calls.count()), (polls, 1));
    assert_eq!(
        error.to_string(),
        "circuit \"db\" is open for another 20s: no"
    );
}

/// R34: half-open exactly after the cooldown. R36: success closes and resets.
#[tokio::test(start_paused = true)]
async fn half_open_exactly_after_the_cooldown() {
    let breaker = CircuitBreakerLayer::new().failure_threshold(1);
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .error("no")
        .answer(1)
        .error("no");
    let mut service = breaker.layer(inner.strict());
    for _ in 0..2 {
        begin(&mut service, 0).await.await.unwrap_err();
    }
    tokio::time::sleep(secs(30) - ms(1)).await;
    open(&begin(&mut service, 0).await.await.unwrap_err());
    assert_eq!(handle.snapshot().time_until_probe, Some(ms(1)));
    tokio::time::sleep(ms(1)).await;
    assert_eq!(
        (handle.state(), handle.snapshot().time_until_probe),
        (State::Open, None)
    );
    let probe = begin(&mut service, 0).await;
    assert_eq!(handle.state(), State::HalfOpen);
    assert_eq!(probe.await.unwrap(), 1);
    assert_eq!(
        (handle.state(), handle.snapshot().failures_in_a_row),
        (State::Closed, 0)
    );
    // One failure is put up with again.
    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(handle.state(), State::Closed);
}

/// R35: half-open lets a limited number through, one by default.
#[tokio::test(start_paused = true)]
async fn half_open_lets_a_few_through() {
    for probes in [1, 3] {
        let breaker = CircuitBreakerLayer::new().failure_threshold(0);
        let breaker = match probes {
            1 => breaker,
            probes => breaker.half_open_probes(NonZeroU32::new(probes).unwrap()),
        };
        let inner = Scripted::<u32, u32>::new()
            .error("no")
            .times(3, || Step::answer(1).after(secs(1)));
        let calls = inner.calls();
        let mut service = breaker.layer(inner.strict());
        begin(&mut service, 0).await.await.unwrap_err();
        tokio::time::sleep(secs(30)).await;
        let mut under_way = Vec::new();
        for _ in 0..5 {
            under_way.push(tokio::spawn(begin(&mut service, 0).await));
        }
        let mut through = 0;
        for call in under_way {
            through += u32::from(call.await.unwrap().is_ok());
        }
        assert_eq!((through, calls.peak() as u32), (probes, probes));
    }
}

/// R37: failure opens again and the cooldown restarts.
#[tokio::test(start_paused = true)]
async fn a_failed_probe_opens_again() {
    let breaker = CircuitBreakerLayer::new().failure_threshold(0);
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .error_after(secs(7), "still no");
    let mut service = breaker.layer(inner.strict());
    begin(&mut service, 0).await.await.unwrap_err();
    tokio::time::sleep(secs(45)).await;
    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(
        (handle.state(), handle.snapshot().time_until_probe),
        (State::Open, Some(secs(30)))
    );
}

/// R38: the state can be read, watched and forced; each transition is an event.
#[tokio::test(start_paused = true)]
async fn the_state_can_be_watched_and_forced() {
    let (log, recorder) = recording();
    let breaker = CircuitBreakerLayer::new().named("db").failure_threshold(0);
    let handle = breaker.handle();
    let mut watch = handle.watch();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .answer(1)
        .error("no")
        .error("no");
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(breaker)
        .service(inner.strict());

    begin(&mut service, 0).await.await.unwrap_err();
    watch.changed().await.unwrap();
    assert_eq!(*watch.borrow_and_update(), State::Open);
    tokio::time::sleep(secs(30)).await;
    let probe = begin(&mut service, 0).await;
    assert_eq!(*watch.borrow_and_update(), State::HalfOpen);
    probe.await.unwrap();
    assert_eq!(*watch.borrow_and_update(), State::Closed);
    let transitions: Vec<_> = recorder
        .kinds()
        .into_iter()
        .filter(|kind| kind.name().starts_with("circuit"))
        .collect();
    assert!(matches!(
        &transitions[0],
        EventKind::CircuitOpened { circuit, cooldown, cause, .. }
            if &**circuit == "db" && *cooldown == secs(30) && &**cause == "no"
    ));
    assert_eq!(
        transitions[1..],
        [
            EventKind::CircuitHalfOpened {
                circuit: "db".into()
            },
            EventKind::CircuitClosed {
                circuit: "db".into()
            },
        ]
    );

    // Forced open stays open, past any cooldown.
    handle.force_open();
    assert_eq!(*watch.borrow_and_update(), State::Open);
    tokio::time::sleep(secs(1000)).await;
    assert_eq!(
        open(&begin(&mut service, 0).await.await.unwrap_err()).remaining(),
        None
    );
    // Forced closed stays closed, whatever fails.
    handle.force_closed();
    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(handle.state(), State::Closed);
    // A reset counts from nothing.
    handle.reset();
    assert_eq!(handle.snapshot().failures_in_a_row, 0);
    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(
        (handle.state(), *watch.borrow_and_update()),
        (State::Open, State::Open)
    );
}

/// R38: a probe that is dropped, cancelled or hangs never locks the circuit.
#[tokio::test(start_paused = true)]
async fn a_lost_probe_never_locks_the_circuit() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .probe_timeout(secs(5));
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .never()
        .never()
        .answer(1);
    let mut service = breaker.layer(inner.strict());
    begin(&mut service, 0).await.await.unwrap_err();
    tokio::time::sleep(secs(30)).await;

    // Dropped before its first poll: the next one may go.
    drop(begin(&mut service, 0).await);
    assert_eq!(handle.state(), State::HalfOpen);
    let mut hangs = Polled::new(begin(&mut service, 0).await);
    hangs.assert_pending();
    tokio::time::sleep(secs(5) - ms(1)).await;
    let error = begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(open(&error).remaining(), Some(ms(1)));
    tokio::time::sleep(ms(1)).await;
    // The hanging one has lost its place.
    assert_eq!(begin(&mut service, 0).await.await.unwrap(), 1);
    assert_eq!(handle.state(), State::Closed);
    drop(hangs);
    assert_eq!(handle.state(), State::Closed);
}

/// What was admitted before a transition counts for nothing after it, success or failure.
#[tokio::test(start_paused = true)]
async fn late_outcomes_of_an_older_generation_are_ignored() {
    for late in [Ok(1), Err("late")] {
        let breaker = CircuitBreakerLayer::new().failure_threshold(0);
        let handle = breaker.handle();
        let inner = Scripted::<u32, u32>::new()
            .step(Step::from(late).after(secs(40)))
            .error("no")
            .answer_after(secs(60), 1);
        let mut service = breaker.layer(inner.strict());
        let slow = tokio::spawn(begin(&mut service, 0).await);
        begin(&mut service, 0).await.await.unwrap_err();
        tokio::time::sleep(secs(30)).await;
        let probe = tokio::spawn(begin(&mut service, 0).await);
        let _ = slow.await.unwrap();
        assert_eq!(
            handle.state(),
            State::HalfOpen,
            "the probe decides, not {late:?}"
        );
        drop(probe);
    }
}

/// A panic is a failure, in `call` and in the future; the circuit and its probes stay usable.
#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure() {
    for step in [Step::panic("in the future"), Step::panic_in_call("in call")] {
        let breaker = CircuitBreakerLayer::new()
            .failure_threshold(0)
            .cooldown(Duration::ZERO);
        let handle = breaker.handle();
        let inner = Scripted::<u32, u32>::new().step(step).answer(1);
        let mut service = breaker.layer(inner.strict());
        let mut panicking = service.clone();
        let call = tokio::spawn(async move { begin(&mut panicking, 0).await.await });
        assert!(call.await.unwrap_err().is_panic());
        assert_eq!(handle.state(), State::Open);
        assert_eq!(begin(&mut service, 0).await.await.unwrap(), 1);
        assert_eq!(handle.state(), State::Closed);
    }
}

/// Three-way classification: what is ignored neither counts nor resets, and gives a probe back.
#[tokio::test(start_paused = true)]
async fn ignored_outcomes_say_nothing() {
    let breaker = CircuitBreakerLayer::new().failure_threshold(1).classify(
        |result: &Result<u32, &'static str>| match result {
            Ok(200) => Outcome::Success,
            Err("ignore") => Outcome::Ignored,
            _ => Outcome::Failure,
        },
    );
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .error("ignore")
        .answer(500)
        .error("ignore")
        .answer(200);
    let mut service = breaker.layer(inner.strict());
    begin(&mut service, 0).await.await.unwrap_err();
    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(
        (handle.snapshot().failures_in_a_row, handle.state()),
        (1, State::Closed)
    );
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(handle.state(), State::Open);
    tokio::time::sleep(secs(30)).await;
    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(handle.state(), State::HalfOpen);
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(handle.state(), State::Closed);
}

/// A limit around the circuit counts as a failure, one inside it too, also where it answers with a
/// response.
#[tokio::test(start_paused = true)]
async fn limits_count_on_either_side() {
    let inner = || Scripted::<u32, u32>::new().never().strict();
    for case in 0..4 {
        let breaker = CircuitBreakerLayer::new().failure_threshold(0);
        let breaker = if case == 3 {
            breaker.ignore_timeouts()
        } else {
            breaker
        };
        let handle = breaker.handle();
        let limit = TimeoutLayer::new(secs(1));
        match case {
            0 => drop(
                ServiceBuilder::new()
                    .layer(limit)
                    .layer(breaker)
                    .service(inner())
                    .oneshot(0)
                    .await,
            ),
            1 => drop(
                ServiceBuilder::new()
                    .layer(breaker)
                    .layer(limit)
                    .service(inner())
                    .oneshot(0)
                    .await,
            ),
            2 => {
                let limit = limit.respond_with(|_| 504);
                drop(
                    ServiceBuilder::new()
                        .layer(breaker)
                        .layer(limit)
                        .service(inner())
                        .oneshot(0)
                        .await,
                );
            }
            _ => {
                drop(
                    ServiceBuilder::new()
                        .layer(limit)
                        .layer(breaker)
                        .service(inner())
                        .oneshot(0)
                        .await,
                );
            }
        }
        assert_eq!(
            handle.state(),
            if case == 3 {
                State::Closed
            } else {
                State::Open
            },
            "case {case}"
        );
    }
}

/// Readiness that was asked for while open is not taken for the inner service's: the call is
/// rejected even if the circuit was closed in between.
#[tokio::test(start_paused = true)]
async fn a_call_that_was_ready_while_open_is_rejected() {
    let breaker = CircuitBreakerLayer::new();
    let handle = breaker.handle();
    let mut service = breaker.layer(Scripted::<u32, u32>::new().answer(1).strict());
    handle.force_open();
    service.ready().await.unwrap();
    handle.reset();
    let error = service.call(0).await.unwrap_err();
    assert_eq!(open(&error).remaining(), Some(Duration::ZERO));
    assert_eq!(begin(&mut service, 0).await.await.unwrap(), 1);
}

/// The variant with the circuit inside the retry counts attempts, and the retry stops at the open
/// circuit.
#[tokio::test(start_paused = true)]
async fn inside_a_retry_it_counts_attempts() {
    let (log, recorder) = recording();
    let breaker = CircuitBreakerLayer::new().failure_threshold(1);
    let inner = Scripted::<u32, u32>::new().error("no").error("no");
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .layer(breaker)
        .service(inner.strict());
    let error = service.oneshot(0).await.unwrap_err();
    open(&error);
    assert_eq!(calls.count(), 2);
    let failed = recorder.terminal(recorder.job());
    assert!(matches!(
        failed,
        Some(EventKind::Failed {
            cause: FailureCause::CircuitOpen,
            ..
        })
    ));
}

/// R38: a limit around the circuit that opens it reports so on the job's own stream.
#[tokio::test(start_paused = true)]
async fn a_limit_around_the_circuit_opens_it_with_an_event() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(1)))
        .layer(CircuitBreakerLayer::new().failure_threshold(0))
        .service(Scripted::<u32, u32>::new().never().strict());
    service.oneshot(0).await.unwrap_err();
    recorder.assert_names([
        "dispatched",
        "started",
        "timed_out",
        "circuit_opened",
        "failed",
    ]);
}
