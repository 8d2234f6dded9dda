//! Tests of the state machine, rule by rule.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::circuit_breaker::settings::{Window, WindowSize};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn circuit(settings: Settings) -> Circuit {
    Circuit::new(settings, 0)
}

fn consecutive(failures: u32) -> Settings {
    Settings {
        failure_threshold: Some(failures),
        cooldown: secs(1),
        ..Settings::default()
    }
}

impl Circuit {
    fn pass(&self, now: Duration) -> Admission {
        self.admit(false, || now).admission.unwrap()
    }

    fn rejects_call(&self, now: Duration) -> bool {
        self.admit(false, || now).admission.is_err()
    }

    fn end(&self, admission: Admission, outcome: Outcome, now: Duration) -> Option<Summary> {
        self.settle(&admission, outcome, None, now)
    }

    /// Records the outcome, and opens the circuit if that is its effect.
    fn settle(
        &self,
        admission: &Admission,
        outcome: Outcome,
        requested: Option<Duration>,
        now: Duration,
    ) -> Option<Summary> {
        let effect = self.record(admission, outcome, requested, Streak::Ends, || now)?;
        self.carry_out(effect, now)
    }

    /// Carries out the effect of an outcome.
    fn carry_out(&self, effect: OutcomeEffect, now: Duration) -> Option<Summary> {
        let transition = match effect {
            OutcomeEffect::Closed(transition) => transition,
            OutcomeEffect::Trips(trip) => {
                let cause = trip.reason.text().unwrap_or_else(|| "no".into());
                self.open_for(trip, cause, now)?
            }
        };
        Some(summary(&transition))
    }
}

/// The new state, and the cooldown of an open one.
type Summary = (State, Option<Duration>);

fn summary(transition: &StateChange) -> Summary {
    (transition.to, transition.cooldown)
}

fn opened(cooldown: Duration) -> Option<Summary> {
    Some((State::Open, Some(cooldown)))
}

const CLOSED: Option<Summary> = Some((State::Closed, None));

proptest! {
    /// The share of calls that a ramp admits is the elapsed share of the ramp, exact to one call.
    #[test]
    fn a_ramp_lets_its_share_through(ramp in 1..100_u64, calls in 1..300_u32, percent in 0..100_u64) {
        let circuit = circuit(Settings { ramp: Some(secs(ramp)), ..consecutive(0) });
        let call = circuit.pass(Duration::ZERO);
        circuit.end(call, Outcome::Failure, Duration::ZERO);
        let closed = secs(1);
        let probe = circuit.pass(closed);
        prop_assert_eq!(circuit.end(probe, Outcome::Success, closed), CLOSED);
        let now = closed + secs(ramp) * percent as u32 / 100;
        let through = (0..calls).filter(|_| !circuit.rejects_call(now)).count() as f64;
        let share = (percent as f64 / 100.0).max(0.1);
        // The first call is always admitted.
        let expected = 1.0 + share * f64::from(calls);
        prop_assert!(through <= expected + 1e-6, "{through} of {expected}");
        prop_assert!(through + 1.0 > (share * f64::from(calls)).min(f64::from(calls)) - 1e-6);
        prop_assert!((0..50).all(|_| !circuit.rejects_call(closed + secs(ramp))));
    }
}

#[test]
fn generations_wrap_around() {
    let circuit = circuit(consecutive(0));
    let last = PackedState::new(State::Closed, u32::MAX, 0, 0);
    circuit.word.store(last.0, Ordering::Release);
    let old = circuit.pass(Duration::ZERO);
    let new = circuit.pass(Duration::ZERO);
    let ended = circuit.end(new, Outcome::Failure, Duration::ZERO);
    assert_eq!(ended, opened(secs(1)));
    assert_eq!(circuit.word().generation(), 0);
    assert_eq!(circuit.end(old, Outcome::Failure, Duration::ZERO), None);
}

