//! Circuits that are forced or switched off by hand, that only observe, and whose settings are
//! replaced.

use std::num::NonZeroU32;

use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, EventKind, Ratio,
    circuit_breaker::{Mode, Open, Settings, State, Window},
    find,
};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn is_open(error: &BoxError) -> bool {
    find::<Open>(&**error).is_some()
}

/// R38, Behaviour 10: opened by hand it stays so, however long, however often it is asked for; a
/// reset clears what was counted, from every state.
#[tokio::test(start_paused = true)]
async fn force_open_is_sticky_and_reset_clears() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(1)
        .failure_rate(Ratio::ALL)
        .minimum_calls(number(10));
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::error("no"));
    let calls = inner.calls();
    let mut service = breaker.layer(inner.strict());
    begin(&mut service, 0).await.await.unwrap_err();
    for _ in 0..2 {
        handle.force_open();
        tokio::time::sleep(secs(100_000)).await;
        let error = begin(&mut service, 0).await.await.unwrap_err();
        assert_eq!(find::<Open>(&*error).unwrap().remaining(), None);
    }
    assert_eq!((handle.mode(), calls.count()), (Mode::ForcedOpen, 1));
    assert_eq!(handle.snapshot().rejected, 2);
    // From forced open, closed with counts, open, half-open.
    for state in [State::Open, State::Closed, State::Open, State::HalfOpen] {
        let mut probe = None;
        if handle.mode() == Mode::Automatic {
            begin(&mut service, 0).await.await.unwrap_err();
            if state != State::Closed {
                begin(&mut service, 0).await.await.unwrap_err();
            }
            if state == State::HalfOpen {
                tokio::time::sleep(secs(30)).await;
                probe = Some(begin(&mut service, 0).await);
            }
        }
        assert_eq!(handle.state(), state);
        handle.reset();
        let snapshot = handle.snapshot();
        assert_eq!(
            (snapshot.state, snapshot.mode),
            (State::Closed, Mode::Automatic)
        );
        assert_eq!((snapshot.failures_in_a_row, snapshot.calls), (0, 0));
        drop(probe);
        // Nothing is left of the failures before.
        begin(&mut service, 0).await.await.unwrap_err();
        assert_eq!(handle.state(), State::Closed);
        handle.reset();
    }
}

/// R38: closed by hand it lets everything through and goes on to count; switched off it does not
/// count either.
#[tokio::test(start_paused = true)]
async fn force_closed_and_disable() {
    let breaker = CircuitBreakerLayer::new().failure_rate(Ratio::ALL);
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::error("no"));
    let mut service = breaker.layer(inner.strict());
    handle.force_open();
    handle.force_closed();
    for _ in 0..30 {
        assert!(!is_open(&begin(&mut service, 0).await.await.unwrap_err()));
    }
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.calls, snapshot.failures_in_a_row), (30, 30));
    assert_eq!(
        (snapshot.state, snapshot.mode),
        (State::Closed, Mode::ForcedClosed)
    );
    let before = begin(&mut service, 0).await;
    handle.disable();
    before.await.unwrap_err();
    for _ in 0..30 {
        assert!(!is_open(&begin(&mut service, 0).await.await.unwrap_err()));
    }
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.calls, snapshot.failures_in_a_row), (0, 0));
    assert_eq!(
        (snapshot.state, snapshot.mode),
        (State::Closed, Mode::Disabled)
    );
    let before = begin(&mut service, 0).await;
    handle.reset();
    before.await.unwrap_err();
    assert_eq!(
        handle.snapshot().failures_in_a_row,
        0,
        "it was let through before the reset"
    );
}

