//! Listeners receive every transition of a circuit.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::{Arc, Mutex},
};

use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, Ratio,
    circuit_breaker::{Mode, State, Transition, Window},
};
use tower_keep_test::{Scripted, Step};

use State::{Closed, HalfOpen, Open};
use tower_keep_tests::*;

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// What a listener got.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Transition>>>);

impl Seen {
    fn listener(&self) -> impl Fn(&Transition) + Send + Sync + 'static {
        let seen = Arc::clone(&self.0);
        move |transition| seen.lock().unwrap().push(transition.clone())
    }

    fn take(&self) -> Vec<Transition> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn states(&self) -> Vec<(State, State)> {
        let all = self.take();
        all.iter().map(|seen| (seen.from, seen.to)).collect()
    }
}

/// R73 A listener gets each transition with counts, cause and cooldown; no job is needed.
#[tokio::test(start_paused = true)]
async fn listeners_get_each_transition() {
    let seen = Seen::default();
    let breaker = CircuitBreakerLayer::new()
        .named("db")
        .failure_rate(Ratio::HALF)
        .slow_call_rate(Ratio::ALL)
        .slow_call_duration(secs(2))
        .window(Window::calls(number(10)))
        .minimum_calls(number(4))
        .half_open_successes(number(2))
        .half_open_failures(number(2))
        .on_transition(seen.listener());
    let inner = Scripted::<u32, u32>::new()
        .answer(1)
        .answer_after(secs(3), 1)
        .error("no")
        .error("refused")
        .answer(1)
        .error("no")
        .error("still down")
        .error("no")
        .answer(1)
        .answer(1);
    let mut service = breaker.layer(inner.strict());
    for _ in 0..4 {
        let _ = begin(&mut service, 0).await.await;
    }
    for probes in [3, 3] {
        tokio::time::sleep(secs(30)).await;
        for _ in 0..probes {
            let _ = begin(&mut service, 0).await.await;
        }
    }
    let all = seen.take();
    let states: Vec<_> = all.iter().map(|seen| (seen.from, seen.to)).collect();
    assert_eq!(
        states,
        [
            (Closed, Open),
            (Open, HalfOpen),
            (HalfOpen, Open),
            (Open, HalfOpen),
            (HalfOpen, Closed),
        ]
    );
    for (number, transition) in (1..).zip(&all) {
        assert_eq!(transition.sequence, number);
        assert_eq!(&*transition.circuit, "db");
        assert_eq!(
            (transition.mode, transition.manual),
            (Mode::Automatic, false)
        );
    }
    let opened = &all[0];
    assert_eq!(
        (opened.calls, opened.failures, opened.slow_calls),
        (4, 2, 1)
    );
    assert_eq!(opened.failures_in_a_row, 2);
    assert_eq!(opened.cause.as_deref(), Some("refused"));
    assert_eq!(opened.cooldown, Some(secs(30)));
    // The first call after the cooldown makes it half-open.
    assert_eq!(
        (all[1].cooldown, all[1].cause.as_deref()),
        (None, Some("refused"))
    );
    let results = |at: usize| (all[at].probe_successes, all[at].probe_failures);
    assert_eq!((results(2), results(4)), ((1, 2), (2, 1)));
    assert_eq!(all[2].cause.as_deref(), Some("still down"));
}

/// R73 Orders by hand are transitions where they change the state, and say that they are by hand.
#[tokio::test(start_paused = true)]
async fn orders_by_hand_are_reported() {
    let seen = Seen::default();
    let breaker = CircuitBreakerLayer::new().on_transition(seen.listener());
    let handle = breaker.handle();
    handle.reset();
    handle.force_closed();
    handle.observe_only();
    handle.probe_now();
    handle.update(|settings| settings.cooldown = secs(1));
    assert_eq!(seen.take(), [], "it stays closed");
    handle.force_open();
    handle.force_open_for(secs(9));
    handle.probe_now();
    handle.force_open_for(secs(9));
    handle.reset();
    let all = seen.take();
    let got: Vec<_> = all
        .iter()
        .map(|seen| (seen.from, seen.to, seen.mode, seen.cooldown))
        .collect();
    assert_eq!(
        got,
        [
            (Closed, Open, Mode::ForcedOpen, None),
            (Open, HalfOpen, Mode::Automatic, None),
            (HalfOpen, Open, Mode::Automatic, Some(secs(9))),
            (Open, Closed, Mode::Automatic, None),
        ]
    );
    assert!(all.iter().all(|seen| seen.manual && seen.cause.is_none()));
    assert!(
        all.iter()
            .zip(1..)
            .all(|(seen, number)| seen.sequence == number)
    );
}

