//! Modes and settings are changed by hand while calls come and go.

use std::{sync::Arc, time::Duration};

use super::{
    CLOSED, COOLDOWN, START, circuit,
    mode::Mode,
    number, open_circuit,
    packed_state::{RAMPING, State, TIMED, TRACKED, WINDOWED},
    settings::Window,
    state::NotAdmitted,
};
use crate::{
    ratio::Ratio,
    run::{explore, spawn},
};

/// A circuit that is forced open stays open, whatever outcomes come in and however late a call
/// comes.
pub fn forced_open_stays_open() {
    explore(|| {
        let circuit = circuit(|settings| settings.failure_threshold = Some(0));
        let [failing, succeeding] = [(); 2].map(|()| circuit.admitted(START));
        let other = Arc::clone(&circuit);
        let failure = spawn(move || other.failed(&failing, START).is_some());
        let other = Arc::clone(&circuit);
        let calls = spawn(move || {
            other.succeeded(&succeeding, START);
            // The cooldown of a circuit that opened by itself is over then.
            let answer = other.asked(COOLDOWN * 9);
            answer.admission.ok()
        });
        circuit.set_mode(Mode::ForcedOpen, START);
        let opened = failure.join();
        if let Some(call) = calls.join() {
            assert!(!circuit.is_current(&call));
            assert_eq!(circuit.succeeded(&call, COOLDOWN * 9), None);
        }
        let seen = circuit.snapshot(COOLDOWN * 9);
        assert_eq!((seen.state, seen.mode), (State::Open, Mode::ForcedOpen));
        assert_eq!((seen.probes, seen.time_until_probe), (0, None));
        assert_eq!(seen.opened, u64::from(opened));
        let answer = circuit.asked(COOLDOWN * 9);
        let rejection = NotAdmitted {
            remaining: None,
            facts: Arc::default(),
        };
        assert_eq!(answer.admission.unwrap_err(), rejection);
        assert!(answer.transition.is_none());
    });
}

/// Neither does a probe close it.
pub fn a_probe_does_not_close_what_is_forced_open() {
    let seen = explore(|| {
        let circuit = open_circuit(|_| {});
        let probe = circuit.admitted(COOLDOWN);
        let other = Arc::clone(&circuit);
        let success = spawn(move || other.succeeded(&probe, COOLDOWN));
        circuit.set_mode(Mode::ForcedOpen, COOLDOWN);
        let closed = success.join();
        let seen = circuit.snapshot(COOLDOWN);
        assert_eq!((seen.state, seen.probes), (State::Open, 0));
        assert!(circuit.asked(COOLDOWN * 9).admission.is_err());
        closed == CLOSED
    });
    assert_eq!(seen.len(), 2);
}

/// A circuit that was reset has counted nothing of before.
pub fn a_reset_begins_with_nothing() {
    let seen = explore(|| {
        let circuit = circuit(|settings| settings.failure_threshold = Some(1));
        let threads = [(); 2].map(|()| {
            let circuit = Arc::clone(&circuit);
            let call = circuit.admitted(START);
            spawn(move || circuit.failed(&call, START).is_some())
        });
        circuit.set_mode(Mode::Automatic, START);
        let opened = threads.map(|thread| thread.join());
        let opened = opened.into_iter().filter(|opened| *opened).count();
        let word = circuit.word();
        assert_eq!((word.state(), word.failures()), (State::Closed, 0));
        assert_eq!(word.generation() as usize, opened + 1);
        opened
    });
    assert_eq!(seen, [0, 1].into());
}

/// Of two modes set at once one holds, with the state that goes with it.
pub fn a_mode_goes_with_its_state() {
    let seen = explore(|| {
        let circuit = circuit(|_| {});
        let other = Arc::clone(&circuit);
        let setting = spawn(move || other.set_mode(Mode::ForcedOpen, START));
        circuit.set_mode(Mode::Automatic, START);
        setting.join();
        let seen = circuit.snapshot(START);
        assert_eq!(circuit.word().generation(), 2);
        (seen.mode == Mode::ForcedOpen, seen.state == State::Open)
    });
    assert_eq!(seen, [(false, false), (true, true)].into());
}

/// A circuit that is forced closed counts but never opens, and a disabled circuit does not count.
pub fn failures_do_not_open_what_is_held_closed() {
    for (mode, counted) in [(Mode::ForcedClosed, 1), (Mode::Disabled, 0)] {
        let seen = explore(move || {
            let circuit = circuit(|settings| settings.failure_threshold = Some(0));
            let other = Arc::clone(&circuit);
            let failing = spawn(move || {
                let call = other.asked(START).admission.ok()?;
                Some(other.failed(&call, START).is_some())
            });
            circuit.set_mode(mode, START);
            let opened = failing.join();
            let word = circuit.word();
            assert_eq!(word.state(), State::Closed);
            assert_eq!(circuit.lock().mode, mode);
            (opened.expect("it was never open"), word.failures())
        });
        let possible = [(true, 0), (false, 0), (false, counted)];
        assert_eq!(seen, possible.into());
    }
}

