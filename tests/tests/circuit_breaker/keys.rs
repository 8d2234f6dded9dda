//! Circuits by key.

use std::{cell::RefCell, fmt, num::NonZeroUsize, sync::Arc};

use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, Pipeline,
    circuit_breaker::{CircuitsHandle, Open, State},
    find,
};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

/// A request to a host; odd numbers fail.
type To = (Arc<str>, u32);

fn to(host: &str, number: u32) -> To {
    (host.into(), number)
}

fn host(request: &To) -> Arc<str> {
    Arc::clone(&request.0)
}

fn odd_fail() -> impl Service<To, Response = u32, Error = BoxError, Future: Send> + Clone {
    tower::service_fn(|(_, number): To| async move {
        if number % 2 == 0 {
            Ok(number)
        } else {
            Err(BoxError::from("odd"))
        }
    })
}

fn is_open(result: &Result<u32, BoxError>) -> bool {
    (result.as_ref().err()).is_some_and(|error| find::<Open>(&**error).is_some())
}

/// R38b, Behaviour 12: failures for one key never affect another; the error and the handle say
/// which circuit.
#[tokio::test(start_paused = true)]
async fn keys_are_isolated() {
    for (name, expected) in [(None, "a.example"), (Some("hosts"), "hosts/a.example")] {
        let breaker = CircuitBreakerLayer::new().failure_threshold(2);
        let breaker = match name {
            Some(name) => breaker.named(name),
            None => breaker,
        };
        let breaker = breaker.per_key(host);
        let circuits = breaker.handle();
        assert!(circuits.is_empty());
        let service = breaker.layer(odd_fail());
        for _ in 0..3 {
            service
                .clone()
                .oneshot(to("a.example", 1))
                .await
                .unwrap_err();
        }
        let rejected = service
            .clone()
            .oneshot(to("a.example", 2))
            .await
            .unwrap_err();
        assert_eq!(find::<Open>(&*rejected).unwrap().circuit(), expected);
        assert_eq!(
            service.clone().oneshot(to("b.example", 2)).await.unwrap(),
            2
        );
        service
            .clone()
            .oneshot(to("b.example", 1))
            .await
            .unwrap_err();
        let mut all: Vec<_> = circuits
            .circuits()
            .into_iter()
            .map(|(key, circuit)| (key, circuit.state(), circuit.snapshot().failures_in_a_row))
            .collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        let expected = [
            ("a.example".into(), State::Open, 0),
            ("b.example".into(), State::Closed, 1),
        ];
        assert_eq!(all, expected);
        assert!(circuits.get(&"c.example".into()).is_none());
        circuits.get(&"a.example".into()).unwrap().reset();
        assert_eq!(
            service.clone().oneshot(to("a.example", 2)).await.unwrap(),
            2
        );
    }
}

/// R38b: the circuits' settings are those of the layer, also when they are replaced later.
#[tokio::test(start_paused = true)]
async fn settings_hold_for_all_keys() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .per_key(host)
        .cooldown(secs(5));
    let circuits = breaker.handle();
    let service = breaker.layer(odd_fail());
    service.clone().oneshot(to("a", 1)).await.unwrap_err();
    let a = circuits.get(&"a".into()).unwrap();
    assert_eq!(a.snapshot().time_until_probe, Some(secs(5)));
    assert_eq!(circuits.settings().cooldown, secs(5));
    circuits.update(|settings| settings.failure_threshold = Some(1));
    a.reset();
    for host in ["a", "b"] {
        for expected in [State::Closed, State::Open] {
            service.clone().oneshot(to(host, 1)).await.unwrap_err();
            assert_eq!(circuits.get(&host.into()).unwrap().state(), expected);
        }
    }
}

