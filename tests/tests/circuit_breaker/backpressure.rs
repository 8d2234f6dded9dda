//! Circuits that hold their callers back.

use std::{
    future::{Future, poll_fn},
    num::NonZeroU32,
    pin::pin,
    task::Poll,
};

use futures::FutureExt;
use tokio::task::JoinHandle;
use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer,
    circuit_breaker::{Open, State},
    find,
};
use tower_keep_test::{Readiness, Scripted, Step};
use tower_keep_tests::*;

/// Waits for readiness and keeps it; says how often it was polled.
async fn readied<S: Service<u32>>(mut service: S) -> (S, u32) {
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        service.poll_ready(cx).map(drop)
    })
    .await;
    (service, polls)
}

async fn settle() {
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
}

fn finished<T>(tasks: &[JoinHandle<T>]) -> usize {
    tasks.iter().filter(|task| task.is_finished()).count()
}

/// Behaviour 9: while the circuit is open nobody is ready; at the cooldown's end exactly as many
/// become ready as there are places, and each that is ready is let through. The others wait on, and
/// are ready as soon as the circuit closes. No one is polled more than a few times.
#[tokio::test(start_paused = true)]
async fn places_are_reserved() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .half_open_probes(NonZeroU32::new(3).unwrap())
        .half_open_successes(NonZeroU32::new(2).unwrap())
        .backpressure();
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .otherwise(|| Step::answer(1).after(secs(1)));
    let calls = inner.calls();
    let mut service = breaker.layer(inner.strict());
    begin(&mut service, 0).await.await.unwrap_err();
    assert!(service.ready().now_or_never().is_none());
    let waiting: Vec<_> = (0..100)
        .map(|_| tokio::spawn(readied(service.clone())))
        .collect();
    drop(service);
    tokio::time::sleep(secs(30) - ms(1)).await;
    settle().await;
    assert_eq!((finished(&waiting), handle.state()), (0, State::Open));
    tokio::time::sleep(ms(1)).await;
    settle().await;
    assert_eq!((finished(&waiting), handle.state()), (3, State::HalfOpen));
    assert_eq!(handle.snapshot().probes, 3);
    let (ready, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(JoinHandle::is_finished);
    let mut probes = Vec::new();
    for task in ready {
        let (mut service, polls) = task.await.unwrap();
        assert!(polls <= 4, "{polls}");
        probes.push(tokio::spawn(service.call(1)));
    }
    settle().await;
    assert_eq!(finished(&waiting), 0);
    for probe in probes {
        assert_eq!(probe.await.unwrap().unwrap(), 1);
    }
    assert_eq!(handle.state(), State::Closed);
    settle().await;
    assert_eq!(finished(&waiting), 97);
    for task in waiting {
        let (mut service, polls) = task.await.unwrap();
        assert!(polls <= 4, "{polls}");
        // Each that is ready is let through.
        assert_eq!(service.call(1).await.unwrap(), 1);
    }
    assert_eq!((calls.count(), handle.snapshot().rejected), (101, 0));
}

/// Behaviour 9: what is done by hand takes effect at once for those who wait.
#[tokio::test(start_paused = true)]
async fn waiters_are_woken_by_hand() {
    for how in ["force_closed", "reset", "disable", "observe_only"] {
        let breaker = CircuitBreakerLayer::new().backpressure();
        let handle = breaker.handle();
        handle.force_open();
        let service = breaker.layer(Scripted::<u32, u32>::new().otherwise(|| Step::answer(1)));
        let waiting: Vec<_> = (0..50)
            .map(|_| tokio::spawn(readied(service.clone())))
            .collect();
        tokio::time::sleep(secs(100_000)).await;
        assert_eq!(finished(&waiting), 0);
        let now = tokio::time::Instant::now();
        match how {
            "force_closed" => handle.force_closed(),
            "reset" => handle.reset(),
            "disable" => handle.disable(),
            _ => handle.observe_only(),
        }
        for task in waiting {
            let (mut service, polls) = task.await.unwrap();
            assert!(polls <= 3, "{how}: {polls}");
            service.call(1).await.unwrap();
        }
        assert_eq!(now.elapsed(), secs(0), "{how}");
    }
}

