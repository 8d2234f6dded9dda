//! Places that are reserved in a circuit, and what becomes of them.

use std::num::NonZeroU32;

use futures::FutureExt;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CircuitBreakerLayer, TimeoutLayer,
    circuit_breaker::{Open, State},
    find,
};
use tower_keep_test::{Readiness, Scripted, ms, secs};

/// A reserved place that a time limit drops uncalled said nothing about the service.
#[tokio::test(start_paused = true)]
async fn a_place_that_a_limit_drops_is_no_failure() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .cooldown(secs(1))
        .backpressure();
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .readiness(Readiness::ok())
        .never_ready();
    let client = breaker.layer(inner);
    client.clone().oneshot(0).await.unwrap_err();
    let limited = TimeoutLayer::new(secs(3)).layer(service_fn(move |request: u32| {
        client.clone().oneshot(request)
    }));
    limited.oneshot(0).await.unwrap_err();
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.opened, snapshot.state), (1, State::HalfOpen));
    assert_eq!(snapshot.probes, 0);
}

/// An instance that is kept ready for longer than its place is not ready any more; it does not
/// count as hanging either.
#[tokio::test(start_paused = true)]
async fn a_place_that_was_lost_is_asked_for_again() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .probe_timeout(secs(10))
        .backpressure();
    let handle = breaker.handle();
    let mut first = breaker.layer(Scripted::<u32, u32>::new().error("no").answer(1));
    first.ready().await.unwrap().call(0).await.unwrap_err();
    tokio::time::sleep(secs(30)).await;
    let mut second = first.clone();
    for _ in 0..5 {
        first.ready().await.unwrap();
        assert!(second.ready().now_or_never().is_none());
        tokio::time::sleep(secs(10)).await;
        second.ready().await.unwrap();
        assert!(first.ready().now_or_never().is_none());
        tokio::time::sleep(secs(10)).await;
    }
    assert_eq!(
        (handle.state(), handle.snapshot().opened),
        (State::HalfOpen, 1)
    );
    first.ready().await.unwrap().call(0).await.unwrap();
    assert_eq!(handle.state(), State::Closed);
}

/// From its call on a reserved probe has its whole time.
#[tokio::test(start_paused = true)]
async fn a_reserved_probe_has_its_time_from_the_call() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .probe_timeout(secs(10))
        .backpressure();
    let inner = Scripted::<u32, u32>::new().error("no").never();
    let mut first = breaker.layer(inner);
    first.ready().await.unwrap().call(0).await.unwrap_err();
    tokio::time::sleep(secs(30)).await;
    first.ready().await.unwrap();
    tokio::time::sleep(secs(9)).await;
    let call = first.call(0);
    let mut second = first.clone();
    let waits = tokio::time::timeout(secs(10) - ms(1), second.ready()).await;
    assert!(waits.is_err());
    assert!(tokio::time::timeout(ms(1), second.ready()).await.is_ok());
    drop(call);
}

/// What is done by hand takes effect at once, also for a caller that is ready.
#[tokio::test(start_paused = true)]
async fn force_open_rejects_a_ready_caller() {
    let breaker = CircuitBreakerLayer::new().backpressure();
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new().answer(1);
    let calls = inner.calls();
    let mut service = breaker.layer(inner);
    service.ready().await.unwrap();
    handle.force_open();
    let error: BoxError = service.call(0).await.unwrap_err();
    assert_eq!(find::<Open>(&*error).unwrap().remaining(), None);
    assert_eq!((calls.count(), handle.snapshot().rejected), (0, 1));
}

/// A circuit that only observes counts what it would have rejected with places reserved too.
#[tokio::test(start_paused = true)]
async fn what_an_observer_would_reject_is_counted() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .backpressure();
    let handle = breaker.handle();
    handle.observe_only();
    let mut service = breaker.layer(Scripted::<u32, u32>::new().error("no").answer(1).answer(1));
    service.ready().await.unwrap().call(0).await.unwrap_err();
    for rejected in 1..=2 {
        service.ready().await.unwrap().call(0).await.unwrap();
        assert_eq!(handle.snapshot().rejected, rejected);
    }
}

/// A watcher sees the half-open state though the probe's `call` panics.
#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_in_call_is_seen() {
    let two = NonZeroU32::new(2).unwrap();
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .half_open_failures(two)
        .half_open_successes(two);
    let handle = breaker.handle();
    let watch = handle.watch();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .step(tower_keep_test::Step::panic_in_call("in call"));
    let service = breaker.layer(inner);
    service.clone().oneshot(0).await.unwrap_err();
    tokio::time::sleep(secs(30)).await;
    tokio::spawn(service.oneshot(0)).await.unwrap_err();
    assert_eq!(
        (*watch.borrow(), handle.state()),
        (State::HalfOpen, State::HalfOpen)
    );
}