/// A circuit that just observes lets everything through, and what it would have rejected decides
/// nothing.
pub fn an_observer_rejects_nobody() {
    let seen = explore(|| {
        let circuit = circuit(|settings| settings.failure_threshold = Some(0));
        circuit.set_mode(Mode::ObserveOnly, START);
        let call = circuit.admitted(START);
        let other = Arc::clone(&circuit);
        let failing = spawn(move || other.failed(&call, START).is_some());
        let call = circuit.admitted(START);
        let opened = circuit.failed(&call, START).is_some();
        // One of the two, and what was not counted is neither.
        assert!(opened != failing.join());
        let seen = circuit.snapshot(START);
        assert_eq!((seen.state, seen.opened), (State::Open, 1));
        assert!(!call.is_uncounted() || !opened);
        (call.is_uncounted(), opened, seen.rejected)
    });
    let possible = [(false, false, 0), (false, true, 0), (true, false, 1)];
    assert_eq!(seen, possible.into());
}

/// Flags and failures share a word: neither does new settings' flag get lost, nor what is counted
/// meanwhile.
pub fn new_settings_lose_no_count() {
    let seen = explore(|| {
        let circuit = circuit(|settings| settings.failure_threshold = Some(9));
        let [before, failing, succeeding] = [(); 3].map(|()| circuit.admitted(START));
        assert_eq!(circuit.failed(&before, START), None);
        let other = Arc::clone(&circuit);
        let failure = spawn(move || other.failed(&failing, START));
        let other = Arc::clone(&circuit);
        let success = spawn(move || other.succeeded(&succeeding, START));
        circuit.change_settings(|settings| settings.failure_rate = Some(Ratio::ALL), START);
        assert_eq!((failure.join(), success.join()), (None, None));
        let word = circuit.word();
        assert_eq!(word.flags(), WINDOWED);
        assert_eq!((word.state(), word.generation()), (State::Closed, 0));
        word.failures()
    });
    // As the success comes after the failure or before.
    assert_eq!(seen, [0, 1].into());
}

/// Nor does a success bring a flag back that is gone.
pub fn new_settings_lose_no_flag() {
    explore(|| {
        let circuit = circuit(|settings| {
            settings.failure_threshold = Some(9);
            settings.slow_call_rate = Some(Ratio::ALL);
            settings.window = Window::calls(number(8));
        });
        assert_eq!(circuit.word().flags(), WINDOWED | TIMED);
        let [before, succeeding] = [(); 2].map(|()| circuit.admitted(START));
        assert_eq!(circuit.failed(&before, START), None);
        let other = Arc::clone(&circuit);
        let success = spawn(move || other.succeeded(&succeeding, START));
        let other = Arc::clone(&circuit);
        let second = spawn(move || {
            other.change_settings(|settings| settings.count_in_flight = true, START);
        });
        circuit.change_settings(|settings| settings.slow_call_rate = None, START);
        assert_eq!(success.join(), None);
        second.join();
        assert_eq!(circuit.word().flags(), 0);
        assert_eq!(circuit.word().failures(), 0);
        assert_eq!(circuit.snapshot(START).calls, 0);
    });
}

/// Settings that change while a call begins and ends leave no call in flight behind that is not.
pub fn new_settings_leave_no_call_in_flight_behind() {
    let seen = explore(|| {
        let circuit = circuit(|settings| settings.slow_call_rate = Some(Ratio::ALL));
        let other = Arc::clone(&circuit);
        let calling = spawn(move || {
            let mut call = other.admit(true, || COOLDOWN).admission.unwrap();
            other.begin(&mut call, || COOLDOWN);
            other.succeeded(&call, COOLDOWN)
        });
        circuit.change_settings(|settings| settings.count_in_flight = true, START);
        let mine = circuit.admitted(COOLDOWN);
        assert_eq!(calling.join(), None);
        assert!(circuit.word().has(TRACKED));
        let known = circuit.snapshot(COOLDOWN * 9).slow_in_flight;
        circuit.dropped(&mine, COOLDOWN * 9);
        assert_eq!(circuit.snapshot(COOLDOWN * 9).slow_in_flight, 0);
        known
    });
    // A call that began during the change, and is not known, takes another one's place with it.
    assert_eq!(seen, [0, 1].into());
}

/// Settings that change while the circuit closes leave it its ramp.
pub fn new_settings_keep_the_ramp() {
    explore(|| {
        let circuit = open_circuit(|settings| settings.ramp = Some(COOLDOWN));
        let probe = circuit.admitted(COOLDOWN);
        let other = Arc::clone(&circuit);
        let closing = spawn(move || other.succeeded(&probe, COOLDOWN));
        circuit.change_settings(
            |settings| settings.failure_rate = Some(Ratio::ALL),
            COOLDOWN,
        );
        assert_eq!(closing.join(), CLOSED);
        assert_eq!(circuit.word().flags(), WINDOWED | RAMPING);
        assert!(circuit.asked(COOLDOWN).admission.is_ok());
        assert!(circuit.asked(COOLDOWN).admission.is_err());
    });
}