/// Behaviour 9: a reservation that is given up, by dropping the service or by a call that is
/// dropped, is the next one's.
#[tokio::test(start_paused = true)]
async fn a_reservation_given_up_is_the_next_ones() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .probe_timeout(secs(1000))
        .backpressure();
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new().error("no").never().answer(1);
    let mut service = breaker.layer(inner);
    begin(&mut service, 0).await.await.unwrap_err();
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(tokio::spawn(readied(service.clone())));
        settle().await;
    }
    tokio::time::sleep(secs(30)).await;
    settle().await;
    assert_eq!(finished(&waiting), 1);
    // A clone has no share in it.
    let (first, _) = waiting.remove(0).await.unwrap();
    let mut first = first;
    first
        .ready()
        .now_or_never()
        .expect("it keeps its place")
        .unwrap();
    settle().await;
    assert_eq!(finished(&waiting), 0);
    let mut clone = first.clone();
    assert!(clone.ready().now_or_never().is_none());
    drop(clone);
    settle().await;
    assert_eq!(finished(&waiting), 0);
    drop(first);
    settle().await;
    assert_eq!(finished(&waiting), 1);
    let (mut second, _) = waiting.remove(0).await.unwrap();
    let call = second.call(1);
    settle().await;
    assert_eq!(finished(&waiting), 0);
    drop(call);
    settle().await;
    let (mut third, _) = waiting.remove(0).await.unwrap();
    assert_eq!(
        (handle.state(), handle.snapshot().probes),
        (State::HalfOpen, 1)
    );
    assert_eq!(third.call(1).await.unwrap(), 1);
    assert_eq!(handle.state(), State::Closed);
}

/// Behaviour 9: who waits first and goes away leaves the timer to the next; a probe that hangs
/// loses its place to one who waits.
#[tokio::test(start_paused = true)]
async fn the_timer_is_handed_on() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .probe_timeout(secs(10))
        .backpressure();
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new().error("no").never().answer(1);
    let mut service = breaker.layer(inner);
    begin(&mut service, 0).await.await.unwrap_err();
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(tokio::spawn(readied(service.clone())));
        settle().await;
    }
    tokio::time::sleep(secs(10)).await;
    waiting.remove(0).abort();
    waiting.remove(0).abort();
    tokio::time::sleep(secs(20)).await;
    settle().await;
    assert_eq!(finished(&waiting), 1);
    let (mut hangs, _) = waiting.remove(0).await.unwrap();
    let hanging = tokio::spawn(hangs.call(1));
    tokio::time::sleep(secs(10) - ms(1)).await;
    settle().await;
    assert_eq!(finished(&waiting), 0);
    tokio::time::sleep(ms(1)).await;
    let (mut next, polls) = waiting.remove(0).await.unwrap();
    assert!(polls <= 4, "{polls}");
    assert_eq!(next.call(1).await.unwrap(), 1);
    assert_eq!(handle.state(), State::Closed);
    hanging.abort();
}

/// Behaviour 9: a call whose service was ready goes through, also where the circuit has opened by
/// itself meanwhile, and then counts for nothing. A place that is reserved while the inner service
/// is not ready goes when the circuit changes.
#[tokio::test(start_paused = true)]
async fn ready_means_let_through() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .backpressure();
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::error("no"));
    let mut service = breaker.layer(inner.strict());
    let mut other = service.clone();
    service.ready().await.unwrap();
    begin(&mut other, 0).await.await.unwrap_err();
    let error: BoxError = service.call(1).await.unwrap_err();
    assert!(find::<Open>(&*error).is_none());
    assert!(service.ready().now_or_never().is_none());

    let breaker = CircuitBreakerLayer::new().backpressure();
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new().readiness(Readiness::ok().after(secs(1)));
    let mut service = breaker.layer(inner);
    let mut ready = pin!(service.ready());
    let polled = poll_fn(|cx| Poll::Ready(ready.as_mut().poll(cx).is_ready())).await;
    assert!(!polled);
    handle.force_open();
    assert!(tokio::time::timeout(secs(100), ready).await.is_err());
}

