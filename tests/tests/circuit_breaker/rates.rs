//! Circuits that open by rates.

use std::{
    future::{Ready, ready},
    num::NonZeroU32,
};

use futures::FutureExt;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    CircuitBreakerLayer, EventKind, Outcome, Ratio, TimeoutLayer,
    circuit_breaker::{CircuitBreakerHandle, State, Window},
};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn percent(percent: u32) -> Ratio {
    Ratio::percent(percent).unwrap()
}

/// Fails if the request says so, at once.
type AtOnce = Ready<Result<(), &'static str>>;

fn at_once(fails: bool) -> AtOnce {
    ready(if fails { Err("no") } else { Ok(()) })
}

/// Calls once; `None` is rejected by the circuit or not ready at once.
fn call<S>(service: &mut S, fails: bool)
where
    S: Service<bool>,
{
    let ready = service.ready().now_or_never();
    let result = ready
        .expect("ready")
        .ok()
        .map(|service| service.call(fails).now_or_never());
    assert!(matches!(result, Some(Some(_))), "it is over at once");
}

/// How many failures in a row it takes to open.
fn failures_until_open<S: Service<bool>>(service: &mut S, handle: &CircuitBreakerHandle) -> u32 {
    let mut failures = 0;
    while handle.state() == State::Closed {
        call(service, true);
        failures += 1;
        assert!(failures < 10_000, "it never opens");
    }
    failures
}

/// R38b, Behaviour 1: after a million successes a count window of N opens within `ceil(N * rate)`
/// failures, and never holds more than N calls.
#[tokio::test(start_paused = true)]
async fn a_count_window_really_slides() {
    let breaker = CircuitBreakerLayer::new()
        .failure_rate(percent(33))
        .window(Window::calls(number(50)));
    let handle = breaker.handle();
    let mut service = breaker.layer(tower::service_fn(at_once));
    for _ in 0..1_000_000 {
        call(&mut service, false);
    }
    assert_eq!(handle.snapshot().calls, 50);
    // 16 of 50 are 32 %.
    assert_eq!(failures_until_open(&mut service, &handle), 17);
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.calls, snapshot.failures), (50, 17));
    assert_eq!(snapshot.failure_rate(), Some(0.34));
}

/// R38b, Behaviour 2: with a minimum of m calls it opens on call m when all fail, and never before;
/// also where consecutive failures would have opened it by default, and where m is more than the
/// window holds.
#[tokio::test(start_paused = true)]
async fn the_minimum_number_of_calls_holds() {
    for (window, minimum, expected) in [(10, 5, 5), (10, 1, 1), (100, 20, 20), (10, 50, 10)] {
        let breaker = CircuitBreakerLayer::new()
            .failure_rate(percent(50))
            .window(Window::calls(number(window)))
            .minimum_calls(number(minimum));
        let handle = breaker.handle();
        let mut service = breaker.layer(tower::service_fn(at_once));
        assert_eq!(failures_until_open(&mut service, &handle), expected);
    }
    // The last call of the minimum may be a success: it is the share that counts.
    let breaker = CircuitBreakerLayer::new()
        .failure_rate(percent(75))
        .minimum_calls(number(4));
    let handle = breaker.handle();
    let mut service = breaker.layer(tower::service_fn(at_once));
    for _ in 0..3 {
        call(&mut service, true);
    }
    assert_eq!(handle.state(), State::Closed);
    call(&mut service, false);
    assert_eq!(handle.state(), State::Open);
}

/// R38b: conditions combine; a threshold of failures in a row that is set stays in force next to a
/// rate.
#[tokio::test(start_paused = true)]
async fn conditions_combine() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(2)
        .failure_rate(percent(50))
        .minimum_calls(number(10));
    let handle = breaker.handle();
    let mut service = breaker.layer(tower::service_fn(at_once));
    assert_eq!(failures_until_open(&mut service, &handle), 3);
    handle.reset();
    for _ in 0..5 {
        call(&mut service, false);
        assert_eq!(handle.state(), State::Closed);
        call(&mut service, true);
    }
    assert_eq!(handle.state(), State::Open);
}

