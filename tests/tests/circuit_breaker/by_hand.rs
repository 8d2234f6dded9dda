//! A circuit is opened by hand for a time, and probed at once.

use std::{num::NonZeroU32, time::Duration};

use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer,
    circuit_breaker::{CircuitBreakerHandle, Mode, Open, State},
    find,
};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

fn failing() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new().failure_threshold(0)
}

fn open(error: &BoxError) -> &Open {
    find::<Open>(&**error).expect("the circuit rejected it")
}

/// R74 A circuit that is opened by hand for a time rejects until then; a probe closes it.
#[tokio::test(start_paused = true)]
async fn force_open_for_ends_by_itself() {
    let orders: [fn(&CircuitBreakerHandle); 5] = [
        |_| {},
        CircuitBreakerHandle::force_open,
        CircuitBreakerHandle::force_closed,
        CircuitBreakerHandle::disable,
        CircuitBreakerHandle::observe_only,
    ];
    for order in orders {
        let breaker = failing();
        let handle = breaker.handle();
        let inner = Scripted::<u32, u32>::new().answer_after(secs(1), 1);
        let calls = inner.calls();
        let mut service = breaker.layer(inner.strict());
        order(&handle);
        handle.force_open_for(secs(60));
        assert_eq!(
            (handle.state(), handle.mode()),
            (State::Open, Mode::Automatic)
        );
        tokio::time::sleep(secs(59)).await;
        let error = begin(&mut service, 0).await.await.unwrap_err();
        assert_eq!(open(&error).remaining(), Some(secs(1)));
        tokio::time::sleep(secs(1)).await;
        let probe = begin(&mut service, 0).await;
        assert_eq!(handle.state(), State::HalfOpen);
        probe.await.unwrap();
        assert_eq!((handle.state(), calls.count()), (State::Closed, 1));
        assert_eq!(handle.snapshot().opened, 0, "never by itself");
    }
}

/// R74 A later order replaces the one before: a shorter time, a longer one, a reset.
#[tokio::test(start_paused = true)]
async fn the_last_order_holds() {
    let handle = failing().handle();
    for time in [60, 5, 600] {
        handle.force_open_for(secs(time));
        assert_eq!(handle.snapshot().time_until_probe, Some(secs(time)));
    }
    handle.force_open();
    assert_eq!(
        (handle.snapshot().time_until_probe, handle.mode()),
        (None, Mode::ForcedOpen)
    );
    handle.force_open_for(secs(60));
    handle.reset();
    assert_eq!(
        (handle.state(), handle.snapshot().time_until_probe),
        (State::Closed, None)
    );
}

/// R74 After no time at all the next call is a probe; the greatest times overflow nothing.
#[tokio::test(start_paused = true)]
async fn any_time_can_be_forced() {
    let breaker = failing();
    let handle = breaker.handle();
    let mut service = breaker.layer(Scripted::<u32, u32>::new().answer(1).strict());
    handle.force_open_for(Duration::ZERO);
    assert_eq!(handle.state(), State::Open);
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(handle.state(), State::Closed);
    for time in [Duration::MAX, Duration::from_secs(u64::MAX), secs(1 << 50)] {
        handle.force_open_for(time);
        tokio::time::sleep(secs(1_000_000)).await;
        let error = begin(&mut service, 0).await.await.unwrap_err();
        assert!(open(&error).remaining() > Some(secs(1 << 49)));
        assert!(!error.to_string().is_empty());
    }
    // One who waits for a place does so too.
    let breaker = failing().backpressure();
    let handle = breaker.handle();
    handle.force_open_for(Duration::MAX);
    let mut service = breaker.layer(Scripted::<u32, u32>::new().answer(1).strict());
    let wait = tokio::time::timeout(secs(1_000_000), service.ready());
    assert!(wait.await.is_err());
    handle.reset();
    begin(&mut service, 0).await.await.unwrap();
}

/// R74 A call that was under way when the circuit was opened by hand neither closes nor opens it.
#[tokio::test(start_paused = true)]
async fn calls_under_way_do_not_count() {
    for step in [Step::answer(1), Step::error("no")] {
        let breaker = failing();
        let handle = breaker.handle();
        let inner = Scripted::<u32, u32>::new()
            .error("no")
            .step(step.after(secs(1)));
        let mut service = breaker.layer(inner.strict());
        begin(&mut service, 0).await.await.unwrap_err();
        tokio::time::sleep(secs(30)).await;
        let probe = begin(&mut service, 0).await;
        handle.force_open_for(secs(60));
        let _ = probe.await;
        assert_eq!(handle.snapshot().time_until_probe, Some(secs(59)));
        assert_eq!(handle.snapshot().probes, 0);
    }
}

