//! How a circuit recovers.

use std::{num::NonZeroU32, time::Duration};

use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, Ratio,
    circuit_breaker::{CircuitBreakerHandle, Open, State},
    find,
};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn failing() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new().failure_threshold(0)
}

fn open(error: &BoxError) -> &Open {
    find::<Open>(&**error).expect("the circuit rejected it")
}

/// Opens it with a failure, from the closed state or with a probe.
async fn trip<S>(service: &mut S)
where
    S: Service<u32, Error = BoxError, Response = u32>,
{
    let error = begin(service, 0).await.await.unwrap_err();
    assert!(find::<Open>(&*error).is_none(), "not rejected: {error}");
}

/// R35, R36, R37: a set number of successes closes, a set number of failures opens, and it is
/// decided by the last probe that it takes, though others are under way.
#[tokio::test(start_paused = true)]
async fn thresholds_of_probes() {
    let breaker = failing()
        .half_open_probes(number(5))
        .half_open_successes(number(3))
        .half_open_failures(number(2));
    let handle = breaker.handle();
    let after = |secs, ok: bool| {
        let step = if ok {
            Step::answer(1)
        } else {
            Step::error("no")
        };
        step.after(Duration::from_secs(secs))
    };
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .step(after(1, true))
        .step(after(2, false))
        .step(after(3, true))
        .step(after(4, true))
        .step(after(100, false))
        .error("no")
        .step(after(1, false))
        .step(after(2, true))
        .step(after(3, true))
        .step(after(4, false))
        .step(after(100, true));
    let mut service = breaker.layer(inner.strict());
    for (decided, expected) in [(4, State::Closed), (4, State::Open)] {
        trip(&mut service).await;
        tokio::time::sleep(secs(30)).await;
        let mut probes = Vec::new();
        for _ in 0..5 {
            probes.push(tokio::spawn(begin(&mut service, 0).await));
        }
        tokio::time::sleep(secs(decided) - ms(1)).await;
        assert_eq!(handle.state(), State::HalfOpen);
        assert_eq!(handle.snapshot().probes, 2);
        tokio::time::sleep(ms(1)).await;
        tokio::task::yield_now().await;
        assert_eq!(handle.state(), expected);
        // The probe that comes late decides nothing.
        tokio::time::sleep(secs(100)).await;
        assert_eq!(handle.state(), expected);
    }
}

/// R38, Behaviour 4: sparse probes always reach a decision, with a window shorter than the gaps
/// between them; probes that never finish leave the half-open state within a bounded time.
#[tokio::test(start_paused = true)]
async fn half_open_always_ends() {
    let breaker = failing().half_open_successes(number(3));
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .times(3, || Step::answer(1));
    let mut service = breaker.layer(inner.strict());
    trip(&mut service).await;
    for _ in 0..3 {
        assert_ne!(handle.state(), State::Closed);
        tokio::time::sleep(secs(3600)).await;
        begin(&mut service, 0).await.await.unwrap();
    }
    assert_eq!(handle.state(), State::Closed);

    let breaker = failing().probe_timeout(secs(10));
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .times(3, Step::never)
        .answer(1);
    let calls = inner.calls();
    let mut service = breaker.layer(inner.strict());
    trip(&mut service).await;
    tokio::time::sleep(secs(30)).await;
    let mut hanging = Vec::new();
    for _ in 0..3 {
        hanging.push(tokio::spawn(begin(&mut service, 0).await));
        assert_eq!(handle.state(), State::HalfOpen);
        tokio::time::sleep(secs(10)).await;
    }
    // Three places were lost: the service hangs.
    let error = begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(open(&error).remaining(), Some(secs(30)));
    assert_eq!((handle.state(), calls.count()), (State::Open, 4));
    tokio::time::sleep(secs(30)).await;
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(handle.state(), State::Closed);
    hanging.iter().for_each(|call| call.abort());
}

/// R38, Behaviours 5 and 6: neither a success nor a failure of a call that was let through before a
/// transition changes the state after it; a dropped probe gives its place back once.
#[tokio::test(start_paused = true)]
async fn stale_outcomes_and_dropped_probes() {
    let breaker = failing().half_open_successes(number(2));
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(40), 1)
        .error_after(secs(50), "stale")
        .error("no")
        .never()
        .never()
        .answer(1)
        .answer(1);
    let mut service = breaker.layer(inner.strict());
    let success = tokio::spawn(begin(&mut service, 0).await);
    let failure = tokio::spawn(begin(&mut service, 0).await);
    trip(&mut service).await;
    tokio::time::sleep(secs(30)).await;
    for _ in 0..2 {
        let probe = begin(&mut service, 0).await;
        open(&begin(&mut service, 0).await.await.unwrap_err());
        drop(probe);
    }
    success.await.unwrap().unwrap();
    assert_eq!(
        (handle.state(), handle.snapshot().probes),
        (State::HalfOpen, 0)
    );
    failure.await.unwrap().unwrap_err();
    assert_eq!(handle.state(), State::HalfOpen);
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(handle.state(), State::HalfOpen);
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(handle.state(), State::Closed);
}

async fn cooldowns<S>(service: &mut S, handle: &CircuitBreakerHandle, trips: u32) -> Vec<u64>
where
    S: Service<u32, Error = BoxError, Response = u32>,
{
    let mut cooldowns = Vec::new();
    for _ in 0..trips {
        trip(service).await;
        let cooldown = handle.snapshot().time_until_probe.expect("it is open");
        cooldowns.push(cooldown.as_secs());
        tokio::time::sleep(cooldown).await;
    }
    cooldowns
}

