//! A circuit as services, handles and tables share it, with its clock, listeners and waiters.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    mode::Mode,
    packed_state::State,
    settings::Settings,
    state::{Admission, Circuit, OutcomeEffect, Streak, Trip},
    table_entry::TableEntry,
    transition::StateChange,
    transition_listeners::TransitionListeners,
    waiters::Waiters,
};
use crate::{
    classify::Outcome,
    event::EventKind,
    job::{context, core::Core},
    sharded::Shard,
};

/// A reference to a circuit, as calls, handles and tables hold it.
pub(super) type CircuitRef = Arc<Shard<SharedCircuit>>;

/// A circuit with its clock, watchers, listeners and waiters.
pub(crate) struct SharedCircuit {
    pub(crate) circuit: Circuit,
    pub(super) waiters: Waiters,
    pub(super) listeners: Arc<TransitionListeners>,
    state: watch::Sender<State>,
    born: Instant,
    /// The circuit's entry in a table of circuits by key.
    pub(super) table_entry: Option<TableEntry>,
    /// The time of the last call, on the table's clock.
    last_used: AtomicU64,
}

impl SharedCircuit {
    pub(super) fn new(settings: Settings, name: Arc<str>, seed: u64) -> Self {
        Self::with(settings, name, seed, Arc::default(), None)
    }

    pub(super) fn with(
        settings: Settings,
        name: Arc<str>,
        seed: u64,
        listeners: Arc<TransitionListeners>,
        table_entry: Option<TableEntry>,
    ) -> Self {
        let circuit = Circuit::new(settings, seed);
        circuit.rename(name);
        Self {
            circuit,
            waiters: Waiters::default(),
            listeners,
            state: watch::Sender::new(State::Closed),
            born: Instant::now(),
            table_entry,
            last_used: AtomicU64::new(0),
        }
    }

    /// A new circuit with the settings, the name and the listeners of this one.
    pub(super) fn renewed(&self) -> Self {
        let circuit = &self.circuit;
        let listeners = self.listeners.copy();
        let new = Self::with(
            circuit.settings(),
            self.name(),
            fastrand::u64(..),
            listeners,
            None,
        );
        if let Some(seed) = circuit.seeded() {
            new.circuit.seed(seed);
        }
        new
    }

    /// Whether the state has a watcher.
    pub(super) fn is_watched(&self) -> bool {
        self.state.receiver_count() > 0
    }

    pub(super) fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        self.circuit.change_settings(change, self.now());
        self.waiters.wake_all();
    }

    pub(super) fn rename(&self, name: Arc<str>) {
        self.circuit.rename(name);
    }

    /// The time since the circuit was created.
    pub(super) fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.born)
    }

    pub(super) fn name(&self) -> Arc<str> {
        self.circuit.name()
    }

    pub(super) fn touch(&self, now: u64) {
        self.last_used.store(now, Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        let transition = self.circuit.set_mode(mode, self.now());
        self.publish_manual(transition);
    }

    pub(super) fn force_open_for(&self, duration: Duration) {
        let transition = self.circuit.force_open_for(duration, self.now());
        self.publish_manual(transition);
    }

    /// Returns whether the circuit was open.
    pub(super) fn probe_now(&self) -> bool {
        let transition = self.circuit.probe_now(self.now());
        let was_open = transition.is_some();
        if was_open {
            self.publish_manual(transition);
        }
        was_open
    }

    /// Publishes a manual change, which may change the mode or the remaining time without a
    /// transition.
    fn publish_manual(&self, transition: Option<Box<StateChange>>) {
        self.publish_state();
        // The time for which each waiter waits may have changed.
        self.waiters.wake_all();
        if let Some(transition) = transition {
            self.notify(&transition);
        }
    }

    fn notify(&self, transition: &StateChange) {
        self.listeners.notify(|| transition.of_circuit(self.name()));
    }

    /// Sends the current state to watchers, and wakes waiters.
    ///
    /// Called after a transition, without a lock of the circuit. Two concurrent transitions both
    /// send the later state.
    fn publish_state(&self) {
        if let Some(table_entry) = &self.table_entry {
            table_entry.note();
        }
        self.state.send_if_modified(|published| {
            let state = self.circuit.state();
            std::mem::replace(published, state) != state
        });
        self.wake();
    }

    /// Wakes the waiters that may continue, or whose waiting time has changed.
    #[cold]
    pub(super) fn wake(&self) {
        if self.circuit.state() == State::Closed {
            self.waiters.wake_all();
        } else {
            self.waiters.wake_first();
        }
    }

    /// Counts the outcome of a call without a result, and carries out its effect.
    #[cold]
    pub(super) fn end(
        &self,
        admission: &Admission,
        outcome: Outcome,
        cause: &str,
        job: Option<&Core>,
    ) {
        match self.record(admission, outcome, None, Streak::Ends) {
            None => {}
            Some(OutcomeEffect::Closed(transition)) => self.announce(&transition, job),
            Some(OutcomeEffect::Trips(trip)) => {
                let cause = trip.reason.text().unwrap_or_else(|| cause.into());
                self.open_for(trip, cause, job);
            }
        }
    }

    /// Counts the outcome of a call. The caller carries out the returned effect.
    #[inline(always)]
    pub(super) fn record(
        &self,
        admission: &Admission,
        outcome: Outcome,
        requested: Option<Duration>,
        streak: Streak,
    ) -> Option<OutcomeEffect> {
        let verdict = (self.circuit).record(admission, outcome, requested, streak, || self.now());
        if verdict.is_none() && admission.is_probe() {
            // The probe's slot is free.
            self.wake();
        }
        verdict
    }

    /// Opens the circuit by an earlier decision, and announces the transition.
    #[cold]
    pub(super) fn open_for(&self, trip: Trip, cause: Arc<str>, job: Option<&Core>) {
        if let Some(transition) = self.circuit.open_for(trip, cause, self.now()) {
            self.announce(&transition, job);
        }
    }

    /// Sends a transition to watchers, waiters and listeners. Called without a lock of the circuit.
    #[cold]
    pub(super) fn publish(&self, transition: &StateChange) {
        self.publish_state();
        self.notify(transition);
    }

    /// Sends a transition to watchers, waiters, listeners, and the job that caused it.
    #[cold]
    pub(super) fn announce(&self, transition: &StateChange, job: Option<&Core>) {
        self.publish(transition);
        self.emit(transition, job);
    }

    /// Emits the event of a transition in the job that caused it.
    #[cold]
    pub(super) fn emit(&self, transition: &StateChange, job: Option<&Core>) {
        let Some(job) = job else {
            return;
        };
        context::emit(job, || {
            let circuit = self.name();
            match transition.to {
                State::Open => EventKind::CircuitOpened {
                    circuit,
                    cooldown: transition.cooldown.unwrap_or(Duration::MAX),
                    cause: transition.cause.clone().unwrap_or_default(),
                },
                State::HalfOpen => EventKind::CircuitHalfOpened { circuit },
                State::Closed => EventKind::CircuitClosed { circuit },
            }
        });
    }
}
