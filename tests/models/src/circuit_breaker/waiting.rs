//! Who waits for a place sleeps only while there is none.
//!
//! The circuit and the queue are the library's own. How they are used together is that of `gate.rs`
//! and `shared.rs` in short, which cannot be included here for their timers: time stands still, so
//! that only a wake-up can end a sleep.

use std::sync::Arc;

use super::{
    COOLDOWN, Circuit,
    mode::Mode,
    number, open_circuit,
    packed_state::State,
    state::Admission,
    waiters::{Ticket, Waiters},
};
use crate::run::{Sleeper, Thread, Unhurt, explore, spawn};

/// `SharedCircuit`.
struct Gate {
    circuit: Arc<Circuit>,
    waiters: Waiters,
}

impl Gate {
    fn new(circuit: Arc<Circuit>) -> Arc<Self> {
        let waiters = Waiters::default();
        Arc::new(Self { circuit, waiters })
    }

    /// `SharedCircuit::wake`.
    fn wake(&self) {
        if self.circuit.state() == State::Closed {
            self.waiters.wake_all();
        } else {
            self.waiters.wake_first();
        }
    }

    /// `reserve`.
    fn reserve(&self) -> Option<Admission> {
        let answer = self.circuit.admit(true, || COOLDOWN);
        if answer.transition.is_some() {
            self.wake();
        }
        answer.admission.ok()
    }

    /// `Admitted::drop`, of a place whose call never was made.
    fn give_back(&self, admission: &Admission) {
        let transition = self.circuit.dropped(admission, COOLDOWN);
        self.told(admission, transition.is_some());
    }

    fn succeed(&self, admission: &Admission) {
        let transition = self.circuit.succeeded(admission, COOLDOWN);
        self.told(admission, transition.is_some());
    }

    /// `Admitted::record`.
    fn told(&self, admission: &Admission, transition: bool) {
        if transition || admission.is_probe() {
            self.wake();
        }
    }

    fn set_mode(&self, mode: Mode) {
        self.circuit.set_mode(mode, COOLDOWN);
        self.wake();
        self.waiters.wake_all();
    }

    /// `CircuitBreakerHandle::update`, to this many places.
    fn set_places(&self, places: u32) {
        let change = |settings: &mut super::Settings| settings.half_open_probes = number(places);
        self.circuit.change_settings(change, COOLDOWN);
        self.waiters.wake_all();
    }
}

/// `Waiting`.
struct Waiting {
    gate: Arc<Gate>,
    ticket: Option<Ticket>,
}

impl Waiting {
    fn new(gate: &Arc<Gate>) -> Self {
        Self {
            gate: Arc::clone(gate),
            ticket: None,
        }
    }

    /// `None` is pending.
    fn poll(&mut self, sleeper: &Sleeper) -> Option<Admission> {
        let Gate { circuit, waiters } = &*self.gate;
        loop {
            let ticket = waiters.wait(self.ticket, &sleeper.waker());
            self.ticket = Some(ticket);
            if let Some(admission) = self.gate.reserve() {
                return Some(admission);
            }
            // It sets its timer here, which does not go off.
            if circuit.rejects(|| COOLDOWN).is_some() {
                return None;
            }
        }
    }

    /// Until there is a place. Who has it leaves the queue.
    fn wait(self) -> Admission {
        self.go_on_waiting(&Sleeper::default())
    }

