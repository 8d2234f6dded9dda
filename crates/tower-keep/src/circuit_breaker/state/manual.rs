//! Manual control of a circuit: modes, forced states, settings, snapshots.

use std::{sync::Arc, time::Duration};

use super::{Circuit, CircuitSnapshot, Leave, LockedState, Mode, Settings, State, StateChange};

impl Circuit {
    /// Sets the mode and its initial state: open for `ForcedOpen`, otherwise closed with empty
    /// counts.
    pub(in super::super) fn set_mode(&self, mode: Mode, now: Duration) -> Option<Box<StateChange>> {
        let to = if mode == Mode::ForcedOpen {
            State::Open
        } else {
            State::Closed
        };
        self.force(mode, to, None, now)
    }

    /// Opens the circuit for this long. After that it admits a probe, in automatic mode.
    pub(in super::super) fn force_open_for(
        &self,
        duration: Duration,
        now: Duration,
    ) -> Option<Box<StateChange>> {
        self.force(Mode::Automatic, State::Open, Some(duration), now)
    }

    fn force(
        &self,
        mode: Mode,
        to: State,
        cooldown: Option<Duration>,
        now: Duration,
    ) -> Option<Box<StateChange>> {
        let mut locked = self.lock();
        locked.mode = mode;
        locked.trips = 0;
        locked.set_cause(None);
        let leave = Leave {
            cooldown,
            manual: true,
            ..Leave::default()
        };
        let transition = self.transit(&mut locked, to, leave, now);
        // Also empties the counts of the last closed state.
        locked.forget();
        (transition.from != to).then_some(transition)
    }

    /// Makes an open circuit half-open at once. A forced-open circuit returns to automatic mode.
    pub(in super::super) fn probe_now(&self, now: Duration) -> Option<Box<StateChange>> {
        let mut locked = self.lock();
        if self.state() != State::Open {
            return None;
        }
        if locked.mode == Mode::ForcedOpen {
            locked.mode = Mode::Automatic;
        }
        let leave = Leave {
            manual: true,
            ..Leave::default()
        };
        Some(self.transit(&mut locked, State::HalfOpen, leave, now))
    }

    /// The circuit's name.
    pub(in super::super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.lock().facts.circuit)
    }

    pub(in super::super) fn rename(&self, name: Arc<str>) {
        Arc::make_mut(&mut self.lock().facts).circuit = name;
    }

    /// Whether the circuit would reject a call or has a manual mode, so that it must not be
    /// evicted.
    pub(in super::super) fn must_be_kept(&self, now: Duration) -> bool {
        let locked = self.lock();
        locked.mode != Mode::Automatic || self.rejects_locked(&locked, now).is_some()
    }

    /// Whether a manual mode or a manual opening is in force.
    pub(in super::super) fn is_forced(&self, now: Duration) -> bool {
        let locked = self.lock();
        locked.mode != Mode::Automatic || self.is_opened_by_hand(&locked, now)
    }

    /// Whether a manual opening is in force.
    pub(in super::super) fn is_forced_open(&self, now: impl FnOnce() -> Duration) -> bool {
        self.state() == State::Open && self.is_opened_by_hand(&self.lock(), now())
    }

    fn is_opened_by_hand(&self, locked: &LockedState, now: Duration) -> bool {
        let over = locked.until.is_some_and(|until| until <= now);
        locked.manual && self.state() == State::Open && !over
    }

    pub(in super::super) fn mode(&self) -> Mode {
        self.lock().mode
    }

    /// Replaces the settings, if they are still `old`. Returns whether it did.
    pub(in super::super) fn replace_settings(
        &self,
        old: Settings,
        new: Settings,
        now: Duration,
    ) -> bool {
        let mut replaced = false;
        self.change_settings(
            |settings| {
                if *settings == old {
                    new.replace(settings);
                    replaced = true;
                }
            },
            now,
        );
        replaced
    }

    /// A seed for circuits that are derived from this circuit.
    pub(in super::super) fn next_seed(&self) -> u64 {
        self.lock().rng.u64(..)
    }

    pub(in super::super) fn seed(&self, seed: u64) {
        let mut locked = self.lock();
        locked.rng = fastrand::Rng::with_seed(seed);
        locked.seeded = Some(seed);
    }

    /// The seed, if the user set one.
    pub(in super::super) fn seeded(&self) -> Option<u64> {
        self.lock().seeded
    }

    pub(in super::super) fn settings(&self) -> Settings {
        self.lock().settings
    }

    pub(in super::super) fn snapshot(&self, now: Duration) -> CircuitSnapshot {
        let mut locked = self.lock();
        let (counts, slow_in_flight) = locked.counts(now);
        let word = self.word();
        CircuitSnapshot {
            state: word.state(),
            mode: locked.mode,
            failures_in_a_row: word.failures(),
            calls: counts.calls,
            failures: counts.failures,
            slow_calls: counts.slow,
            slow_in_flight,
            probes: locked.probes(now),
            probe_successes: locked.successes,
            probe_failures: locked.failures,
            rejected: locked.rejected,
            opened: locked.opened,
            time_until_probe: self.rejects_locked(&locked, now).and_then(|wait| wait.0),
            cause: locked.facts.cause.clone(),
        }
    }
}