/// R38b, Behaviour 12: idle circuits are evicted, except open and forced circuits; a key that comes
/// back begins with no counts.
#[tokio::test(start_paused = true)]
async fn idle_circuits_are_evicted() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(1)
        .cooldown(secs(1000))
        .per_key(host)
        .evict_idle_after(secs(100));
    let circuits = breaker.handle();
    let service = breaker.layer(odd_fail());
    for key in ["idle", "open", "forced", "busy", "held"] {
        service.clone().oneshot(to(key, 1)).await.unwrap_err();
    }
    service.clone().oneshot(to("open", 1)).await.unwrap_err();
    circuits.get(&"forced".into()).unwrap().force_closed();
    let held = circuits.get(&"held".into()).unwrap();
    tokio::time::sleep(secs(99)).await;
    service.clone().oneshot(to("busy", 2)).await.unwrap();
    assert_eq!(circuits.circuits().len(), 5);
    tokio::time::sleep(secs(1)).await;
    // A new key sweeps.
    service.clone().oneshot(to("new", 2)).await.unwrap();
    let left: Vec<&str> = ["idle", "open", "forced", "busy", "held", "new"]
        .into_iter()
        .filter(|key| circuits.get(&(*key).into()).is_some())
        .collect();
    assert_eq!(left, ["open", "forced", "busy", "held", "new"]);
    drop(held);
    // The failure of before is forgotten.
    service.clone().oneshot(to("idle", 1)).await.unwrap_err();
    assert_eq!(circuits.get(&"idle".into()).unwrap().state(), State::Closed);
    tokio::time::sleep(secs(10_000)).await;
    let left: Vec<_> = circuits
        .circuits()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(left, ["forced".into()]);
    assert!(circuits.remove(&"forced".into()));
    assert!(!circuits.remove(&"forced".into()));
    assert!(circuits.is_empty());
}

/// R38b, Behaviour 12: a hundred thousand keys take bounded memory; circuits that matter stay, as
/// long as there is room.
#[tokio::test(start_paused = true)]
async fn many_keys_take_bounded_memory() {
    let most = 1000;
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .cooldown(secs(1_000_000))
        .per_key(|number: &u32| *number)
        .max_circuits(NonZeroUsize::new(most).unwrap());
    let circuits = breaker.handle();
    let mut service = breaker.layer(tower::service_fn(|number: u32| async move {
        if number < 10 {
            Err(BoxError::from("no"))
        } else {
            Ok(number)
        }
    }));
    for number in 0..100_000 {
        let _ = begin(&mut service, number).await.await;
        assert!(circuits.len() <= most);
        if number % 100 == 0 {
            tokio::time::advance(ms(1)).await;
        }
    }
    assert!(circuits.len() > most / 2);
    for number in 0..10 {
        assert_eq!(circuits.get(&number).unwrap().state(), State::Open);
    }
    assert!(circuits.get(&99_999).is_some(), "the latest one");
    // Where all matter, the oldest go: memory comes first.
    let breaker = CircuitBreakerLayer::new()
        .per_key(|number: &u32| *number)
        .failure_threshold(0)
        .max_circuits(NonZeroUsize::new(3).unwrap());
    let circuits = breaker.handle();
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::error("no"));
    let mut service = breaker.layer(inner.strict());
    for number in 0..10 {
        begin(&mut service, number).await.await.unwrap_err();
        tokio::time::advance(ms(1)).await;
        assert!(circuits.len() <= 3);
    }
    assert!(circuits.get(&9).is_some());
    assert!(circuits.get(&0).is_none());
    // Room for one.
    let breaker = CircuitBreakerLayer::new()
        .per_key(|number: &u32| *number)
        .max_circuits(NonZeroUsize::MIN);
    let circuits = breaker.handle();
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::answer(1));
    let mut service = breaker.layer(inner.strict());
    for number in 0..3 {
        begin(&mut service, number).await.await.unwrap();
        assert_eq!(circuits.len(), 1);
        assert!(!circuits.is_empty() && circuits.get(&number).is_some());
    }
}

/// A call under way when its circuit is forgotten ends as ever, and counts for nothing.
#[tokio::test(start_paused = true)]
async fn a_forgotten_circuit_is_not_missed() {
    let breaker = CircuitBreakerLayer::new()
        .per_key(|number: &u32| *number)
        .failure_threshold(0);
    let circuits = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error_after(secs(1), "no")
        .answer(1);
    let mut service = breaker.layer(inner.strict());
    let call = begin(&mut service, 7).await;
    assert!(circuits.remove(&7));
    call.await.unwrap_err();
    assert!(circuits.get(&7).is_none());
    begin(&mut service, 7).await.await.unwrap();
}