    fn go_on_waiting(mut self, sleeper: &Sleeper) -> Admission {
        loop {
            match self.poll(sleeper) {
                Some(admission) => return admission,
                None => sleeper.sleep(),
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // A second panic, of a lock that loom has given up, would hide the first.
        if std::thread::panicking() {
            return;
        }
        if let Some(ticket) = self.ticket {
            self.gate.waiters.leave(ticket);
        }
    }
}

/// A thread that waits for a place, and then has no use for it.
fn waits(gate: &Arc<Gate>) -> Thread<()> {
    let gate = Arc::clone(gate);
    spawn(move || {
        let admission = Waiting::new(&gate).wait();
        gate.give_back(&admission);
    })
}

/// Half-open, with all places but one held.
fn taken(places: u32) -> (Arc<Gate>, Admission) {
    let gate = Gate::new(open_circuit(|settings| {
        settings.half_open_probes = number(places);
    }));
    let probe = gate.circuit.admitted(COOLDOWN);
    assert!(probe.is_probe());
    (gate, probe)
}

/// A circuit that closes lets everybody go on.
pub fn closing_wakes_everybody() {
    explore(|| {
        let (gate, probe) = taken(1);
        let waiting = [(); 2].map(|()| waits(&gate));
        gate.succeed(&probe);
        for waiting in waiting {
            waiting.join();
        }
    });
}

/// So does a circuit that is reset by hand, which no timer ends.
pub fn a_reset_wakes_everybody() {
    explore(|| {
        let gate = Gate::new(open_circuit(|_| {}));
        gate.circuit.set_mode(Mode::ForcedOpen, COOLDOWN);
        let waiting = [(); 2].map(|()| waits(&gate));
        gate.set_mode(Mode::Automatic);
        for waiting in waiting {
            waiting.join();
        }
    });
}

/// A place that is given back is handed on from one to the next.
pub fn a_place_given_back_goes_round() {
    explore(|| {
        let (gate, probe) = taken(1);
        let waiting = [(); 2].map(|()| waits(&gate));
        gate.give_back(&probe);
        for waiting in waiting {
            waiting.join();
        }
        assert_eq!(gate.circuit.snapshot(COOLDOWN).probes, 0);
    });
}

/// Two places given back at once reach two who wait, though the first takes in both wake-ups.
pub fn two_places_reach_two_who_wait() {
    explore(|| {
        let (gate, probe) = taken(2);
        let second = gate.circuit.admitted(COOLDOWN);
        let waiting = [(); 2].map(|()| {
            let gate = Arc::clone(&gate);
            // They keep what they get.
            spawn(move || Waiting::new(&gate).wait().is_probe())
        });
        gate.give_back(&probe);
        gate.give_back(&second);
        for waiting in waiting {
            assert!(waiting.join());
        }
        assert_eq!(gate.circuit.snapshot(COOLDOWN).probes, 2);
    });
}

/// Who leaves, woken or not, leaves nobody behind asleep.
pub fn who_gives_up_passes_the_wake_up_on() {
    explore(|| {
        let (gate, probe) = taken(1);
        let other = Arc::clone(&gate);
        let gives_up = spawn(move || {
            let admission = Waiting::new(&other).poll(&Sleeper::default());
            if let Some(admission) = admission {
                other.give_back(&admission);
            }
        });
        let waiting = waits(&gate);
        gate.give_back(&probe);
        gives_up.join();
        waiting.join();
    });
}

/// Nor do several who leave at once, when it was one of them who was woken.
pub fn several_who_give_up_pass_the_wake_up_on() {
    explore(|| {
        let (gate, probe) = taken(1);
        let queue = [(); 3].map(|()| {
            let mut waiting = Waiting::new(&gate);
            let sleeper = Sleeper::default();
            assert!(waiting.poll(&sleeper).is_none());
            (waiting, sleeper)
        });
        gate.give_back(&probe);
        let [(first, _), (second, _), (last, sleeper)] = queue;
        let leaving = [first, second].map(|waiting| spawn(move || drop(waiting)));
        sleeper.sleep();
        assert!(last.go_on_waiting(&sleeper).is_probe());
        for leaving in leaving {
            leaving.join();
        }
    });
}

/// R64 More places let more through, though the first in the queue is set aside.
pub fn new_settings_wake_everybody() {
    explore(|| {
        let (gate, probe) = taken(1);
        let mut aside = Unhurt::new(Waiting::new(&gate));
        assert!(aside.get_mut().poll(&Sleeper::default()).is_none());
        let waiting = waits(&gate);
        gate.set_places(2);
        waiting.join();
        assert!(gate.circuit.is_current(&probe));
    });
}

/// R64 The first in the queue was woken for a place, and is set aside: the next place is for the
/// one behind it.
pub fn a_place_passes_over_a_waiter_that_was_woken() {
    explore(|| {
        let (gate, first) = taken(2);
        let second = gate.circuit.admitted(COOLDOWN);
        let mut aside = Unhurt::new(Waiting::new(&gate));
        assert!(aside.get_mut().poll(&Sleeper::default()).is_none());
        let waiting = waits(&gate);
        let other = Arc::clone(&gate);
        let giving_back = spawn(move || other.give_back(&first));
        gate.give_back(&second);
        giving_back.join();
        waiting.join();
    });
}

/// A failure that opens the circuit meanwhile does not swallow the wake-up of the closing before.
pub fn nobody_sleeps_before_a_circuit_that_closed_last() {
    explore(|| {
        let gate = Gate::new(open_circuit(|_| {}));
        gate.circuit.set_mode(Mode::ForcedOpen, COOLDOWN);
        let waiting = waits(&gate);
        let other = Arc::clone(&gate);
        let wavering = spawn(move || {
            other.set_mode(Mode::ForcedOpen);
            other.set_mode(Mode::Automatic);
        });
        gate.set_mode(Mode::Automatic);
        wavering.join();
        waiting.join();
    });
}

/// R64 Nor does one behind it that was woken and then leaves: the place is for the next.
pub fn who_was_woken_and_leaves_passes_it_on() {
    explore(|| {
        let (gate, first) = taken(2);
        let second = gate.circuit.admitted(COOLDOWN);
        let mut aside = Unhurt::new(Waiting::new(&gate));
        assert!(aside.get_mut().poll(&Sleeper::default()).is_none());
        let mut leaving = Waiting::new(&gate);
        assert!(leaving.poll(&Sleeper::default()).is_none());
        let mut last = Waiting::new(&gate);
        let sleeper = Sleeper::default();
        assert!(last.poll(&sleeper).is_none());
        gate.give_back(&first);
        let leaves = spawn(move || drop(leaving));
        gate.give_back(&second);
        sleeper.sleep();
        assert!(last.go_on_waiting(&sleeper).is_probe());
        leaves.join();
    });
}