/// R38: a circuit that only observes lets everything through, and reports what it would have done:
/// it opens, rejects, lets probes through and closes, in its state, its counts and the jobs'
/// events.
#[tokio::test(start_paused = true)]
async fn observe_only_shows_what_would_happen() {
    let (log, recorder) = recording();
    let breaker = CircuitBreakerLayer::new().named("db").failure_threshold(1);
    let handle = breaker.handle();
    handle.observe_only();
    let inner = Scripted::<u32, u32>::new()
        .times(5, || Step::error("no"))
        .answer_after(secs(1), 1)
        .answer(1);
    let calls = inner.calls();
    let layers = ServiceBuilder::new().layer(log).layer(breaker);
    let mut service = layers.service(inner.strict());
    for (rejected, state) in [
        (0, State::Closed),
        (0, State::Open),
        (1, State::Open),
        (2, State::Open),
        (3, State::Open),
    ] {
        assert!(!is_open(&begin(&mut service, 0).await.await.unwrap_err()));
        assert_eq!(
            (handle.snapshot().rejected, handle.state()),
            (rejected, state)
        );
    }
    tokio::time::sleep(secs(30)).await;
    let probe = tokio::spawn(begin(&mut service, 0).await);
    // It succeeds during the probe, but would not have been let through.
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(
        (handle.snapshot().rejected, handle.state()),
        (4, State::HalfOpen)
    );
    probe.await.unwrap().unwrap();
    assert_eq!((handle.state(), calls.count()), (State::Closed, 7));
    let would_reject = EventKind::CircuitWouldReject {
        circuit: "db".into(),
    };
    let count = recorder
        .kinds()
        .into_iter()
        .filter(|kind| *kind == would_reject)
        .count();
    assert_eq!(count, 4);
    let names = recorder.names();
    for name in ["circuit_opened", "circuit_half_opened", "circuit_closed"] {
        assert_eq!(
            names.iter().filter(|other| **other == name).count(),
            1,
            "{name}"
        );
    }
}

/// R38b: settings are replaced while the circuit works: what was counted stays, and decides with
/// the next outcome.
#[tokio::test(start_paused = true)]
async fn settings_can_be_replaced_without_losing_the_counts() {
    let breaker = CircuitBreakerLayer::new()
        .failure_rate(Ratio::ALL)
        .window(Window::calls(number(40)))
        .minimum_calls(number(40));
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .times(10, || Step::answer(1))
        .otherwise(|| Step::error("no"));
    let service = breaker.layer(inner.strict());
    let mut one = service.clone();
    for _ in 0..10 {
        begin(&mut one, 0).await.await.unwrap();
    }
    for _ in 0..20 {
        begin(&mut one, 0).await.await.unwrap_err();
    }
    let counts = || (handle.snapshot().calls, handle.snapshot().failures);
    assert_eq!(counts(), (30, 20));
    handle.update(|settings| settings.window = Window::time(secs(60)).unwrap());
    assert_eq!(counts(), (30, 20));
    handle.update(|settings| settings.window = Window::calls(number(25)));
    // The latest 25, of which 20 failed.
    assert_eq!(counts(), (25, 20));
    handle.update(|settings| {
        settings.failure_rate = Some(Ratio::percent(80).unwrap());
        settings.minimum_calls = number(25);
        settings.cooldown = secs(5);
    });
    assert_eq!(
        (handle.state(), handle.snapshot().failures_in_a_row),
        (State::Closed, 20)
    );
    begin(&mut one, 0).await.await.unwrap_err();
    assert_eq!(handle.state(), State::Open);
    assert_eq!(handle.snapshot().time_until_probe, Some(secs(5)));
    // A state that has begun keeps its deadline.
    handle.update(|settings| *settings = Settings::default());
    assert_eq!(handle.settings(), Settings::default());
    tokio::time::sleep(secs(5)).await;
    let probe = begin(&mut one, 0).await;
    assert_eq!(handle.state(), State::HalfOpen);
    drop(probe);
}