/// R38b, Behaviour 3: outcomes older than the time window never count, neither in decisions nor in
/// a snapshot, also after an idle time in which nothing happened.
#[tokio::test(start_paused = true)]
async fn a_time_window_forgets() {
    let breaker = CircuitBreakerLayer::new()
        .failure_rate(percent(50))
        .window(Window::time(secs(20)).unwrap())
        .minimum_calls(number(10));
    let handle = breaker.handle();
    let mut service = breaker.layer(tower::service_fn(at_once));
    for _ in 0..9 {
        call(&mut service, true);
    }
    tokio::time::sleep(secs(19)).await;
    assert_eq!(handle.snapshot().failures, 9);
    tokio::time::sleep(secs(1)).await;
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.calls, snapshot.failure_rate()), (0, None));
    for _ in 0..9 {
        call(&mut service, true);
    }
    assert_eq!(handle.state(), State::Closed);
    call(&mut service, true);
    assert_eq!(handle.state(), State::Open);
    // The counts of the time before stay readable until they are too old.
    assert_eq!(handle.snapshot().failures, 10);
    tokio::time::sleep(secs(20)).await;
    assert_eq!(handle.snapshot().failures, 0);
}

/// R38b: what the settings say is refused where it is made, if it cannot work.
#[test]
fn settings_that_cannot_work_are_refused() {
    assert!(Window::time(secs(0)).is_err());
    assert!(Ratio::percent(0).is_err());
    assert!(Ratio::percent(101).is_err());
}

/// R38b: slow calls open the circuit, whatever becomes of them, and a slow probe does not close it.
#[tokio::test(start_paused = true)]
async fn slow_calls_open() {
    let breaker = CircuitBreakerLayer::new()
        .slow_call_rate(percent(50))
        .slow_call_duration(secs(2))
        .minimum_calls(number(4));
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(2) - ms(1), 1)
        .answer(1)
        .answer_after(secs(2), 1)
        .error_after(secs(9), "no")
        .answer_after(secs(2), 1)
        .answer_after(secs(1), 1);
    let mut service = breaker.layer(inner.strict());
    for _ in 0..3 {
        begin(&mut service, 0).await.await.unwrap();
        assert_eq!(handle.state(), State::Closed);
    }
    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(handle.state(), State::Open);
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.slow_calls, snapshot.failures), (2, 1));
    tokio::time::sleep(secs(30)).await;
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(handle.state(), State::Open, "a slow probe");
    tokio::time::sleep(secs(30)).await;
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(handle.state(), State::Closed);
}

/// R38b: calls that hang open the circuit before they end, if they are to count; if not, only when
/// they end.
#[tokio::test(start_paused = true)]
async fn calls_in_flight_open_while_they_hang() {
    for counts in [true, false] {
        let breaker = CircuitBreakerLayer::new()
            .slow_call_rate(percent(50))
            .slow_call_duration(secs(8))
            .minimum_calls(number(3));
        let breaker = if counts {
            breaker.count_in_flight()
        } else {
            breaker
        };
        let handle = breaker.handle();
        let inner = Scripted::<u32, u32>::new().times(4, Step::never);
        let mut service = breaker.layer(inner.strict());
        let mut hanging = Vec::new();
        for _ in 0..3 {
            hanging.push(tokio::spawn(begin(&mut service, 0).await));
        }
        tokio::time::sleep(secs(8)).await;
        assert_eq!(handle.snapshot().slow_in_flight, 0, "not for sure yet");
        tokio::time::sleep(secs(1)).await;
        assert_eq!(handle.snapshot().slow_in_flight, if counts { 3 } else { 0 });
        let next = begin(&mut service, 0).await;
        assert_eq!(
            handle.state(),
            if counts { State::Open } else { State::Closed }
        );
        let rejected = next.now_or_never().is_some_and(|result| result.is_err());
        assert_eq!(rejected, counts);
        hanging.iter().for_each(|call| call.abort());
    }
}