#[test]
fn the_greatest_threshold_never_opens() {
    let circuit = circuit(consecutive(u32::MAX));
    let word = PackedState::new(State::Closed, 0, u32::MAX - 1, 0);
    circuit.word.store(word.0, Ordering::Release);
    for _ in 0..3 {
        let call = circuit.pass(Duration::ZERO);
        assert_eq!(circuit.end(call, Outcome::Failure, Duration::ZERO), None);
    }
    assert_eq!(circuit.word().failures(), u32::MAX);
}

#[test]
fn counts_of_many_threads_add_up() {
    let circuit = circuit(consecutive(2000));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let call = circuit.pass(Duration::ZERO);
                    assert_eq!(circuit.end(call, Outcome::Failure, Duration::ZERO), None);
                }
            });
        }
    });
    assert_eq!(circuit.word().failures(), 2000);
    let call = circuit.pass(Duration::ZERO);
    assert!(
        circuit
            .end(call, Outcome::Failure, Duration::ZERO)
            .is_some()
    );
}

#[test]
fn a_probe_gives_back_its_own_place_only() {
    let settings = Settings {
        half_open_probes: number(3),
        ..consecutive(0)
    };
    let circuit = circuit(settings);
    let call = circuit.pass(secs(9));
    assert!(circuit.end(call, Outcome::Failure, secs(9)).is_some());
    let now = secs(10);
    let [first, second, third] = [(); 3].map(|()| circuit.pass(now));
    assert!(circuit.rejects_call(now));
    assert!(
        [&first, &second, &third]
            .into_iter()
            .all(Admission::is_probe)
    );
    assert_eq!(circuit.end(second, Outcome::Ignored, now), None);
    drop(circuit.pass(now));
    assert!(circuit.rejects_call(now));
}

#[test]
fn calls_in_flight_open_once_they_are_slow() {
    let settings = Settings {
        slow_call_rate: Some(Ratio::HALF),
        slow_call_duration: secs(16),
        count_in_flight: true,
        minimum_calls: number(4),
        ..consecutive(100)
    };
    let circuit = circuit(settings);
    let hanging = [(); 3].map(|()| circuit.pass(Duration::ZERO));
    let fast = [(); 3].map(|()| circuit.pass(Duration::ZERO));
    for call in fast {
        assert_eq!(circuit.end(call, Outcome::Success, secs(1)), None);
    }
    drop(circuit.pass(secs(15)));
    assert_eq!(circuit.snapshot(secs(15)).slow_in_flight, 0);
    let answer = circuit.admit(false, || secs(18));
    assert!(answer.admission.is_err());
    assert_eq!(answer.transition.map(|t| summary(&t)), opened(secs(1)));
    // They belong to an older generation.
    for call in hanging {
        assert_eq!(circuit.end(call, Outcome::Failure, secs(19)), None);
    }
    assert_eq!(circuit.snapshot(secs(19)).slow_in_flight, 0);
}

/// A call counts either in flight or in the window, never in both.
#[test]
fn a_slow_call_is_counted_once() {
    let settings = Settings {
        slow_call_rate: Some(Ratio::ALL),
        slow_call_duration: secs(16),
        count_in_flight: true,
        minimum_calls: number(4),
        ..consecutive(100)
    };
    let circuit = circuit(settings);
    let calls = [(); 3].map(|()| circuit.pass(Duration::ZERO));
    let now = secs(20);
    assert_eq!(circuit.snapshot(now).slow_in_flight, 3);
    for (ended, call) in (1..).zip(calls) {
        assert_eq!(circuit.end(call, Outcome::Success, now), None);
        let snapshot = circuit.snapshot(now);
        assert_eq!(
            (snapshot.slow_calls, snapshot.slow_in_flight),
            (ended, 3 - ended)
        );
        assert_eq!(snapshot.slow_call_rate(), Some(1.0));
    }
    // An ignored slow call does not count.
    let ignored = circuit.pass(now);
    assert_eq!(circuit.snapshot(secs(40)).slow_in_flight, 1);
    // The fourth slow call opens the circuit; the ignored call is not one of them.
    assert_eq!(circuit.end(ignored, Outcome::Ignored, now), None);
    assert_eq!(circuit.snapshot(secs(40)).slow_in_flight, 0);
}