/// R38: a watcher sees each state that lasts, and how often the circuit opened.
#[tokio::test(start_paused = true)]
async fn transitions_can_be_watched() {
    let breaker = CircuitBreakerLayer::new()
        .failure_threshold(0)
        .cooldown(secs(1));
    let handle = breaker.handle();
    let mut watch = handle.watch();
    let watcher = tokio::spawn(async move {
        let mut seen = vec![*watch.borrow_and_update()];
        while watch.changed().await.is_ok() {
            seen.push(*watch.borrow_and_update());
        }
        seen
    });
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .error_after(secs(1), "no")
        .answer_after(secs(1), 1);
    let mut service = breaker.layer(inner.strict());
    tokio::task::yield_now().await;
    begin(&mut service, 0).await.await.unwrap_err();
    for _ in 0..2 {
        tokio::time::sleep(secs(1)).await;
        let probe = begin(&mut service, 0).await;
        tokio::task::yield_now().await;
        let _ = probe.await;
        tokio::task::yield_now().await;
    }
    assert_eq!(handle.snapshot().opened, 2);
    drop((service, handle, breaker));
    use State::{Closed, HalfOpen, Open};
    let seen = watcher.await.unwrap();
    assert_eq!(seen, [Closed, Open, HalfOpen, Open, HalfOpen, Closed]);
}

/// A name and settings that are set through one clone of the layer hold for all.
#[tokio::test(start_paused = true)]
async fn clones_share_the_circuit() {
    let breaker = CircuitBreakerLayer::new().failure_threshold(0).named("db");
    let handle = breaker.clone().handle();
    let service = breaker.layer(Scripted::<u32, u32>::new().error("no"));
    service.oneshot(0).await.unwrap_err();
    assert_eq!((&*handle.name(), handle.state()), ("db", State::Open));
}

/// What is shown for debugging says which circuit it is.
#[tokio::test]
async fn everything_shows_its_circuit() {
    let breaker = || CircuitBreakerLayer::new().named("db");
    let shown = [
        format!("{:?}", breaker()),
        format!("{:?}", breaker().handle()),
        format!("{:?}", breaker().backpressure()),
        format!("{:?}", breaker().layer(())),
        format!("{:?}", breaker().per_key(|number: &u32| *number)),
    ];
    for shown in shown {
        assert!(shown.contains("\"db\""), "{shown}");
    }
    let by_key = breaker().per_key(|number: &u32| *number).handle();
    let shown = format!("{by_key:?}");
    assert!(shown.contains("\"db\", circuits: 0"), "{shown}");
}

/// R38b What is shown for debugging are the settings that are in force, rather than what was set.
#[tokio::test]
async fn everything_shows_its_effective_settings() {
    let breaker = || CircuitBreakerLayer::new().cooldown(secs(1000));
    let by_key = || breaker().per_key(|number: &u32| *number);
    for shown in [
        format!("{:?}", breaker()),
        format!("{:?}", breaker().handle()),
        format!("{:?}", breaker().layer(())),
        format!("{:?}", breaker().backpressure().handle()),
        format!("{:?}", by_key()),
        format!("{:?}", by_key().handle()),
        format!("{:?}", by_key().layer(())),
    ] {
        for setting in [
            "failure_threshold: Some(5)",
            "cooldown: 1000s",
            "max_cooldown: 1000s",
            "probe_timeout: Some(1000s)",
        ] {
            assert!(shown.contains(setting), "{setting}: {shown}");
        }
    }
    let by_rate = breaker().failure_rate(Ratio::percent(7).unwrap());
    let shown = format!("{by_rate:?}");
    assert!(shown.contains("failure_threshold: None"), "{shown}");
    assert!(shown.contains("failure_rate: Some(7/100)"), "{shown}");
}

/// R38b: changes of settings at the same time are all made.
#[test]
fn no_change_of_settings_is_lost() {
    let breaker = CircuitBreakerLayer::new().cooldown(secs(0));
    let handle = breaker.handle();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    handle.update(|settings| settings.cooldown += ms(1));
                }
            });
        }
    });
    assert_eq!(handle.settings().cooldown, ms(2000));
}
