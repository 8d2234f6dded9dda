//! Property test: the circuit behaves like a plain model, for random sequences of actions.

mod reference;

use proptest::prelude::*;

use self::reference::{Following, Model, Passed};
use super::*;

#[derive(Clone, Debug)]
enum Action {
    Call,
    End(usize, Outcome, Option<u64>),
    /// The head of a call that goes on.
    Head(usize, Outcome, Option<u64>),
    /// A call that went on has ended, with or without a failure.
    Late(usize, bool),
    Wait(u64),
    Set(Mode),
    ForceOpenFor(u64),
    ProbeNow,
    Change(Settings),
}

fn settings() -> impl Strategy<Value = Settings> {
    let rate = || proptest::option::of((1..=100_u32).prop_map(|p| Ratio::percent(p).unwrap()));
    let trip = (
        proptest::option::of(0..6_u32),
        rate(),
        rate(),
        1..12_u32,
        1..8_u32,
    );
    let recovery = (
        0..10_u64,
        any::<bool>(),
        1..60_u64,
        1..4_u32,
        1..4_u32,
        1..4_u32,
        proptest::option::of(0..10_u64),
    );
    (trip, recovery).prop_map(|(trip, recovery)| Settings {
        failure_threshold: trip.0,
        failure_rate: trip.1,
        slow_call_rate: trip.2,
        slow_call_duration: secs(5),
        window: Window::calls(number(trip.3)),
        minimum_calls: number(trip.4),
        cooldown: secs(recovery.0),
        growing: recovery.1,
        max_cooldown: secs(recovery.2),
        half_open_probes: number(recovery.3),
        half_open_successes: number(recovery.4),
        half_open_failures: number(recovery.5),
        probe_timeout: recovery.6.map(secs),
        ..Settings::default()
    })
}

fn action() -> impl Strategy<Value = Action> {
    let outcome = || {
        prop_oneof![
            4 => Just(Outcome::Failure),
            3 => Just(Outcome::Success),
            1 => Just(Outcome::Ignored)
        ]
    };
    let requested = || prop_oneof![5 => Just(None), 1 => (0..100_u64).prop_map(Some)];
    let mode = prop_oneof![
        4 => Just(Mode::Automatic),
        1 => Just(Mode::ForcedOpen),
        1 => Just(Mode::ForcedClosed),
        1 => Just(Mode::Disabled),
        2 => Just(Mode::ObserveOnly),
    ];
    prop_oneof![
        16 => Just(Action::Call),
        8 => (any::<usize>(), outcome(), requested()).prop_map(|(call, outcome, requested)| Action::End(call, outcome, requested)),
        8 => (any::<usize>(), outcome(), requested()).prop_map(|(call, outcome, requested)| Action::Head(call, outcome, requested)),
        6 => any::<(usize, bool)>().prop_map(|(call, failed)| Action::Late(call, failed)),
        8 => (0..12_u64).prop_map(Action::Wait),
        1 => mode.prop_map(Action::Set),
        1 => (0..20_u64).prop_map(Action::ForceOpenFor),
        1 => Just(Action::ProbeNow),
        1 => settings().prop_map(Action::Change),
    ]
}

