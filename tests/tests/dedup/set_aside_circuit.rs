//! A probe of a half-open circuit is set aside at each point at which its call waits, or before the
//! call.

use std::{future::poll_fn, num::NonZeroU32};

use futures::FutureExt as _;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer,
    circuit_breaker::{CircuitBreakerHandle, Open, State},
    find,
};
use tower_keep_test::{Polled, Scripted, Step};
use tower_keep_tests::*;

use super::set_aside_stages::*;

/// How long a probe has its place.
const LEASE: u64 = 500;

/// Lets the next call through as a probe.
async fn open_until_now(handle: &CircuitBreakerHandle) {
    handle.force_open_for(secs(1));
    tokio::time::sleep(secs(1)).await;
}

fn is_rejected(result: Option<Result<u32, BoxError>>) -> bool {
    let Err(error) = result.expect("at once") else {
        return false;
    };
    find::<Open>(&*error).is_some()
}

/// R64 Others are rejected at once, for as long as the probe has its time and no longer, at
/// whichever point it is set aside. If it comes to its end after another has closed the circuit,
/// its caller has the result, and the circuit does not count it.
#[tokio::test(start_paused = true)]
async fn a_probe_has_its_place_for_its_time() {
    for plan in plans() {
        at_each_point(async |at| {
            let circuit = CircuitBreakerLayer::new().probe_timeout(ms(LEASE));
            let handle = circuit.handle();
            let mut service = Stack::new(circuit.layer(Staged::new(&plan)));
            open_until_now(&handle).await;
            let mut other = service.clone();
            let mut probe = Polled::new(begin(&mut service, 1).await);
            let began = Instant::now();
            if set_aside(&mut probe, at).await.is_some() {
                return false;
            }
            while began.elapsed() < ms(LEASE) {
                assert!(is_rejected(begin(&mut other, 2).await.now_or_never()));
                tokio::time::sleep(ms(50).min(ms(LEASE) - began.elapsed())).await;
            }
            let next = begin(&mut other, 2).await;
            assert_eq!(handle.state(), State::HalfOpen);
            assert_eq!(awaited(next).await.0.unwrap(), 2, "{at:?}");
            assert_eq!(handle.state(), State::Closed, "{at:?}");
            assert_eq!(awaited(probe).await.0.unwrap(), 1, "{at:?}");
            assert_eq!(
                (handle.state(), handle.snapshot().probes),
                (State::Closed, 0)
            );
            true
        })
        .await;
    }
}

/// R64 The place is free at once where the probe is dropped, and the circuit closes where it comes
/// to its end in time.
#[tokio::test(start_paused = true)]
async fn a_probe_gives_its_place_up() {
    for plan in plans() {
        at_each_point(async |at| {
            for is_dropped in [true, false] {
                let circuit = CircuitBreakerLayer::new().probe_timeout(ms(LEASE));
                let handle = circuit.handle();
                let mut service = Stack::new(circuit.layer(Staged::new(&plan)));
                open_until_now(&handle).await;
                let mut probe = Polled::new(begin(&mut service, 1).await);
                if set_aside(&mut probe, at).await.is_some() {
                    return false;
                }
                assert!(is_rejected(begin(&mut service, 2).await.now_or_never()));
                if is_dropped {
                    drop(probe);
                    assert_eq!(handle.state(), State::HalfOpen, "{at:?}");
                } else {
                    assert_eq!(awaited(probe).await.0.unwrap(), 1);
                    assert_eq!(handle.state(), State::Closed, "{at:?}");
                }
                assert_eq!(awaited(begin(&mut service, 2).await).await.0.unwrap(), 2);
            }
            true
        })
        .await;
    }
}