#[test]
fn reserved_places_begin_later() {
    let settings = Settings {
        slow_call_rate: Some(Ratio::HALF),
        slow_call_duration: secs(2),
        minimum_calls: number(1),
        ..consecutive(100)
    };
    for count_in_flight in [false, true] {
        let circuit = circuit(Settings {
            count_in_flight,
            ..settings
        });
        let mut call = circuit.admit(true, || Duration::ZERO).admission.unwrap();
        circuit.begin(&mut call, || secs(10));
        assert_eq!(circuit.end(call, Outcome::Success, secs(11)), None);
        let mut call = circuit.admit(true, || secs(11)).admission.unwrap();
        circuit.begin(&mut call, || secs(20));
        let ended = circuit.end(call, Outcome::Success, secs(22));
        assert_eq!(ended, opened(secs(1)));
    }
}

#[test]
fn jitter_shortens_the_cooldown_by_up_to_its_share() {
    let settings = Settings {
        cooldown: secs(100),
        cooldown_jitter: Some(Ratio::percent(20).unwrap()),
        ..consecutive(0)
    };
    let cooldowns = |seed| -> Vec<Duration> {
        let circuit = Circuit::new(settings, seed);
        let mut now = Duration::ZERO;
        (0..200)
            .map(|_| {
                now += secs(1000);
                let call = circuit.pass(now);
                match circuit.end(call, Outcome::Failure, now) {
                    Some((State::Open, Some(cooldown))) => cooldown,
                    other => panic!("{other:?}"),
                }
            })
            .collect()
    };
    let some = cooldowns(1);
    assert!(
        some.iter()
            .all(|cooldown| (secs(80)..=secs(100)).contains(cooldown))
    );
    let (least, most) = (some.iter().min().unwrap(), some.iter().max().unwrap());
    assert!(*least < secs(82) && *most > secs(98), "{least:?} {most:?}");
    assert_eq!(some, cooldowns(1));
    assert_ne!(some, cooldowns(2));
}

#[test]
fn what_matters_is_kept() {
    let circuit = circuit(consecutive(0));
    assert!(!circuit.must_be_kept(Duration::ZERO));
    let call = circuit.pass(Duration::ZERO);
    assert!(
        circuit
            .end(call, Outcome::Failure, Duration::ZERO)
            .is_some()
    );
    assert!(circuit.must_be_kept(Duration::ZERO));
    assert!(!circuit.must_be_kept(secs(1)));
    for mode in [
        Mode::ForcedOpen,
        Mode::ForcedClosed,
        Mode::Disabled,
        Mode::ObserveOnly,
    ] {
        circuit.set_mode(mode, secs(2));
        assert!(circuit.must_be_kept(secs(2)));
    }
    circuit.set_mode(Mode::Automatic, secs(2));
    assert!(!circuit.must_be_kept(secs(2)));
}

#[test]
fn other_settings_leave_the_calls_in_flight_known() {
    let settings = Settings {
        slow_call_rate: Some(Ratio::ALL),
        slow_call_duration: secs(16),
        count_in_flight: true,
        ..consecutive(100)
    };
    let circuit = circuit(settings);
    let calls = [(); 2].map(|()| circuit.pass(Duration::ZERO));
    let slow_in_flight = |at| circuit.snapshot(secs(at)).slow_in_flight;
    assert_eq!(slow_in_flight(40), 2);
    circuit.change_settings(|settings| settings.cooldown = secs(7), secs(41));
    assert_eq!(slow_in_flight(41), 2);
    // The slow-call duration changed: earlier calls in flight are unknown now.
    circuit.change_settings(|settings| settings.slow_call_duration = secs(8), secs(42));
    assert_eq!(slow_in_flight(80), 0);
    for call in calls {
        assert_eq!(circuit.end(call, Outcome::Ignored, secs(80)), None);
    }
    let call = circuit.pass(secs(80));
    assert_eq!(slow_in_flight(100), 1);
    circuit.change_settings(|settings| settings.count_in_flight = false, secs(101));
    assert_eq!(slow_in_flight(102), 0);
    assert_eq!(circuit.end(call, Outcome::Ignored, secs(103)), None);
}