/// R59, Behaviour 7: a breaker inside a time limit opens on calls that it cuts off, with a window
/// as without. A breaker that the caller drops counts only where that is asked for.
#[tokio::test(start_paused = true)]
async fn calls_cut_off_count() {
    let breaker = || {
        CircuitBreakerLayer::new()
            .failure_rate(Ratio::ALL)
            .minimum_calls(number(3))
    };
    let inner = || Scripted::<u32, u32>::new().otherwise(Step::never);
    for (ignores, expected) in [(false, State::Open), (true, State::Closed)] {
        let breaker = if ignores {
            breaker().ignore_timeouts()
        } else {
            breaker()
        };
        let handle = breaker.handle();
        let layers = ServiceBuilder::new()
            .layer(TimeoutLayer::new(secs(1)))
            .layer(breaker);
        let service = layers.service(inner().strict());
        for _ in 0..3 {
            service.clone().oneshot(0).await.unwrap_err();
        }
        assert_eq!(handle.state(), expected);
    }
    for (counts, expected) in [(true, State::Open), (false, State::Closed)] {
        let breaker = if counts {
            breaker().count_dropped()
        } else {
            breaker()
        };
        let handle = breaker.handle();
        let layers = ServiceBuilder::new().timeout(secs(1)).layer(breaker);
        let service = layers.service(inner().strict());
        for _ in 0..3 {
            service.clone().oneshot(0).await.unwrap_err();
        }
        assert_eq!(handle.state(), expected);
    }
}

/// Behaviour 8: a panic is a failure for the rates too, in `call` and in the future, and the next
/// call works.
#[tokio::test(start_paused = true)]
async fn panics_count_in_the_window() {
    let breaker = CircuitBreakerLayer::new()
        .failure_rate(Ratio::ALL)
        .minimum_calls(number(3));
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .step(Step::panic_in_call("in call"))
        .panic("in the future")
        .error("no");
    let service = breaker.layer(inner);
    for panics in [true, true, false] {
        let call = tokio::spawn(service.clone().oneshot(0));
        assert_eq!(call.await.is_err(), panics);
    }
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.calls, snapshot.failures), (3, 3));
    assert_eq!(handle.state(), State::Open);
}

/// R38: the job whose call finds that the calls in flight are slow gets the event that the circuit
/// opened, and is rejected.
#[tokio::test(start_paused = true)]
async fn a_rejected_call_may_have_opened_the_circuit() {
    let (log, recorder) = recording();
    let breaker = CircuitBreakerLayer::new()
        .named("db")
        .slow_call_rate(Ratio::ALL)
        .slow_call_duration(secs(1))
        .minimum_calls(number(1))
        .count_in_flight();
    let inner = Scripted::<u32, u32>::new().never();
    let layers = ServiceBuilder::new().layer(log).layer(breaker);
    let service = layers.service(inner.strict());
    let hanging = tokio::spawn(service.clone().oneshot(0));
    tokio::time::sleep(secs(2)).await;
    service.oneshot(0).await.unwrap_err();
    hanging.abort();
    let opened = recorder.kinds().into_iter().any(|kind| {
        matches!(kind, EventKind::CircuitOpened { circuit, cooldown, cause, .. }
            if &*circuit == "db"
                && cooldown == secs(30)
                && &*cause == "1 of 1 calls took 1s or longer")
    });
    assert!(opened, "{recorder}");
}

/// R38: a job whose panic opens the circuit gets that event, before its end; also where `call`
/// panics.
#[tokio::test(start_paused = true)]
async fn a_panic_that_opens_is_an_event() {
    for in_call in [true, false] {
        let (log, recorder) = recording();
        let breaker = CircuitBreakerLayer::new().failure_threshold(0);
        let step = if in_call {
            Step::panic_in_call("in call")
        } else {
            Step::panic("in the future")
        };
        let layers = ServiceBuilder::new().layer(log).layer(breaker);
        let service = layers.service(Scripted::<u32, u32>::new().step(step));
        tokio::spawn(service.oneshot(0)).await.unwrap_err();
        let names = recorder.names();
        assert_eq!(
            names.last().map(ToString::to_string).as_deref(),
            Some("failed"),
            "{names:?}"
        );
        assert!(names.contains(&"circuit_opened"), "{in_call}: {names:?}");
    }
}

/// Behaviour 8: a classifier that panics has failed the call, as far as the circuit is concerned.
#[tokio::test(start_paused = true)]
async fn a_classifier_that_panics_counts() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .classify(|_: &Result<u32, &str>| -> Outcome { panic!("no idea") });
    let handle = breaker.handle();
    let service = breaker.layer(Scripted::<u32, u32>::new().answer(1));
    tokio::spawn(service.oneshot(0)).await.unwrap_err();
    assert_eq!(handle.state(), State::Open);
}