/// R74 A growing cooldown starts over after a forced time, and still grows after `probe_now`.
#[tokio::test(start_paused = true)]
async fn orders_and_a_growing_cooldown() {
    let breaker = failing().cooldown(secs(10)).growing_cooldown();
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::error("no"));
    let mut service = breaker.layer(inner.strict());
    begin(&mut service, 0).await.await.unwrap_err();
    for expected in [20, 40] {
        assert!(handle.probe_now());
        begin(&mut service, 0).await.await.unwrap_err();
        assert_eq!(handle.snapshot().time_until_probe, Some(secs(expected)));
    }
    handle.force_open_for(secs(1));
    tokio::time::sleep(secs(1)).await;
    for expected in [10, 20] {
        begin(&mut service, 0).await.await.unwrap_err();
        assert_eq!(handle.snapshot().time_until_probe, Some(secs(expected)));
        tokio::time::sleep(secs(expected)).await;
    }
}

/// R74 Settings that are replaced leave a forced time as it is, and hold after it.
#[tokio::test(start_paused = true)]
async fn new_settings_leave_a_forced_time() {
    let breaker = failing();
    let handle = breaker.handle();
    handle.force_open_for(secs(600));
    handle.update(|settings| {
        settings.cooldown = secs(5);
        settings.max_cooldown = secs(5);
        settings.half_open_successes = NonZeroU32::new(2).unwrap();
    });
    assert_eq!(handle.snapshot().time_until_probe, Some(secs(600)));
    let inner = Scripted::<u32, u32>::new().answer(1).error("no");
    let mut service = breaker.layer(inner.strict());
    tokio::time::sleep(secs(600)).await;
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(handle.state(), State::HalfOpen);
    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(handle.snapshot().time_until_probe, Some(secs(5)));
}

/// R74 An open circuit is probed at once by hand; a closed or half-open one stays as it is.
#[tokio::test(start_paused = true)]
async fn probe_now_ends_the_cooldown() {
    let breaker = failing();
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .answer_after(secs(1), 1);
    let mut service = breaker.layer(inner.strict());
    assert!(!handle.probe_now());
    assert_eq!(handle.state(), State::Closed);
    begin(&mut service, 0).await.await.unwrap_err();
    assert!(handle.probe_now());
    assert_eq!(
        (handle.state(), handle.snapshot().time_until_probe),
        (State::HalfOpen, None)
    );
    let probe = begin(&mut service, 0).await;
    assert!(!handle.probe_now(), "the probe under way keeps its place");
    open(&begin(&mut service, 0).await.await.unwrap_err());
    probe.await.unwrap();
    assert_eq!(handle.state(), State::Closed);
}

/// R74 `probe_now` releases a forced circuit, and leaves an observing circuit its mode.
#[tokio::test(start_paused = true)]
async fn probe_now_releases_a_forced_circuit() {
    let forces: [fn(&CircuitBreakerHandle); 2] = [CircuitBreakerHandle::force_open, |handle| {
        handle.force_open_for(secs(600));
    }];
    for force in forces {
        let breaker = failing();
        let handle = breaker.handle();
        force(&handle);
        assert!(handle.probe_now());
        assert_eq!(
            (handle.state(), handle.mode()),
            (State::HalfOpen, Mode::Automatic)
        );
        let inner = Scripted::<u32, u32>::new().error("no");
        let mut service = breaker.layer(inner.strict());
        begin(&mut service, 0).await.await.unwrap_err();
        assert_eq!(handle.snapshot().time_until_probe, Some(secs(30)));
    }

    let breaker = failing();
    let handle = breaker.handle();
    handle.observe_only();
    let inner = Scripted::<u32, u32>::new().error("no").answer(1);
    let mut service = breaker.layer(inner.strict());
    begin(&mut service, 0).await.await.unwrap_err();
    assert!(handle.probe_now());
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(
        (handle.state(), handle.mode()),
        (State::Closed, Mode::ObserveOnly)
    );
    for held in [
        CircuitBreakerHandle::force_closed,
        CircuitBreakerHandle::disable,
    ] {
        held(&handle);
        let mode = handle.mode();
        assert!(!handle.probe_now());
        assert_eq!((handle.state(), handle.mode()), (State::Closed, mode));
    }
}