/// R64 With backpressure a call waits for the place until the probe's time is up, or it is dropped
/// or over.
#[tokio::test(start_paused = true)]
async fn a_wait_for_a_place_ends_with_the_probe() {
    for plan in plans() {
        at_each_point(async |at| {
            for how in ["is late", "is dropped", "ends"] {
                let inner = Staged::new(&plan);
                let takes = inner.takes();
                let circuit = CircuitBreakerLayer::new()
                    .probe_timeout(ms(LEASE))
                    .backpressure();
                let handle = circuit.handle();
                let mut service = circuit.layer(inner);
                open_until_now(&handle).await;
                let began = Instant::now();
                let mut probe = Polled::new(begin(&mut service, 1).await);
                if set_aside(&mut probe, at).await.is_some() {
                    return false;
                }
                let mut other = service.clone();
                let mut waiter = Polled::new(poll_fn(|cx| other.poll_ready(cx)));
                waiter.assert_pending();
                let mut free = ms(LEASE) - began.elapsed();
                match how {
                    "is late" => {}
                    "is dropped" => {
                        drop(probe);
                        waiter.assert_woken();
                        free = ms(0);
                    }
                    _ => {
                        assert_eq!(awaited(probe).await.0.unwrap(), 1);
                        waiter.assert_woken();
                        free = ms(0);
                    }
                }
                let (ready, took) = awaited(by_wakes(waiter)).await;
                ready.unwrap();
                // Its own instance is made ready then.
                let late = ms(10);
                assert!(
                    (free..=free + late).contains(&took),
                    "{how} {at:?}: {took:?}"
                );
                let (result, took) = awaited(other.call(2)).await;
                assert_eq!(result.unwrap(), 2);
                assert!(took <= takes);
                assert_eq!(handle.state(), State::Closed);
            }
            true
        })
        .await;
    }
}

/// R64 An instance that has its place and makes no call holds it no longer than a probe does.
#[tokio::test(start_paused = true)]
async fn a_place_without_a_call_is_lost_in_time() {
    let circuit = CircuitBreakerLayer::new()
        .probe_timeout(ms(LEASE))
        .backpressure();
    let handle = circuit.handle();
    let service = circuit.layer(Scripted::<u32, u32>::new().answer(7).repeat_last());
    open_until_now(&handle).await;
    let mut idle = service.clone();
    let idle: &mut _ = ServiceExt::<u32>::ready(&mut idle).await.unwrap();
    let mut other = service.clone();
    let began = Instant::now();
    assert_eq!(awaited(begin(&mut other, 2)).await.0.await.unwrap(), 7);
    assert_eq!(began.elapsed(), ms(LEASE));
    // It was not called, so that it can ask once more.
    assert_eq!(idle.ready().await.unwrap().call(1).await.unwrap(), 7);
}

/// R64 Instances wait for a place, and are set aside in the queue. The next one depends on none of
/// them: it is woken when the cooldown or the time of the probe is over, or when a place becomes
/// free by hand.
#[tokio::test(start_paused = true)]
async fn a_place_is_free_for_the_next_in_the_queue() {
    for how in ["cooldown", "probe", "reserved", "probe now", "more places"] {
        for ahead in [1, 3] {
            let circuit = CircuitBreakerLayer::new()
                .probe_timeout(ms(LEASE))
                .backpressure();
            let handle = circuit.handle();
            let inner = Scripted::<u32, u32>::new().answer(7).repeat_last();
            let service = circuit.layer(inner);
            let mut first = service.clone();
            let mut probe = None;
            if how.starts_with("probe ") {
                handle.force_open_for(secs(10_000));
            } else if how == "cooldown" {
                handle.force_open_for(ms(LEASE));
            } else {
                open_until_now(&handle).await;
                ServiceExt::<u32>::ready(&mut first).await.unwrap();
                probe = (how != "reserved").then(|| first.call(1));
            }
            let mut aside: Vec<_> = (0..ahead).map(|_| service.clone()).collect();
            let mut aside: Vec<_> = aside
                .iter_mut()
                .map(|service| Polled::new(poll_fn(|cx| Service::<u32>::poll_ready(service, cx))))
                .collect();
            for waits in &mut aside {
                waits.assert_pending();
            }
            let began = Instant::now();
            let mut last = service.clone();
            let mut waiter = Polled::new(poll_fn(|cx| Service::<u32>::poll_ready(&mut last, cx)));
            waiter.assert_pending();
            let mut free = ms(LEASE);
            match how {
                "probe now" => {
                    assert!(handle.probe_now());
                    free = ms(0);
                }
                "more places" => {
                    let two = NonZeroU32::new(2).unwrap();
                    handle.update(|settings| settings.half_open_probes = two);
                    free = ms(0);
                }
                _ => {}
            }
            awaited(by_wakes(waiter)).await.0.unwrap();
            let took = began.elapsed();
            assert!((free..=free + ms(2)).contains(&took), "{how}: {took:?}");
            assert_eq!(last.call(2).await.unwrap(), 7, "{how} {ahead}");
            drop(probe);
        }
    }
}