/// The end of a call that began untimed does not end another call.
#[test]
fn calls_in_flight_can_be_counted_later() {
    let settings = Settings {
        slow_call_rate: Some(Ratio::ALL),
        slow_call_duration: secs(16),
        ..consecutive(100)
    };
    let circuit = circuit(Settings {
        slow_call_rate: None,
        ..settings
    });
    let untimed = circuit.pass(Duration::ZERO);
    circuit.change_settings(
        |old| {
            *old = Settings {
                count_in_flight: true,
                ..settings
            }
        },
        Duration::ZERO,
    );
    // One call in each bucket.
    let calls: Vec<_> = (1..=17).map(|at| circuit.pass(secs(at))).collect();
    assert_eq!(circuit.end(untimed, Outcome::Ignored, secs(17)), None);
    assert_eq!(circuit.snapshot(secs(40)).slow_in_flight, 17);
    drop(calls);
}

/// A slot that was reserved before a transition is not among the calls in flight.
#[test]
fn a_stale_reservation_is_not_tracked() {
    let settings = Settings {
        slow_call_rate: Some(Ratio::ALL),
        slow_call_duration: secs(1),
        count_in_flight: true,
        ..consecutive(100)
    };
    let circuit = circuit(settings);
    let mut stale = circuit.admit(true, || Duration::ZERO).admission.unwrap();
    let mut fresh = circuit.admit(true, || Duration::ZERO).admission.unwrap();
    circuit.begin(&mut fresh, || Duration::ZERO);
    assert_eq!(circuit.snapshot(secs(9)).slow_in_flight, 1);
    circuit.set_mode(Mode::Automatic, secs(9));
    circuit.begin(&mut stale, || secs(9));
    assert_eq!(circuit.snapshot(secs(19)).slow_in_flight, 0);
}

/// A ramp does not affect reservations.
#[test]
fn places_are_reserved_in_spite_of_a_ramp() {
    let circuit = circuit(Settings {
        ramp: Some(secs(100)),
        ..consecutive(0)
    });
    let call = circuit.pass(Duration::ZERO);
    assert!(
        circuit
            .end(call, Outcome::Failure, Duration::ZERO)
            .is_some()
    );
    let probe = circuit.pass(secs(1));
    assert_eq!(circuit.end(probe, Outcome::Success, secs(1)), CLOSED);
    assert!((0..10).all(|_| circuit.admit(true, || secs(1)).admission.is_ok()));
    assert!(!circuit.rejects_call(secs(1)));
    assert!(circuit.rejects_call(secs(1)));
}

/// The call that finds all probes hanging is rejected, even with a cooldown of zero.
#[test]
fn whoever_finds_that_probes_hang_is_rejected() {
    let circuit = circuit(Settings {
        cooldown: Duration::ZERO,
        ..consecutive(0)
    });
    let call = circuit.pass(Duration::ZERO);
    assert!(
        circuit
            .end(call, Outcome::Failure, Duration::ZERO)
            .is_some()
    );
    for at in 0..3 {
        assert!(circuit.pass(secs(at)).is_probe());
    }
    let answer = circuit.admit(false, || secs(3));
    assert!(answer.admission.is_err());
    assert_eq!(
        answer.transition.map(|t| summary(&t)),
        opened(Duration::ZERO)
    );
    assert!(circuit.pass(secs(3)).is_probe());
}

mod model;