/// R62: a pipeline takes a layer with circuits by key, and sees to their probes' places.
#[tokio::test(start_paused = true)]
async fn a_pipeline_takes_circuits_by_key() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .per_key(host);
    let pipeline = Pipeline::new()
        .circuit_breaker(breaker)
        .retry(tower_keep::RetryLayer::new().max_retries(0))
        .build()
        .unwrap();
    let circuits = pipeline.circuit_breaker().handle();
    let service = pipeline.layer(odd_fail());
    let mut results = Vec::new();
    for (host, number) in [("a", 1), ("a", 2), ("b", 2)] {
        results.push(service.clone().oneshot(to(host, number)).await);
    }
    assert_eq!(
        results.iter().map(is_open).collect::<Vec<_>>(),
        [false, true, false]
    );
    assert_eq!(circuits.len(), 2);
}

/// R38: a circuit that was forced by hand stays, whatever the number of other circuits.
#[tokio::test(start_paused = true)]
async fn forced_circuits_stay() {
    let breaker = CircuitBreakerLayer::new()
        .per_key(|number: &u32| *number)
        .max_circuits(NonZeroUsize::MIN);
    let circuits = breaker.handle();
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::answer(1));
    let mut service = breaker.layer(inner.strict());
    begin(&mut service, 1).await.await.unwrap();
    circuits.get(&1).unwrap().force_open();
    for number in 2..5 {
        begin(&mut service, number).await.await.unwrap();
        assert!(circuits.len() <= 2);
    }
    begin(&mut service, 1).await.await.unwrap_err();
}

/// Of circuits that have to go, open circuits go last, also once their cooldown is over.
#[tokio::test(start_paused = true)]
async fn open_circuits_go_last() {
    let breaker = CircuitBreakerLayer::new()
        .per_key(|number: &u32| *number)
        .failure_threshold(0)
        .cooldown(ms(1))
        .max_circuits(NonZeroUsize::new(2).unwrap());
    let circuits = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .otherwise(|| Step::answer(1));
    let mut service = breaker.layer(inner.strict());
    begin(&mut service, 0).await.await.unwrap_err();
    for number in 1..5 {
        tokio::time::sleep(ms(1)).await;
        begin(&mut service, number).await.await.unwrap();
        assert_eq!(
            circuits.get(&0).map(|circuit| circuit.state()),
            Some(State::Open)
        );
    }
}

/// A seed that is set before the key is chosen holds too.
#[tokio::test(start_paused = true)]
async fn a_seed_may_come_before_the_key() {
    let mut cooldowns = Vec::new();
    for seed in [3, 3, 4] {
        let breaker = CircuitBreakerLayer::new()
            .failure_threshold(0)
            .cooldown(secs(10_000))
            .cooldown_jitter(tower_keep::Ratio::HALF)
            .seed(seed)
            .per_key(host);
        let circuits = breaker.handle();
        let service = breaker.layer(odd_fail());
        service.oneshot(to("a", 1)).await.unwrap_err();
        cooldowns.push(
            circuits
                .get(&"a".into())
                .unwrap()
                .snapshot()
                .time_until_probe,
        );
    }
    assert_eq!(cooldowns[0], cooldowns[1]);
    assert_ne!(cooldowns[0], cooldowns[2]);
}

/// What is set after the key is chosen holds too: the name, the seed and the settings; and the
/// pipeline sees them.
#[tokio::test(start_paused = true)]
async fn settings_may_come_after_the_key() {
    let mut cooldowns = Vec::new();
    for seed in [3, 3, 4] {
        let breaker = CircuitBreakerLayer::new()
            .per_key(host)
            .named("hosts")
            .failure_threshold(0)
            .cooldown(secs(10_000))
            .cooldown_jitter(tower_keep::Ratio::HALF)
            .seed(seed);
        let circuits = breaker.handle();
        let service = breaker.layer(odd_fail());
        for host in ["a", "b"] {
            service.clone().oneshot(to(host, 1)).await.unwrap_err();
        }
        let of = |host: &str| circuits.get(&host.into()).unwrap();
        assert_eq!(&*of("a").name(), "hosts/a");
        cooldowns.push((
            of("a").snapshot().time_until_probe,
            of("b").snapshot().time_until_probe,
        ));
    }
    assert_eq!(cooldowns[0], cooldowns[1]);
    assert_ne!(cooldowns[0], cooldowns[2]);
    assert_ne!(cooldowns[0].0, cooldowns[0].1);
    let breaker = CircuitBreakerLayer::new()
        .per_key(host)
        .probe_timeout(secs(1));
    let error = Pipeline::new()
        .circuit_breaker(breaker)
        .build()
        .unwrap_err();
    assert_eq!(
        error.settings(),
        ("circuit_breaker.probe_timeout", "timeout")
    );
}

