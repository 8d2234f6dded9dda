//! The closed circuit lets calls through without a lock, also while it counts failures.

use std::sync::Arc;

use super::{
    CAUSE, CLOSED, COOLDOWN, Circuit, START, circuit, number, open_circuit, packed_state::State,
    settings::Window,
};
use crate::{
    ratio::Ratio,
    run::{explore, spawn},
};

/// Of several failures that reach the threshold at once, one opens the circuit.
pub fn failures_open_once() {
    explore(|| {
        let circuit = circuit(|settings| settings.failure_threshold = Some(1));
        let [call, second, third] = [(); 3].map(|()| circuit.admitted(START));
        let threads = [second, third].map(|call| {
            let circuit = Arc::clone(&circuit);
            spawn(move || circuit.failed(&call, START))
        });
        let mine = circuit.failed(&call, START);
        let transitions = threads.map(|thread| thread.join());
        let opened = transitions.into_iter().chain([mine]).flatten();
        assert_eq!(
            opened.collect::<Vec<_>>(),
            [(State::Open, Some(COOLDOWN))],
            "exactly one"
        );
        let seen = circuit.snapshot(START);
        assert_eq!(seen.state, State::Open);
        assert_eq!(seen.opened, 1);
        assert_eq!(seen.failures_in_a_row, 0);
        assert_eq!(circuit.word().generation(), 1);
    });
}

/// None of several failures is lost, and none is counted twice.
pub fn each_failure_counts_once() {
    explore(|| {
        let circuit = circuit(|settings| settings.failure_threshold = Some(3));
        let [call, second, third] = [(); 3].map(|()| circuit.admitted(START));
        let threads = [second, third].map(|call| {
            let circuit = Arc::clone(&circuit);
            spawn(move || circuit.failed(&call, START))
        });
        assert_eq!(circuit.failed(&call, START), None);
        for thread in threads {
            assert_eq!(thread.join(), None);
        }
        assert_eq!(circuit.word().failures(), 3);
        assert_eq!(circuit.state(), State::Closed);
        // And the next one is one too many.
        let call = circuit.admitted(START);
        assert!(circuit.failed(&call, START).is_some());
    });
}

/// A success comes before, between or after two failures, of which the second opens the circuit if
/// nothing comes between.
pub fn a_success_comes_before_between_or_after() {
    let seen = explore(|| {
        let circuit = circuit(|settings| settings.failure_threshold = Some(1));
        let [call, first, second] = [(); 3].map(|()| circuit.admitted(START));
        let failing = [first, second].map(|call| {
            let circuit = Arc::clone(&circuit);
            spawn(move || circuit.failed(&call, START).is_some())
        });
        assert_eq!(circuit.succeeded(&call, START), None);
        let opened = failing.map(|thread| thread.join());
        let opened = opened.into_iter().filter(|opened| *opened).count();
        let word = circuit.word();
        assert_eq!(word.generation() as usize, opened);
        assert_eq!(word.state() == State::Open, opened == 1);
        (opened, word.failures())
    });
    assert_eq!(seen, [(0, 1), (1, 0)].into());
}

/// What was counted before a circuit opened does not come back: a success that began to count then
/// gives way.
pub fn a_success_does_not_undo_an_opening() {
    let seen = explore(|| {
        let circuit = circuit(|settings| settings.failure_threshold = Some(1));
        let [first, second, succeeding] = [(); 3].map(|()| circuit.admitted(START));
        assert_eq!(circuit.failed(&first, START), None);
        let other = Arc::clone(&circuit);
        let success = spawn(move || other.succeeded(&succeeding, START));
        let opened = circuit.failed(&second, START).is_some();
        assert_eq!(success.join(), None);
        let word = circuit.word();
        assert_eq!(word.state() == State::Open, opened);
        (opened, word.generation(), word.failures())
    });
    assert_eq!(seen, [(false, 0, 1), (true, 1, 0)].into());
}

/// A window holds each outcome once, and one of them opens.
pub fn a_window_holds_each_outcome_once() {
    explore(|| {
        let circuit = circuit(|settings| {
            settings.failure_rate = Some(Ratio::HALF);
            settings.window = Window::calls(number(8));
            settings.minimum_calls = number(3);
        });
        let failing = [(); 2].map(|()| {
            let circuit = Arc::clone(&circuit);
            spawn(move || {
                let call = circuit.admitted(START);
                circuit.failed(&call, START)
            })
        });
        let call = circuit.admitted(START);
        let mine = circuit.succeeded(&call, START);
        let transitions = failing.map(|thread| thread.join());
        assert_eq!(transitions.iter().chain([&mine]).flatten().count(), 1);
        let seen = circuit.snapshot(START);
        assert_eq!((seen.state, seen.opened), (State::Open, 1));
        assert_eq!((seen.calls, seen.failures), (3, 2));
    });
}

/// Of the calls in flight each is known from its beginning to its end.
pub fn calls_in_flight_are_known() {
    explore(|| {
        let circuit = circuit(|settings| {
            settings.slow_call_rate = Some(Ratio::ALL);
            settings.slow_call_duration = COOLDOWN;
            settings.count_in_flight = true;
        });
        let later = COOLDOWN * 9;
        let threads = [false, true].map(|ends| {
            let circuit = Arc::clone(&circuit);
            spawn(move || {
                // What begins in the circuit's first moment is not known to it.
                let call = circuit.admitted(START + COOLDOWN / 10);
                if ends {
                    circuit.dropped(&call, COOLDOWN);
                }
            })
        });
        for thread in threads {
            thread.join();
        }
        assert_eq!(circuit.snapshot(later).slow_in_flight, 1);
    });
}