/// Without readiness there is no reservation: the call is decided as in any other circuit.
#[tokio::test(start_paused = true)]
async fn a_foreign_retry_is_rejected_rather_than_hung() {
    let breaker = CircuitBreakerLayer::new().named("db").backpressure();
    breaker.handle().force_open();
    let mut service = breaker.layer(tower::service_fn(|_: u32| async { Ok::<_, BoxError>(1) }));
    let error = service.call(1).await.unwrap_err();
    assert_eq!(find::<Open>(&*error).unwrap().circuit(), "db");
}

/// R38b: with places reserved, a call is slow if it takes long from the call on; settings, name and
/// seed may be set after the mode.
#[tokio::test(start_paused = true)]
async fn reserved_calls_are_timed_from_the_call() {
    let breaker = CircuitBreakerLayer::new()
        .backpressure()
        .named("db")
        .slow_call_rate(tower_keep::Ratio::HALF)
        .slow_call_duration(secs(2))
        .minimum_calls(NonZeroU32::new(2).unwrap())
        .cooldown(secs(1000))
        .cooldown_jitter(tower_keep::Ratio::HALF)
        .seed(7);
    let handle = breaker.handle();
    assert_eq!(handle.settings().cooldown, secs(1000));
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 1)
        .answer_after(secs(2), 1);
    let mut service = breaker.layer(inner.strict());
    for expected in [State::Closed, State::Open] {
        service.ready().await.unwrap();
        tokio::time::sleep(secs(60)).await;
        service.call(0).await.unwrap();
        assert_eq!(handle.state(), expected);
    }
    assert_eq!(handle.snapshot().slow_call_rate(), Some(0.5));
    let left = handle.snapshot().time_until_probe.unwrap();
    let other = CircuitBreakerLayer::new()
        .seed(7)
        .failure_threshold(0)
        .cooldown(secs(1000))
        .cooldown_jitter(tower_keep::Ratio::HALF);
    let other_handle = other.handle();
    let mut service = other.layer(Scripted::<u32, u32>::new().error("no"));
    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(
        other_handle.snapshot().time_until_probe,
        Some(left),
        "the same seed"
    );
    assert_eq!(&*handle.name(), "db");
}

/// Behaviour 9: a place is kept from its reservation on, however often the service is polled; once
/// its time is over, the next poll reserves another.
#[tokio::test(start_paused = true)]
async fn polling_again_does_not_prolong_a_place() {
    for (polled_again, is_free) in [(9, true), (10, false)] {
        let breaker = CircuitBreakerLayer::new()
            .failure_threshold(0)
            .probe_timeout(secs(10))
            .backpressure();
        let mut service = breaker.layer(Scripted::<u32, u32>::new().error("no").answer(1));
        begin(&mut service, 0).await.await.unwrap_err();
        let mut other = service.clone();
        tokio::time::sleep(secs(30)).await;
        service.ready().await.unwrap();
        tokio::time::sleep(secs(polled_again)).await;
        let ready = service.ready().now_or_never();
        ready.expect("nobody took the place").unwrap();
        tokio::time::sleep(secs(11 - polled_again)).await;
        assert_eq!(other.ready().now_or_never().is_some(), is_free);
    }
}

/// Behaviour 9: the end of a call that had no place wakes nobody.
#[tokio::test(start_paused = true)]
async fn a_late_call_wakes_nobody() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .backpressure();
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(10), 1)
        .error("no");
    let mut service = breaker.layer(inner);
    let late = tokio::spawn(begin(&mut service, 0).await);
    settle().await;
    begin(&mut service, 0).await.await.unwrap_err();
    let waiting = tokio::spawn(readied(service));
    assert_eq!(late.await.unwrap().unwrap(), 1);
    assert_eq!(handle.state(), State::Open);
    let (_, polls) = waiting.await.unwrap();
    assert_eq!(polls, 2, "at first, and at the cooldown's end");
}