/// R38b: a growing cooldown doubles with each trip up to its cap, and starts over once the circuit
/// has stayed closed for as long as it was open last.
#[tokio::test(start_paused = true)]
async fn the_cooldown_grows_and_is_forgotten() {
    let breaker = failing()
        .cooldown(secs(10))
        .growing_cooldown()
        .max_cooldown(secs(60));
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .times(5, || Step::error("no"))
        .answer(1)
        .error("no")
        .answer(1)
        .error("no");
    let mut service = breaker.layer(inner.strict());
    assert_eq!(
        cooldowns(&mut service, &handle, 5).await,
        [10, 20, 40, 60, 60]
    );
    begin(&mut service, 0).await.await.unwrap();
    tokio::time::sleep(secs(59)).await;
    assert_eq!(cooldowns(&mut service, &handle, 1).await, [60]);
    begin(&mut service, 0).await.await.unwrap();
    tokio::time::sleep(secs(60)).await;
    assert_eq!(cooldowns(&mut service, &handle, 1).await, [10]);
}

/// R38b, Behaviour 22 in part: the cooldown is what the failure asks for, within the longest.
#[tokio::test(start_paused = true)]
async fn the_cooldown_is_what_the_service_asks_for() {
    let breaker = failing()
        .max_cooldown(secs(100))
        .retry_after(|result: &Result<u32, &str>| match result {
            Err(text) => text.parse().map(Duration::from_secs).ok(),
            Ok(_) => Some(secs(1)),
        });
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("7")
        .error("no number")
        .error("86400")
        .error("0")
        .answer(1);
    let service = breaker.layer(inner.strict());
    let mut service = service.map_err(|error| error);
    // To ask for no rest at all is not to ask.
    assert_eq!(cooldowns(&mut service, &handle, 4).await, [7, 30, 100, 30]);
    begin(&mut service, 0).await.await.unwrap();
    assert_eq!(handle.state(), State::Closed);
}

/// R38b: two circuits of the same seed shorten their cooldowns alike, others do not; none becomes
/// longer.
#[tokio::test(start_paused = true)]
async fn the_cooldown_jitters_by_its_seed() {
    let mut all = Vec::new();
    for seed in [1, 1, 2] {
        let breaker = failing()
            .cooldown(secs(1000))
            .cooldown_jitter(Ratio::HALF)
            .seed(seed);
        let handle = breaker.handle();
        let inner = Scripted::<u32, u32>::new().times(20, || Step::error("no"));
        let mut service = breaker.layer(inner.strict());
        all.push(cooldowns(&mut service, &handle, 20).await);
    }
    assert_eq!(all[0], all[1]);
    assert_ne!(all[0], all[2]);
    assert!(
        all[0]
            .iter()
            .all(|cooldown| (500..=1000).contains(cooldown))
    );
    assert!(all[0].iter().max() > all[0].iter().min());
}

/// R38b: after closing, the share of calls that goes through grows with the time.
#[tokio::test(start_paused = true)]
async fn the_load_grows_after_closing() {
    let breaker = failing().ramp(secs(100));
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .otherwise(|| Step::answer(1));
    let mut service = breaker.layer(inner.strict());
    // Nothing has to recover yet.
    trip(&mut service).await;
    tokio::time::sleep(secs(30)).await;
    begin(&mut service, 0).await.await.unwrap();
    let mut shares = Vec::new();
    for _ in 0..12 {
        let mut through = 0;
        for _ in 0..100 {
            match begin(&mut service, 0).await.await {
                Ok(_) => through += 1,
                Err(error) => {
                    let left = open(&error).remaining().expect("it is known");
                    assert!(left <= secs(100), "{left:?}");
                }
            }
        }
        assert_eq!(handle.state(), State::Closed);
        shares.push(through);
        tokio::time::sleep(secs(10)).await;
    }
    assert_eq!(shares, [11, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 100]);
}

/// R38: a circuit that opens while its load grows does so at the first failure, and its ramp starts
/// over.
#[tokio::test(start_paused = true)]
async fn a_failure_ends_the_ramp() {
    let breaker = failing().ramp(secs(100));
    let handle = breaker.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .answer(1)
        .error("no")
        .otherwise(|| Step::answer(1));
    let mut service = breaker.layer(inner.strict());
    trip(&mut service).await;
    tokio::time::sleep(secs(30)).await;
    begin(&mut service, 0).await.await.unwrap();
    trip(&mut service).await;
    assert_eq!(handle.state(), State::Open);
    handle.reset();
    // By hand it is closed for good.
    for _ in 0..100 {
        begin(&mut service, 0).await.await.unwrap();
    }
}

/// R72 The time left is counted from when the service was asked whether it is ready, as long as the
/// circuit stays open as it was then; else from the call.
#[tokio::test(start_paused = true)]
async fn the_time_left_is_that_of_the_readiness() {
    let breaker = CircuitBreakerLayer::new();
    let handle = breaker.handle();
    let mut service = breaker.layer(Scripted::<u32, u32>::new().answer(1));
    let orders: [(&dyn Fn(), _); 4] = [
        (&|| (), Some(secs(30))),
        (&|| handle.force_open_for(secs(7)), Some(secs(7))),
        (&|| handle.force_open(), None),
        (&|| handle.reset(), Some(secs(0))),
    ];
    for (order, left) in orders {
        handle.force_open_for(secs(30));
        service.ready().await.unwrap();
        tokio::time::sleep(secs(10)).await;
        order();
        // The inner service was not asked, and so is not called.
        let error = service.call(0).await.unwrap_err();
        assert_eq!(open(&error).remaining(), left);
    }
    handle.force_open_for(secs(30));
    tokio::time::sleep(secs(10)).await;
    let error = service.call(0).await.unwrap_err();
    assert_eq!(open(&error).remaining(), Some(secs(20)));
}
