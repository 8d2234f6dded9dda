//! The handle of one circuit: reads it, watches it, and gives it orders.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    mode::Mode, packed_state::State, settings::Settings, shared::SharedRef, snapshot::Snapshot,
};

/// Reads, watches and forces the state of a circuit.
#[derive(Clone)]
pub struct CircuitBreakerHandle {
    pub(super) shared: SharedRef,
}

impl CircuitBreakerHandle {
    pub(super) fn new(shared: &SharedRef) -> Self {
        Self {
            shared: Arc::clone(shared),
        }
    }

    /// The circuit's name.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        self.shared.name()
    }

    /// The state. An open circuit whose cooldown is over is open until a call comes.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.circuit.state()
    }

    /// Whether the circuit acts by itself.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.shared.circuit.mode()
    }

    /// How many calls failed in a row, while closed.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.shared.circuit.word().failures()
    }

    /// How long it is until a call may be let through: `None` if one may now, or if the circuit was opened by hand.
    #[must_use]
    pub fn time_until_probe(&self) -> Option<Duration> {
        self.shared.circuit.time_until_probe(self.shared.now())
    }

    /// What there is to know at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.circuit.snapshot(self.shared.now())
    }

    /// Watches the state. States that come in quick succession may be seen as the last of them; how often the circuit
    /// opened is in the [snapshot](Snapshot::opened).
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.shared.watch()
    }

    /// Opens the circuit until it is [reset](Self::reset) or told otherwise.
    pub fn force_open(&self) {
        self.shared.set_mode(Mode::ForcedOpen);
    }

    /// Opens the circuit for this long, whatever its state and its mode are. Then it goes half-open
    /// by itself: the next call is a probe, and closes the circuit if it succeeds.
    ///
    /// The order replaces an earlier one, such as [`force_closed`](Self::force_closed) or
    /// [`observe_only`](Self::observe_only), and a later order replaces it. The mode is
    /// [`Automatic`](Mode::Automatic). The counts are gone, and a [growing
    /// cooldown](super::CircuitBreakerLayer::growing_cooldown) starts over.
    ///
    /// Neither [`max_cooldown`](super::CircuitBreakerLayer::max_cooldown) nor jitter changes the
    /// time. With `Duration::ZERO` the next call is a probe. A time too long for the clock holds
    /// until a reset. Callers that wait under
    /// [backpressure](super::CircuitBreakerLayer::backpressure) wait until the time is over. An
    /// open circuit is open again for this time from now on, shorter or longer than before.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_keep::{CircuitBreakerLayer, circuit_breaker::State};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let handle = CircuitBreakerLayer::new().handle();
    /// handle.force_open_for(Duration::from_secs(60));
    /// assert_eq!(handle.state(), State::Open);
    /// assert_eq!(handle.time_until_probe(), Some(Duration::from_secs(60)));
    /// # });
    /// ```
    pub fn force_open_for(&self, duration: Duration) {
        self.shared.force_open_for(duration);
    }

    /// Turns an open circuit half-open at once, so that the next call is a probe. Returns whether
    /// the circuit was open: a closed or half-open circuit stays as it is.
    ///
    /// A circuit that was [forced open](Self::force_open), for good or [for a
    /// time](Self::force_open_for), acts by itself from then on. A circuit that only
    /// [observes](Self::observe_only) still does so afterwards. If the probe fails, the circuit
    /// opens for its usual cooldown, which grows where it is set to grow. A caller that waits under
    /// [backpressure](super::CircuitBreakerLayer::backpressure) is woken.
    pub fn probe_now(&self) -> bool {
        self.shared.probe_now()
    }

    /// Closes the circuit, and keeps it closed whatever fails, until it is [reset](Self::reset) or told otherwise.
    /// It goes on to count.
    pub fn force_closed(&self) {
        self.shared.set_mode(Mode::ForcedClosed);
    }

    /// Lets everything through and counts nothing, until it is [reset](Self::reset) or told otherwise.
    pub fn disable(&self) {
        self.shared.set_mode(Mode::Disabled);
    }

    /// Lets everything through, but counts and changes its state as ever, so that one can see what it would have done:
    /// in its state, its [snapshot](Self::snapshot), and the events of the jobs, of which each that it would have rejected
    /// gets a [`CircuitWouldReject`](crate::EventKind::CircuitWouldReject). Until it is [reset](Self::reset) or told
    /// otherwise. It begins closed, with nothing counted.
    pub fn observe_only(&self) {
        self.shared.set_mode(Mode::ObserveOnly);
    }

    /// Closes the circuit with nothing counted, and lets it act by itself again.
    pub fn reset(&self) {
        self.shared.set_mode(Mode::Automatic);
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.shared.circuit.settings()
    }

    /// Replaces the settings. What was counted stays, as far as a smaller window has room for it; the state stays too,
    /// and with it the cooldown and the probes under way. New settings are judged by with the next outcome.
    pub fn replace(&self, settings: Settings) {
        self.shared.change_settings(|old| settings.replace(old));
    }

    /// [Replaces](Self::replace) the settings by what the closure makes of them. If others are replaced meanwhile, it
    /// is called again with those, so that no change is lost.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_keep::CircuitBreakerLayer;
    ///
    /// let breaker = CircuitBreakerLayer::new();
    /// breaker.handle().update(|settings| settings.cooldown = Duration::from_secs(5));
    /// assert_eq!(breaker.handle().settings().cooldown, Duration::from_secs(5));
    /// ```
    pub fn update(&self, mut change: impl FnMut(&mut Settings)) {
        let shared = &self.shared;
        loop {
            // The closure is the user's and runs without the lock: it is called again if others are faster.
            let old = self.settings();
            let mut new = old;
            change(&mut new);
            if shared.circuit.replace_settings(old, new, shared.now()) {
                break;
            }
        }
        shared.waiters.wake_all();
    }
}

impl fmt::Debug for CircuitBreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerHandle")
            .field("name", &self.name())
            .field("state", &self.state())
            .field("mode", &self.mode())
            .field("settings", &self.settings().effective())
            .finish_non_exhaustive()
    }
}