/// What is set while a new key's circuit is being made holds for that circuit too.
#[tokio::test(start_paused = true)]
async fn settings_may_come_while_a_circuit_is_made() {
    thread_local! {
        static CIRCUITS: RefCell<Option<CircuitsHandle<Host>>> = const { RefCell::new(None) };
    }

    /// Its text, which is asked for while its circuit is made, changes the settings.
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct Host(Arc<str>);
    impl fmt::Display for Host {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            if let Some(circuits) = CIRCUITS.take() {
                circuits.update(|settings| settings.failure_threshold = Some(0));
            }
            f.write_str(&self.0)
        }
    }

    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(5)
        .per_key(|request: &To| Host(host(request)));
    let circuits = breaker.handle();
    CIRCUITS.set(Some(circuits.clone()));
    let service = breaker.layer(odd_fail());
    service.oneshot(to("a", 1)).await.unwrap_err();
    let circuit = circuits.get(&Host("a".into())).unwrap();
    assert_eq!(circuit.settings().failure_threshold, Some(0));
    assert_eq!(circuit.state(), State::Open);
}

/// R71 Forced circuits do not use up the limit: the others still reach their threshold.
#[tokio::test(start_paused = true)]
async fn forced_circuits_leave_room() {
    let breaker = CircuitBreakerLayer::new()
        .per_key(|number: &u32| *number)
        .failure_threshold(2)
        .max_circuits(NonZeroUsize::new(2).unwrap());
    let circuits = breaker.handle();
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::error("no"));
    let mut service = breaker.layer(inner.strict());
    for number in 0..4 {
        begin(&mut service, number).await.await.unwrap_err();
        circuits.get(&number).unwrap().force_closed();
    }
    for _ in 0..3 {
        for number in [10, 11] {
            begin(&mut service, number).await.await.unwrap_err();
        }
    }
    assert_eq!(circuits.len(), 6);
    for number in [10, 11] {
        assert_eq!(circuits.get(&number).unwrap().state(), State::Open);
    }
    // Once they are released they may go.
    for number in 0..4 {
        circuits.get(&number).unwrap().reset();
    }
    begin(&mut service, 12).await.await.unwrap_err();
    assert_eq!(circuits.len(), 2);
    assert!(circuits.get(&12).is_some());
}

/// R74 A key that is opened by hand stays open, however many new keys come at that moment.
#[test]
fn a_forced_key_is_not_evicted() {
    let breaker = CircuitBreakerLayer::new()
        .per_key(|number: &u32| *number)
        .max_circuits(NonZeroUsize::MIN);
    let circuits = breaker.handle();
    let service = breaker.layer(tower::service_fn(|number: u32| async move {
        Ok::<_, BoxError>(number)
    }));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1000..3000 {
                let call = service.clone().oneshot(number);
                futures::executor::block_on(call).unwrap();
            }
        });
        for number in 0..500 {
            circuits.force_open_for(number, secs(1_000_000));
        }
    });
    for number in 0..500 {
        let state = circuits.get(&number).map(|circuit| circuit.state());
        assert_eq!(state, Some(State::Open), "{number}");
    }
    assert!(circuits.len() <= 501);
}

/// R71 Calls with known keys from two threads find their circuits while new keys evict others.
#[test]
fn known_keys_are_found_during_evictions() {
    let breaker = CircuitBreakerLayer::new()
        .per_key(|number: &u32| *number)
        .max_circuits(NonZeroUsize::new(8).unwrap());
    let circuits = breaker.handle();
    let service = breaker.layer(tower::service_fn(|number: u32| async move {
        Ok::<_, BoxError>(number)
    }));
    std::thread::scope(|scope| {
        for thread in 0..2_u32 {
            let service = service.clone();
            let circuits = circuits.clone();
            scope.spawn(move || {
                for number in 0..2_000 {
                    // Four keys of its own, and a new key.
                    for key in [thread * 4 + number % 4, 100 + thread * 10_000 + number] {
                        let call = service.clone().oneshot(key);
                        assert_eq!(futures::executor::block_on(call).unwrap(), key);
                    }
                    assert!(circuits.len() <= 8);
                }
            });
        }
    });
    assert_eq!(circuits.len(), circuits.circuits().len());
}
