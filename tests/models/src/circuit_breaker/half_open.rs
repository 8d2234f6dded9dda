//! The half-open circuit gives its few places to probes, and they decide once.

use std::sync::Arc;

use super::{
    CAUSE, CLOSED, COOLDOWN, Circuit, START, number, open_circuit,
    packed_state::State,
    state::{Admission, OutcomeEffect, Streak},
};
use crate::{
    classify::Outcome,
    run::{explore, spawn},
};

/// What became of a call that asked for a place.
fn is_probe(answer: &super::AdmitResult) -> bool {
    answer.admission.as_ref().is_ok_and(Admission::is_probe)
}

/// A half-open circuit and the probes that it let through.
fn half_open<const PROBES: usize>(
    change: impl FnOnce(&mut super::Settings),
) -> (Arc<Circuit>, [Admission; PROBES]) {
    let circuit = open_circuit(change);
    let probes = [(); PROBES].map(|()| circuit.admitted(COOLDOWN));
    assert_eq!(circuit.state(), State::HalfOpen);
    (circuit, probes)
}

/// After the cooldown the first call turns the circuit half-open, and no more go through than there
/// are places.
pub fn no_more_probes_than_places() {
    for places in [1, 2] {
        explore(move || {
            let circuit = open_circuit(|settings| settings.half_open_probes = number(places));
            let threads = [(); 2].map(|()| {
                let circuit = Arc::clone(&circuit);
                spawn(move || circuit.asked(COOLDOWN))
            });
            let mine = circuit.asked(COOLDOWN);
            let [first, second] = threads.map(|thread| thread.join());
            let answers = [mine, first, second];
            let transitions = answers
                .iter()
                .filter_map(|answer| answer.transition.as_ref().map(|t| t.to));
            assert_eq!(transitions.collect::<Vec<_>>(), [State::HalfOpen]);
            let probes = answers.iter().filter(|answer| is_probe(answer)).count();
            let admitted = answers.iter().filter(|answer| answer.admission.is_ok());
            assert_eq!(admitted.count(), probes);
            assert_eq!(probes, places as usize);
            let seen = circuit.snapshot(COOLDOWN);
            assert_eq!((seen.state, seen.probes), (State::HalfOpen, probes));
            assert_eq!(seen.rejected as usize, answers.len() - probes);
            assert_eq!(circuit.word().generation(), 2);
        });
    }
}

/// A probe that says nothing gives its place back, and one of those who ask meanwhile or after has
/// it.
pub fn a_place_given_back_is_given_once() {
    let seen = explore(|| {
        let (circuit, [probe]) = half_open(|_| {});
        let asking = [(); 2].map(|()| {
            let circuit = Arc::clone(&circuit);
            spawn(move || circuit.asked(COOLDOWN))
        });
        assert_eq!(circuit.dropped(&probe, COOLDOWN), None);
        let answers = asking.map(|thread| thread.join());
        let probes = answers.iter().filter(|answer| is_probe(answer)).count();
        assert!(probes <= 1);
        // Who asks now has it if nobody does.
        assert_eq!(is_probe(&circuit.asked(COOLDOWN)), probes == 0);
        assert_eq!(circuit.snapshot(COOLDOWN).probes, 1);
        assert_eq!(circuit.word().generation(), 2);
        probes
    });
    assert_eq!(seen, [0, 1].into());
}

/// Of a success and a failure the first decides, and the other changes nothing.
pub fn a_success_and_a_failure_decide_once() {
    let seen = explore(|| {
        let (circuit, [good, bad]) = half_open(|settings| settings.half_open_probes = number(2));
        let other = Arc::clone(&circuit);
        let failing = spawn(move || other.failed(&bad, COOLDOWN));
        let other = Arc::clone(&circuit);
        let asking = spawn(move || {
            let answer = other.asked(COOLDOWN);
            // All places are held until it is decided.
            assert!(!is_probe(&answer));
            answer.admission.is_ok()
        });
        let closed = circuit.succeeded(&good, COOLDOWN);
        let opened = failing.join();
        let admitted = asking.join();
        assert_eq!(circuit.word().generation(), 3);
        assert_eq!(circuit.word().failures(), 0);
        let seen = circuit.snapshot(COOLDOWN);
        assert_eq!(seen.probes, 0);
        match (closed, opened) {
            (Some((State::Closed, _)), None) => {
                assert_eq!((seen.state, seen.opened), (State::Closed, 1));
            }
            (None, Some((State::Open, _))) => {
                assert_eq!((seen.state, seen.opened), (State::Open, 2));
                assert!(!admitted);
            }
            decisions => panic!("not one decision: {decisions:?}"),
        }
        (seen.state == State::Closed, admitted)
    });
    assert_eq!(seen, [(false, false), (true, false), (true, true)].into());
}