/// R73 A panic of a listener harms neither the call, nor the circuit, nor the other listeners.
#[tokio::test(start_paused = true)]
async fn a_panic_of_a_listener_harms_nothing() {
    let seen = Seen::default();
    let (log, recorder) = recording();
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .on_transition(|_| panic!("in the listener"))
        .on_transition(seen.listener());
    let handle = breaker.handle();
    let mut watch = handle.watch();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .answer(1)
        .step(Step::panic("in the call"));
    let layers = ServiceBuilder::new().layer(log).layer(breaker);
    let service = layers.service(inner.strict());
    let error = service.clone().oneshot(0).await.unwrap_err();
    assert_eq!(error.to_string(), "no");
    assert_eq!(*watch.borrow_and_update(), Open);
    tokio::time::sleep(secs(30)).await;
    service.clone().oneshot(0).await.unwrap();
    // While another panic unwinds.
    tokio::spawn(service.oneshot(0)).await.unwrap_err();
    assert_eq!(handle.state(), Open);
    assert_eq!(
        seen.states(),
        [
            (Closed, Open),
            (Open, HalfOpen),
            (HalfOpen, Closed),
            (Closed, Open)
        ]
    );
    assert_eq!(recorder.count("circuit_opened"), 2);
}

/// R73 A listener may use the handle: no lock is held while it runs.
#[tokio::test(start_paused = true)]
async fn a_listener_may_use_the_handle() {
    let seen = Seen::default();
    let slot = Arc::new(Mutex::new(
        None::<tower_keep::circuit_breaker::CircuitBreakerHandle>,
    ));
    let own = Arc::clone(&slot);
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .on_transition(seen.listener())
        .on_transition(move |transition| {
            let handle = own.lock().unwrap().clone().unwrap();
            assert_eq!(handle.state(), transition.to);
            if transition.to == Open {
                handle.probe_now();
            }
        });
    *slot.lock().unwrap() = Some(breaker.handle());
    let handle = breaker.handle();
    let mut service = breaker.layer(Scripted::<u32, u32>::new().error("no").strict());
    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(handle.state(), HalfOpen);
    assert_eq!(seen.states(), [(Closed, Open), (Open, HalfOpen)]);
    *slot.lock().unwrap() = None;
}

/// R73 Circuits by key share the layer's listeners; an eviction is no transition.
#[tokio::test(start_paused = true)]
async fn circuits_by_key_are_reported() {
    let (before, after) = (Seen::default(), Seen::default());
    let breaker = CircuitBreakerLayer::new()
        .named("hosts")
        .failure_threshold(0)
        .on_transition(before.listener())
        .per_key(|number: &u32| *number)
        .max_circuits(NonZeroUsize::MIN)
        .on_transition(after.listener());
    let circuits = breaker.handle();
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::error("no"));
    let mut service = breaker.layer(inner.strict());
    for host in [1, 2] {
        begin(&mut service, host).await.await.unwrap_err();
    }
    assert!(circuits.get(&1).is_none(), "evicted while it was open");
    assert!(circuits.remove(&2));
    let all = before.take();
    let got: Vec<_> = all
        .iter()
        .map(|seen| (&*seen.circuit, seen.to, seen.sequence))
        .collect();
    assert_eq!(got, [("hosts/1", Open, 1), ("hosts/2", Open, 1)]);
    assert_eq!(after.take(), all);
    // So is an order for a key that has no circuit yet.
    circuits.force_open_for(3, secs(1));
    assert_eq!(before.states(), [(Closed, Open)]);
}

/// R73 A listener gets transitions that no result caused, such as those of hanging probes.
#[tokio::test(start_paused = true)]
async fn transitions_without_an_outcome_are_reported() {
    let seen = Seen::default();
    let breaker = CircuitBreakerLayer::new()
        .slow_call_rate(Ratio::ALL)
        .slow_call_duration(secs(1))
        .minimum_calls(number(1))
        .count_in_flight()
        .probe_timeout(secs(1))
        .on_transition(seen.listener());
    let inner = Scripted::<u32, u32>::new().otherwise(Step::never);
    let mut service = breaker.layer(inner.strict());
    let hanging = begin(&mut service, 0).await;
    tokio::time::sleep(secs(2)).await;
    let _: BoxError = begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(seen.states(), [(Closed, Open)]);
    tokio::time::sleep(secs(30)).await;
    let mut probes = Vec::new();
    for _ in 0..3 {
        probes.push(begin(&mut service, 0).await);
        tokio::time::sleep(secs(1)).await;
    }
    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(seen.states(), [(Open, HalfOpen), (HalfOpen, Open)]);
    drop((hanging, probes));

    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .count_dropped()
        .on_transition(seen.listener())
        .backpressure();
    let inner = Scripted::<u32, u32>::new().otherwise(Step::never);
    let mut service = breaker.layer(inner.strict());
    drop(begin(&mut service, 0).await);
    assert_eq!(seen.states(), [(Closed, Open)]);
    service.ready().await.unwrap();
    assert_eq!(seen.states(), [(Open, HalfOpen)]);
}

/// R73 A listener may also be added to a layer that holds its callers back.
#[test]
fn a_listener_may_come_after_the_mode() {
    let seen = Seen::default();
    let breaker = CircuitBreakerLayer::new()
        .backpressure()
        .on_transition(seen.listener());
    breaker.handle().force_open();
    assert_eq!(seen.states(), [(Closed, Open)]);
}
