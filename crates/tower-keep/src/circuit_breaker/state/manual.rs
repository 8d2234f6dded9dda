//! What is done to a circuit by hand, and what its handle reads of it.

use std::{sync::Arc, time::Duration};

use super::{Circuit, Leave, Mode, Settings, Slow, Snapshot, State, Transition};

impl Circuit {
    /// Sets the mode, and the state that goes with it. A mode that acts by itself begins closed, with nothing counted.
    pub(in super::super) fn set_mode(&self, mode: Mode, now: Duration) -> Option<Box<Transition>> {
        let to = if mode == Mode::ForcedOpen {
            State::Open
        } else {
            State::Closed
        };
        self.force(mode, to, None, now)
    }

    /// Opens by hand for this long. Then the circuit lets a probe through, and acts by itself.
    pub(in super::super) fn force_open_for(
        &self,
        duration: Duration,
        now: Duration,
    ) -> Option<Box<Transition>> {
        self.force(Mode::Automatic, State::Open, Some(duration), now)
    }

    fn force(
        &self,
        mode: Mode,
        to: State,
        cooldown: Option<Duration>,
        now: Duration,
    ) -> Option<Box<Transition>> {
        let mut slow = self.slow();
        slow.mode = mode;
        slow.trips = 0;
        slow.set_cause(None);
        let leave = Leave {
            cooldown,
            manual: true,
            ..Leave::default()
        };
        let transition = self.transit(&mut slow, to, leave, now);
        // What was counted in the closed state before is gone too.
        slow.forget();
        (transition.from != to).then_some(transition)
    }

    /// Turns an open circuit half-open before its time. A forced circuit acts by itself from then
    /// on.
    pub(in super::super) fn probe_now(&self, now: Duration) -> Option<Box<Transition>> {
        let mut slow = self.slow();
        if self.state() != State::Open {
            return None;
        }
        if slow.mode == Mode::ForcedOpen {
            slow.mode = Mode::Automatic;
        }
        let leave = Leave {
            manual: true,
            ..Leave::default()
        };
        Some(self.transit(&mut slow, State::HalfOpen, leave, now))
    }

    /// The name that rejected calls learn.
    pub(in super::super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.slow().facts.circuit)
    }

    pub(in super::super) fn rename(&self, name: Arc<str>) {
        Arc::make_mut(&mut self.slow().facts).circuit = name;
    }

    /// Whether it would reject a call, or is held by hand.
    pub(in super::super) fn matters(&self, now: Duration) -> bool {
        let slow = self.slow();
        slow.mode != Mode::Automatic || self.rejects_slow(&slow, now).is_some()
    }

    /// Whether it is held in a state or a mode by hand, for good or for a time that is not over.
    pub(in super::super) fn is_forced(&self, now: Duration) -> bool {
        let slow = self.slow();
        slow.mode != Mode::Automatic || self.is_opened_by_hand(&slow, now)
    }

    /// Whether it is held open by hand.
    pub(in super::super) fn is_forced_open(&self, now: impl FnOnce() -> Duration) -> bool {
        self.state() == State::Open && self.is_opened_by_hand(&self.slow(), now())
    }

    fn is_opened_by_hand(&self, slow: &Slow, now: Duration) -> bool {
        let over = slow.until.is_some_and(|until| until <= now);
        slow.manual && self.state() == State::Open && !over
    }

    pub(in super::super) fn mode(&self) -> Mode {
        self.slow().mode
    }

    /// Puts settings in place of others, unless those have been replaced meanwhile.
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

    /// For a circuit that is derived from this one.
    pub(in super::super) fn next_seed(&self) -> u64 {
        self.slow().rng.u64(..)
    }

    pub(in super::super) fn seed(&self, seed: u64) {
        let mut slow = self.slow();
        slow.rng = fastrand::Rng::with_seed(seed);
        slow.seeded = Some(seed);
    }

    /// The seed, if the user set one.
    pub(in super::super) fn seeded(&self) -> Option<u64> {
        self.slow().seeded
    }

    pub(in super::super) fn settings(&self) -> Settings {
        self.slow().settings
    }

    pub(in super::super) fn snapshot(&self, now: Duration) -> Snapshot {
        let mut slow = self.slow();
        let (counts, slow_in_flight) = slow.counts(now);
        let word = self.word();
        Snapshot {
            state: word.state(),
            mode: slow.mode,
            failures_in_a_row: word.failures(),
            calls: counts.calls,
            failures: counts.failures,
            slow_calls: counts.slow,
            slow_in_flight,
            probes: slow.probes(now),
            probe_successes: slow.successes,
            probe_failures: slow.failures,
            rejected: slow.rejected,
            opened: slow.opened,
            time_until_probe: self.rejects_slow(&slow, now).and_then(|wait| wait.0),
            cause: slow.facts.cause.clone(),
        }
    }

    /// How long it is until a call may go through; `None` if one may now, or not before a release.
    pub(in super::super) fn time_until_probe(&self, now: Duration) -> Option<Duration> {
        self.rejects_slow(&self.slow(), now).and_then(|wait| wait.0)
    }
}