/// The ramp ends once, while settings change and successes are counted.
pub fn the_ramp_ends() {
    explore(|| {
        let circuit = open_circuit(|settings| {
            settings.failure_threshold = Some(9);
            settings.ramp = Some(COOLDOWN);
        });
        let probe = circuit.admitted(COOLDOWN);
        assert!(circuit.succeeded(&probe, COOLDOWN).is_some());
        assert!(circuit.word().has(RAMPING));
        let first = circuit.admitted(COOLDOWN);
        let over = COOLDOWN * 2;
        let other = Arc::clone(&circuit);
        let calling = spawn(move || other.asked(over).admission.is_ok());
        let other = Arc::clone(&circuit);
        let failing = spawn(move || other.failed(&first, over));
        circuit.change_settings(|settings| settings.failure_rate = Some(Ratio::ALL), over);
        assert!(calling.join());
        assert_eq!(failing.join(), None);
        assert_eq!(circuit.word().flags(), WINDOWED);
        assert_eq!(circuit.word().failures(), 1);
    });
}

/// An order to probe meets calls at the end of the cooldown: there is one half-open state, with one
/// probe.
pub fn an_order_to_probe_lets_one_probe_through() {
    let seen = explore(|| {
        let circuit = open_circuit(|_| {});
        let other = Arc::clone(&circuit);
        let ordering = spawn(move || other.probe_now(COOLDOWN).is_some());
        let other = Arc::clone(&circuit);
        let calling = spawn(move || other.asked(COOLDOWN).admission.is_ok());
        let mine = circuit.asked(COOLDOWN);
        let ordered = ordering.join();
        let probes = usize::from(calling.join()) + usize::from(mine.admission.is_ok());
        let seen = circuit.snapshot(COOLDOWN);
        assert_eq!((seen.state, seen.probes), (State::HalfOpen, 1));
        assert_eq!(circuit.word().generation(), 2);
        (ordered, probes)
    });
    assert_eq!(seen, [(false, 1), (true, 1)].into());
}

/// A circuit that is opened by hand for a time stays open until then, whatever comes in.
pub fn a_forced_time_holds() {
    let seen = explore(|| {
        let circuit = circuit(|settings| settings.failure_threshold = Some(0));
        let failing = circuit.admitted(START);
        let other = Arc::clone(&circuit);
        let failure = spawn(move || other.failed(&failing, START).is_some());
        circuit.force_open_for(COOLDOWN * 3, START);
        let opened = failure.join();
        let rejected = circuit.asked(COOLDOWN * 2).admission.unwrap_err();
        assert_eq!(rejected.remaining, Some(COOLDOWN));
        assert_eq!(rejected.facts.cause, None);
        assert!(circuit.asked(COOLDOWN * 3).admission.unwrap().is_probe());
        opened
    });
    assert_eq!(seen, [false, true].into());
}

/// How long a rejected call has to wait, and why, are of the same opening, though the caller saw
/// the one without the lock and before.
pub fn a_rejection_is_of_one_moment() {
    let seen = explore(|| {
        let circuit = open_circuit(|_| {});
        let other = Arc::clone(&circuit);
        let forcing = spawn(move || {
            other.force_open_for(COOLDOWN * 3, START);
        });
        let seen = circuit.rejects(|| START);
        assert!(seen.is_some());
        let rejection = circuit.reject(seen, || START);
        forcing.join();
        let forced = rejection.remaining == Some(COOLDOWN * 3);
        assert!(forced || rejection.remaining == Some(COOLDOWN));
        assert_eq!(rejection.facts.cause.is_none(), forced);
        forced
    });
    assert_eq!(seen, [false, true].into());
}

/// A circuit that closes after the caller saw it open still rejects the call, for no time at all.
pub fn a_rejection_of_a_circuit_that_closes() {
    let seen = explore(|| {
        let circuit = open_circuit(|_| {});
        let other = Arc::clone(&circuit);
        let closing = spawn(move || {
            other.set_mode(Mode::Automatic, START);
        });
        let seen = circuit.rejects(|| START);
        let rejection = seen.map(|seen| circuit.reject(Some(seen), || START));
        closing.join();
        rejection.map(|rejection| {
            assert_eq!(
                rejection.facts.cause.is_some(),
                rejection.remaining == Some(COOLDOWN)
            );
            rejection.remaining
        })
    });
    assert_eq!(
        seen,
        [None, Some(Some(Duration::ZERO)), Some(Some(COOLDOWN))].into()
    );
}