/// R74 Calls that wait for readiness go on at `probe_now`, and when a forced time is over.
#[tokio::test(start_paused = true)]
async fn orders_wake_those_who_wait() {
    let breaker = failing().backpressure();
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::answer(1));
    let service = breaker.layer(inner.strict());
    let wait = || {
        let mut service = service.clone();
        tokio::spawn(async move {
            let begun = tokio::time::Instant::now();
            let ready = tokio::time::timeout(secs(10_000), service.ready());
            ready
                .await
                .expect("it is woken")
                .unwrap()
                .call(0)
                .await
                .unwrap();
            begun.elapsed()
        })
    };
    handle.force_open();
    let (first, second) = (wait(), wait());
    tokio::time::sleep(secs(100)).await;
    assert!(handle.probe_now());
    for waited in [first, second] {
        assert_eq!(waited.await.unwrap(), secs(100));
    }
    // A forced time that replaces a longer one.
    handle.force_open_for(secs(600));
    let waited = wait();
    tokio::time::sleep(secs(100)).await;
    handle.force_open_for(secs(50));
    assert_eq!(waited.await.unwrap(), secs(150));
}

/// R74 A place that was reserved before lets no call through while a forced time lasts.
#[tokio::test(start_paused = true)]
async fn a_reserved_place_is_lost_to_a_forced_time() {
    for waits in [0, 60] {
        let breaker = failing().backpressure();
        let handle = breaker.handle();
        let inner = Scripted::<u32, u32>::new().answer(1);
        let mut service = breaker.layer(inner.strict());
        service.ready().await.unwrap();
        handle.force_open_for(secs(60));
        tokio::time::sleep(secs(waits)).await;
        let result = service.call(0).await;
        assert_eq!(result.is_err(), waits == 0, "{result:?}");
    }
}

/// R74 By key: a circuit is opened for a time before its first call, and probed at once.
#[tokio::test(start_paused = true)]
async fn orders_by_key() {
    let breaker = failing()
        .per_key(|number: &u32| *number)
        .max_circuits(std::num::NonZeroUsize::MIN);
    let circuits = breaker.handle();
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::answer(1));
    let mut service = breaker.layer(inner.strict());
    circuits.force_open_for(1, secs(60));
    assert_eq!(
        circuits.get(&1).map(|circuit| circuit.state()),
        Some(State::Open)
    );
    for other in 2..9 {
        begin(&mut service, other).await.await.unwrap();
        assert_eq!(circuits.len(), 2, "the forced one is not evicted");
    }
    let error = begin(&mut service, 1).await.await.unwrap_err();
    assert_eq!(open(&error).circuit(), "1");
    assert_eq!(open(&error).remaining(), Some(secs(60)));
    assert!(circuits.probe_now(&1));
    assert!(!circuits.probe_now(&1) && !circuits.probe_now(&100));
    begin(&mut service, 1).await.await.unwrap();
    assert_eq!(circuits.get(&1).unwrap().state(), State::Closed);
    // A circuit that is there is opened, rather than another.
    circuits.force_open_for(1, secs(60));
    assert_eq!(circuits.len(), 2);
    // A new circuit that is forced takes no other's place.
    circuits.force_open_for(50, secs(60));
    assert_eq!(circuits.len(), 3);
    tokio::time::sleep(secs(60)).await;
    begin(&mut service, 1).await.await.unwrap();
}

/// R38 The snapshot shows how the probes of a half-open circuit fare, by key too.
#[tokio::test(start_paused = true)]
async fn the_snapshot_shows_the_probes() {
    let three = NonZeroU32::new(3).unwrap();
    let breaker = failing()
        .half_open_probes(three)
        .half_open_successes(three)
        .half_open_failures(three)
        .per_key(|number: &u32| *number);
    let circuits = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .answer(1)
        .error("no")
        .answer(1)
        .never()
        .error("no")
        .error("no");
    let mut service = breaker.layer(inner.strict());
    begin(&mut service, 0).await.await.unwrap_err();
    let circuit = circuits.get(&0).unwrap();
    let probes = || {
        let snapshot = circuit.snapshot();
        let results = (snapshot.probe_successes, snapshot.probe_failures);
        (snapshot.state, results, snapshot.probes)
    };
    assert_eq!(probes(), (State::Open, (0, 0), 0));
    circuit.probe_now();
    for expected in [(1, 0), (1, 1), (2, 1)] {
        let _ = begin(&mut service, 0).await.await;
        assert_eq!(probes(), (State::HalfOpen, expected, 0));
    }
    let hanging = begin(&mut service, 0).await;
    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(probes(), (State::HalfOpen, (2, 2), 1));
    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(probes(), (State::Open, (0, 0), 0));
    drop(hanging);
}