/// Where several successes are asked for, none is lost.
pub fn each_success_counts_once() {
    explore(|| {
        let (circuit, probes) = half_open::<3>(|settings| {
            settings.half_open_probes = number(3);
            settings.half_open_successes = number(3);
        });
        let [mine, first, second] = probes;
        let threads = [first, second].map(|probe| {
            let circuit = Arc::clone(&circuit);
            spawn(move || circuit.succeeded(&probe, COOLDOWN))
        });
        let mine = circuit.succeeded(&mine, COOLDOWN);
        let transitions = threads.map(|thread| thread.join());
        let transitions = transitions.into_iter().chain([mine]).flatten();
        assert_eq!(transitions.collect::<Vec<_>>(), [(State::Closed, None)]);
        assert_eq!(circuit.state(), State::Closed);
        assert_eq!(circuit.word().generation(), 3);
    });
}

/// A probe that hung comes back while another has its place: one of them decides.
pub fn a_probe_that_hung_comes_back() {
    let seen = explore(|| {
        let (circuit, [hung]) = half_open(|settings| settings.failure_threshold = Some(1));
        // Its lease is as long as the cooldown.
        let expired = COOLDOWN * 2;
        let other = Arc::clone(&circuit);
        let late = spawn(move || other.succeeded(&hung, expired));
        let call = circuit.admitted(expired);
        let failed = circuit.failed(&call, expired);
        let closed = late.join();
        let word = circuit.word();
        assert_eq!(word.generation(), 3);
        assert_eq!(failed.is_none(), closed == CLOSED);
        assert_eq!(failed.is_some(), word.state() == State::Open);
        assert_eq!(circuit.snapshot(expired).probes, 0);
        (call.is_probe(), failed.is_some(), word.failures())
    });
    let possible = [
        // The probe that hung closed the circuit: before the other call came, or while it was under
        // way.
        (false, false, 1),
        (true, false, 0),
        // It came too late.
        (true, true, 0),
    ];
    assert_eq!(seen, possible.into());
}

/// Nobody is let through before the cooldown is over, however many ask.
pub fn the_cooldown_holds() {
    explore(|| {
        let circuit = open_circuit(|_| {});
        let early = COOLDOWN / 2;
        let other = Arc::clone(&circuit);
        let asking = spawn(move || other.asked(early).admission.is_ok());
        let answer = circuit.asked(COOLDOWN);
        assert!(is_probe(&answer));
        assert!(!asking.join(), "before its time, or a second probe");
        assert!(circuit.admit(true, || START).transition.is_none());
    });
}

/// Once the probes have decided that the circuit opens, a success that comes before it does so does
/// not close it.
pub fn a_decision_to_open_stands() {
    let seen = explore(|| {
        let (circuit, [bad, good]) = half_open::<2>(|settings| {
            settings.half_open_probes = number(2);
        });
        let Some(OutcomeEffect::Trips(trip)) =
            circuit.record(&bad, Outcome::Failure, None, Streak::Ends, || COOLDOWN)
        else {
            panic!("one failure is enough");
        };
        let other = Arc::clone(&circuit);
        let late = spawn(move || other.succeeded(&good, COOLDOWN));
        let opened = circuit.open_for(trip, CAUSE.into(), COOLDOWN).is_some();
        assert_eq!(late.join(), None);
        opened
    });
    assert_eq!(seen, [true].into());
}
