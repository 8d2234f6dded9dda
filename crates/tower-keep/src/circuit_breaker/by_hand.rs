//! What is asked of a circuit, and done to it, by hand.

use std::time::Duration;

use super::{Circuit, Mode, Outcomes, Rejection, Settings, Snapshot, State};

impl Circuit {
    /// Sets the mode, and the state that goes with it. A mode that acts by itself begins closed, with nothing counted.
    pub(in super::super) fn set_mode(&self, mode: Mode, now: Duration) {
        let mut slow = self.slow();
        slow.mode = mode;
        slow.trips = 0;
        let state = if mode == Mode::ForcedOpen {
            State::Open
        } else {
            State::Closed
        };
        self.transit(&mut slow, state, 0, None, now);
        if state != State::Closed {
            // What was counted in the closed state before is gone too.
            let window = slow.settings.window;
            slow.outcomes = slow.settings.is_windowed().then(|| Outcomes::new(window));
        }
    }

    /// For a call that has to be rejected, whatever the circuit thinks by now.
    pub(in super::super) fn reject_again(&self, now: Duration) -> Rejection {
        let mut slow = self.slow();
        slow.rejected += 1;
        self.rejects_slow(&slow, now)
            .unwrap_or(Rejection(Some(Duration::ZERO)))
    }

    /// Whether it would reject a call, or was told by hand what to do.
    pub(in super::super) fn matters(&self, now: Duration) -> bool {
        let slow = self.slow();
        slow.mode != Mode::Automatic || self.rejects_slow(&slow, now).is_some()
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

    /// For whoever is derived from this one.
    pub(in super::super) fn next_seed(&self) -> u64 {
        self.slow().rng.u64(..)
    }

    pub(in super::super) fn seed(&self, seed: u64) {
        self.slow().rng = fastrand::Rng::with_seed(seed);
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
            rejected: slow.rejected,
            opened: slow.opened,
            time_until_probe: self
                .rejects_slow(&slow, now)
                .and_then(|rejection| rejection.0),
        }
    }

    /// How long it is until a call may go through; `None` if one may now, or not before a release.
    pub(in super::super) fn time_until_probe(&self, now: Duration) -> Option<Duration> {
        self.rejects_slow(&self.slow(), now)
            .and_then(|rejection| rejection.0)
    }
}