/// An outcome of before changes nothing once the circuit has opened, neither then nor after it
/// closed again.
pub fn a_stale_outcome_changes_nothing() {
    for outcome in [Circuit::succeeded, Circuit::failed] {
        explore(move || {
            let circuit = circuit(|settings| settings.failure_threshold = Some(1));
            let [stale, first, second] = [(); 3].map(|()| circuit.admitted(START));
            assert_eq!(circuit.failed(&first, START), None);
            assert!(circuit.failed(&second, START).is_some());
            let other = Arc::clone(&circuit);
            let late = spawn(move || outcome(&other, &stale, COOLDOWN));
            let probe = circuit.asked(COOLDOWN);
            assert_eq!(probe.transition.map(|t| t.to), Some(State::HalfOpen));
            let probe = probe.admission.unwrap();
            let closed = circuit.succeeded(&probe, COOLDOWN);
            assert_eq!(closed, CLOSED);
            let call = circuit.admitted(COOLDOWN);
            assert_eq!(circuit.failed(&call, COOLDOWN), None);
            assert_eq!(late.join(), None);
            let seen = circuit.snapshot(COOLDOWN);
            assert_eq!((seen.state, seen.opened), (State::Closed, 1));
            assert_eq!(seen.failures_in_a_row, 1);
            assert_eq!(circuit.word().generation(), 3);
        });
    }
}

/// An outcome that races with the opening counts before it or not at all: the circuit opens once,
/// for the first.
pub fn a_stale_failure_does_not_prolong_the_cooldown() {
    let seen = explore(|| {
        let circuit = circuit(|settings| settings.failure_threshold = Some(0));
        let [mine, late] = [(); 2].map(|()| circuit.admitted(START));
        let other = Arc::clone(&circuit);
        let later = START + COOLDOWN / 2;
        let thread = spawn(move || other.failed(&late, later).is_some());
        let opened = circuit.failed(&mine, START).is_some();
        let opened_later = thread.join();
        assert!(opened != opened_later);
        let from = if opened { START } else { later };
        let left = circuit.snapshot(later).time_until_probe;
        assert_eq!(left, Some(from + COOLDOWN - later));
        assert_eq!(circuit.snapshot(later).opened, 1);
        opened
    });
    assert_eq!(seen.len(), 2);
}

/// A call that comes while the circuit opens is let through, and then it is of the time before, or
/// is rejected.
pub fn a_call_is_let_through_or_rejected() {
    let seen = explore(|| {
        let circuit = circuit(|settings| settings.failure_threshold = Some(0));
        let other = Arc::clone(&circuit);
        let call = circuit.admitted(START);
        let failing = spawn(move || other.failed(&call, START));
        let answer = circuit.asked(START);
        assert!(answer.transition.is_none());
        assert!(failing.join().is_some());
        if let Ok(call) = &answer.admission {
            assert!(!circuit.is_current(call));
            assert_eq!(circuit.succeeded(call, START), None);
            assert_eq!(circuit.failed(call, START), None);
        }
        // A call that knows that it is open is rejected.
        assert!(circuit.asked(START).admission.is_err());
        assert_eq!(circuit.word().generation(), 1);
        answer.admission.is_ok()
    });
    assert_eq!(seen.len(), 2);
}

/// Once it has closed with a ramp, no call passes the ramp by.
pub fn the_ramp_holds_from_the_first_call() {
    let seen = explore(|| {
        let circuit = open_circuit(|settings| settings.ramp = Some(COOLDOWN));
        let probe = circuit.admitted(COOLDOWN);
        let threads = [(); 2].map(|()| {
            let circuit = Arc::clone(&circuit);
            spawn(move || circuit.asked(COOLDOWN).admission.is_ok())
        });
        let closed = circuit.succeeded(&probe, COOLDOWN);
        assert_eq!(closed, CLOSED);
        let admitted = threads.map(|thread| thread.join());
        admitted.into_iter().filter(|admitted| *admitted).count()
    });
    // At once the first call goes through and no other.
    assert_eq!(seen, [0, 1].into());
}

/// A rejected call learns why: no schedule shows an open circuit without its cause.
pub fn an_open_circuit_has_its_cause() {
    let seen = explore(|| {
        let circuit = circuit(|settings| settings.failure_threshold = Some(0));
        let call = circuit.admitted(START);
        let other = Arc::clone(&circuit);
        let failing = spawn(move || other.failed(&call, START));
        let answer = circuit.asked(START);
        let rejected = answer.admission.is_err();
        if let Err(rejection) = answer.admission {
            assert_eq!(rejection.facts.cause.as_deref(), Some(CAUSE));
        }
        assert_eq!(failing.join(), Some((State::Open, Some(COOLDOWN))));
        let seen = circuit.snapshot(START);
        assert_eq!(seen.cause.as_deref(), Some(CAUSE));
        rejected
    });
    assert_eq!(seen, [false, true].into());
}