proptest! {
    #[test]
    fn equals_the_model(
        first in settings(),
        actions in proptest::collection::vec(action(), 1..300),
    ) {
        let circuit = circuit(first);
        let mut model = Model::new(first);
        let mut now = Duration::ZERO;
        let mut under_way: Vec<(usize, Admission, Passed, bool, Duration)> = Vec::new();
        let mut following: Vec<(LateAdmission, Following)> = Vec::new();
        for (number, action) in actions.into_iter().enumerate() {
            match action {
                Action::Call => {
                    let rejects = circuit.rejects(|| now).is_some();
                    let answer = circuit.admit(false, || now);
                    let before = model.generation;
                    // An admitted call was not predicted to be rejected.
                    prop_assert!(!rejects || answer.admission.is_err());
                    let expected = model.admit(number, now);
                    prop_assert_eq!(answer.transition.is_some(), before != model.generation);
                    prop_assert_eq!(answer.admission.is_ok(), expected.is_some());
                    if let (Ok(admission), Some(passed)) = (answer.admission, expected) {
                        prop_assert_eq!(admission.is_uncounted(), passed == Passed::Uncounted);
                        let timed = model.settings.slow_call_rate.is_some() && model.mode != Mode::Disabled;
                        under_way.push((number, admission, passed, timed || model.state == State::HalfOpen, now));
                    } else {
                        // A circuit that rejects continues to reject, unless it opened just now for
                        // a time of zero.
                        let opened = answer.transition.is_some() && model.cooldown.is_zero();
                        prop_assert!(opened || circuit.rejects(|| now).is_some());
                    }
                }
                Action::End(call, outcome, requested) | Action::Head(call, outcome, requested)
                    if !under_way.is_empty() =>
                {
                    let goes_on = matches!(action, Action::Head(..));
                    let (number, admission, passed, timed, began) = under_way.remove(call % under_way.len());
                    let requested = requested.map(secs);
                    let slow = model.settings.slow_call_rate.is_some() && timed && now - began >= secs(5);
                    let before = model.generation;
                    let transition = if goes_on {
                        let expected = model.record_head(number, passed, (outcome, slow), requested, now);
                        let effect = circuit.record(&admission, outcome, requested, Streak::Stays, || now);
                        let late = admission.after_head(outcome, effect.as_ref());
                        prop_assert_eq!(late.is_some(), expected.is_some());
                        following.extend(late.zip(expected));
                        effect.and_then(|effect| circuit.carry_out(effect, now))
                    } else {
                        model.record(number, passed, (outcome, slow), requested, Streak::Ends, now);
                        circuit.settle(&admission, outcome, requested, now)
                    };
                    prop_assert_eq!(transition.is_some(), before != model.generation);
                    if let Some((State::Open, cooldown)) = transition {
                        prop_assert_eq!(cooldown, Some(model.cooldown));
                    }
                }
                Action::Late(call, failed) if !following.is_empty() => {
                    let (late, expected) = following.remove(call % following.len());
                    let before = model.generation;
                    model.record_late(expected, failed, now);
                    let transition = if failed {
                        let trip = circuit.record_late_failure(late, now);
                        trip.and_then(|trip| circuit.carry_out(OutcomeEffect::Trips(trip), now))
                    } else {
                        circuit.record_late_end(late);
                        None
                    };
                    prop_assert_eq!(transition.is_some(), before != model.generation);
                    if let Some((state, cooldown)) = transition {
                        prop_assert_eq!((state, cooldown), (State::Open, Some(model.cooldown)));
                    }
                }
                Action::End(..) | Action::Head(..) | Action::Late(..) => {}
                Action::Wait(wait) => now += secs(wait),
                Action::Set(mode) => {
                    circuit.set_mode(mode, now);
                    model.set(mode, now);
                }
                Action::ForceOpenFor(time) => {
                    let expected = (model.state != State::Open)
                        .then_some((State::Open, Some(secs(time))));
                    let transition = circuit.force_open_for(secs(time), now);
                    prop_assert_eq!(transition.map(|t| summary(&t)), expected);
                    model.force_open_for(secs(time), now);
                    prop_assert_eq!(circuit.is_forced(now), time > 0);
                }
                Action::ProbeNow => {
                    let transition = circuit.probe_now(now);
                    let was_open = transition.is_some();
                    prop_assert!(transition.is_none_or(|t| t.to == State::HalfOpen && t.manual));
                    prop_assert_eq!(was_open, model.probe_now(now));
                }
                Action::Change(settings) => {
                    let mut settings = settings;
                    if !settings.is_windowed() || !model.settings.is_windowed() {
                        // A new window does not know earlier outcomes, and no window keeps none.
                        model.ended.clear();
                    }
                    // A smaller window forgets outcomes, even if a larger window follows.
                    let kept = model.window().len();
                    model.ended.drain(..model.ended.len() - kept);
                    settings.least_probe_timeout = secs(1);
                    model.settings = settings;
                    let kept = model.window().len();
                    model.ended.drain(..model.ended.len() - kept);
                    circuit.change_settings(|old| *old = settings, now);
                }
            }
            let snapshot = circuit.snapshot(now);
            prop_assert_eq!(snapshot.state, model.state);
            prop_assert_eq!(snapshot.mode, model.mode);
            prop_assert_eq!(snapshot.failures_in_a_row, model.in_a_row);
            prop_assert_eq!(snapshot.rejected, model.rejected);
            if model.settings.is_windowed() {
                let window = model.window();
                prop_assert_eq!(snapshot.calls, window.len() as u64);
                prop_assert_eq!(snapshot.failures, window.iter().filter(|call| call.0).count() as u64);
                prop_assert_eq!(snapshot.slow_calls, window.iter().filter(|call| call.1).count() as u64);
            } else {
                prop_assert_eq!(snapshot.calls, 0);
            }
            let held = model.probes.iter().filter(|(_, expires)| *expires > now).count();
            prop_assert_eq!(snapshot.probes, held);
            prop_assert_eq!((snapshot.probe_successes, snapshot.probe_failures), (model.good, model.bad));
            // An open circuit has a cause, unless it was opened manually.
            prop_assert!(model.state != State::Open || model.forced || snapshot.cause.is_some());
            if let State::Open = model.state {
                let left = model.until.map(|until| until.saturating_sub(now)).filter(|left| !left.is_zero());
                prop_assert_eq!(snapshot.time_until_probe, left);
                prop_assert_eq!(circuit.snapshot(now).time_until_probe, left);
            }
        }
    }
}