/// R64 The probe is dropped, but the first in the queue is set aside: the next one goes on when the
/// probe's time would have been over. A call that comes meanwhile has the place at once.
#[tokio::test(start_paused = true)]
async fn a_turn_in_the_queue_is_lost_in_time() {
    for is_first_to_ask in [true, false] {
        let circuit = CircuitBreakerLayer::new()
            .probe_timeout(ms(LEASE))
            .backpressure();
        let handle = circuit.handle();
        let inner = Scripted::<u32, u32>::new().answer(7).repeat_last();
        let service = circuit.layer(inner);
        open_until_now(&handle).await;
        let mut first = service.clone();
        let probe = begin(&mut first, 1).await;
        let (mut aside, mut next) = (service.clone(), service.clone());
        let mut aside = Polled::new(poll_fn(|cx| Service::<u32>::poll_ready(&mut aside, cx)));
        let mut waiter = Polled::new(poll_fn(|cx| Service::<u32>::poll_ready(&mut next, cx)));
        aside.assert_pending();
        waiter.assert_pending();
        drop(probe);
        aside.assert_woken();
        assert!(!waiter.is_woken());
        let mut free = ms(LEASE);
        if is_first_to_ask {
            // It closes the circuit.
            assert_eq!(begin(&mut first, 2).await.await.unwrap(), 7);
            free = ms(0);
        }
        let (ready, took) = awaited(by_wakes(waiter)).await;
        ready.unwrap();
        assert!((free..=free + ms(2)).contains(&took), "{took:?}");
        assert_eq!(next.call(3).await.unwrap(), 7);
    }
}

/// R64 The first in the queue is set aside. The next one is woken for a place, and leaves: the one
/// behind it has the place.
#[tokio::test(start_paused = true)]
async fn a_turn_that_is_given_up_is_the_next_ones() {
    let circuit = CircuitBreakerLayer::new()
        .probe_timeout(ms(LEASE))
        .backpressure();
    let handle = circuit.handle();
    let inner = Scripted::<u32, u32>::new().answer(7).repeat_last();
    let service = circuit.layer(inner);
    open_until_now(&handle).await;
    let [mut first, mut faster, mut aside, mut leaving, mut last] =
        [(); 5].map(|()| service.clone());
    let probe = begin(&mut first, 1).await;
    let mut aside = Polled::new(poll_fn(|cx| Service::<u32>::poll_ready(&mut aside, cx)));
    aside.assert_pending();
    let mut leaving = Polled::new(poll_fn(move |cx| {
        Service::<u32>::poll_ready(&mut leaving, cx)
    }));
    leaving.assert_pending();
    let mut waiter = Polled::new(poll_fn(|cx| Service::<u32>::poll_ready(&mut last, cx)));
    waiter.assert_pending();
    drop(probe);
    // Another call has the place, and gives it back.
    drop(begin(&mut faster, 1).await);
    assert!(aside.is_woken() && leaving.is_woken() && !waiter.is_woken());
    drop(leaving);
    let (ready, took) = awaited(by_wakes(waiter)).await;
    ready.unwrap();
    assert_eq!(took, ms(0));
    assert_eq!(last.call(2).await.unwrap(), 7);
}

/// R64 What a probe finds out after its time counts, unless the circuit has opened or closed in
/// between.
#[tokio::test(start_paused = true)]
async fn a_late_probe_counts_where_nothing_was_decided() {
    for succeeds in [true, false] {
        let circuit = CircuitBreakerLayer::new().probe_timeout(ms(LEASE));
        let handle = circuit.handle();
        let late = if succeeds {
            Step::answer(7)
        } else {
            Step::error("no")
        };
        let inner = Scripted::<u32, u32>::new().step(late.after(ms(2 * LEASE)));
        let mut service = circuit.layer(inner);
        open_until_now(&handle).await;
        let probe = tokio::spawn(begin(&mut service, 1).await);
        tokio::time::sleep(ms(LEASE)).await;
        let seen = handle.snapshot();
        assert_eq!((seen.state, seen.probes), (State::HalfOpen, 0));
        assert_eq!(probe.await.unwrap().is_ok(), succeeds);
        let decided = if succeeds { State::Closed } else { State::Open };
        assert_eq!(handle.state(), decided);
    }
}
