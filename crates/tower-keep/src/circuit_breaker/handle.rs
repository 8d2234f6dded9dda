//! The handle of one circuit: reads it, watches it, forces it, and changes its settings.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    mode::Mode, packed_state::State, settings::Settings, shared_circuit::CircuitRef,
    snapshot::CircuitSnapshot,
};

/// Reads, watches and forces the state of a circuit, and changes its settings. Clones control the
/// same circuit.
#[derive(Clone)]
pub struct CircuitBreakerHandle {
    pub(super) shared: CircuitRef,
}

impl CircuitBreakerHandle {
    pub(super) fn new(shared: &CircuitRef) -> Self {
        Self {
            shared: Arc::clone(shared),
        }
    }

    /// The circuit's name.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        self.shared.name()
    }

    /// The state. After its cooldown, an open circuit stays open until a call comes.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.circuit.state()
    }

    /// The mode: automatic, or forced by a handle.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.shared.circuit.mode()
    }

    /// The state, the counts and the time until the next probe, read at one moment.
    #[must_use]
    pub fn snapshot(&self) -> CircuitSnapshot {
        self.shared.circuit.snapshot(self.shared.now())
    }

    /// Watches the state.
    ///
    /// A watcher may miss states in quick succession and see only the last. The
    /// [snapshot](CircuitSnapshot::opened) counts every opening.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.shared.watch()
    }

    /// Opens the circuit until a [reset](Self::reset), or until another method of the handle
    /// changes its mode.
    pub fn force_open(&self) {
        self.shared.set_mode(Mode::ForcedOpen);
    }

    /// Opens the circuit for this long, in any state and mode. After this time the next call is a
    /// probe, which closes the circuit if it succeeds.
    ///
    /// - It replaces an earlier manual mode, such as [`force_closed`](Self::force_closed) or
    ///   [`observe_only`](Self::observe_only). A later one replaces it. The mode is
    ///   [`Automatic`](Mode::Automatic).
    /// - The counts are reset, and a [growing
    ///   cooldown](super::CircuitBreakerLayer::growing_cooldown) starts over.
    /// - For an open circuit, the time starts again from now, shorter or longer than before.
    /// - [`max_cooldown`](super::CircuitBreakerLayer::max_cooldown) and jitter do not apply.
    /// - With `Duration::ZERO`, the next call is a probe. A time beyond the range of the clock
    ///   means until a reset.
    /// - With [backpressure](super::CircuitBreakerLayer::backpressure), callers wait until the time
    ///   is over.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_keep::{CircuitBreakerLayer, circuit_breaker::State};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let handle = CircuitBreakerLayer::new().handle();
    /// handle.force_open_for(Duration::from_secs(60));
    /// assert_eq!(handle.state(), State::Open);
    /// assert_eq!(handle.snapshot().time_until_probe, Some(Duration::from_secs(60)));
    /// # });
    /// ```
    pub fn force_open_for(&self, duration: Duration) {
        self.shared.force_open_for(duration);
    }

    /// Makes an open circuit half-open at once, so that the next call is a probe. Returns whether
    /// the circuit was open; other states do not change.
    ///
    /// - A circuit that was [forced open](Self::force_open), also [for a
    ///   time](Self::force_open_for), returns to automatic mode.
    /// - A circuit in the mode [`ObserveOnly`](Mode::ObserveOnly) stays in it.
    /// - If the probe fails, the circuit opens for its usual cooldown, including growth.
    /// - With [backpressure](super::CircuitBreakerLayer::backpressure), a waiter is woken.
    pub fn probe_now(&self) -> bool {
        self.shared.probe_now()
    }

    /// Keeps the circuit closed, whatever fails, until a [reset](Self::reset), or until another
    /// method of the handle changes its mode. It still counts.
    pub fn force_closed(&self) {
        self.shared.set_mode(Mode::ForcedClosed);
    }

    /// Disables the circuit: it admits all calls and counts nothing until a [reset](Self::reset),
    /// or until another method of the handle changes its mode.
    pub fn disable(&self) {
        self.shared.set_mode(Mode::Disabled);
    }

    /// Dry run: the circuit admits all calls, but counts and changes its state as usual.
    ///
    /// It starts closed with empty counts. It stays in this mode until a [reset](Self::reset), or
    /// until another method of the handle changes its mode. The state and the
    /// [snapshot](Self::snapshot) show what the circuit would have done. A job that it would have
    /// rejected emits [`CircuitWouldReject`](crate::EventKind::CircuitWouldReject).
    pub fn observe_only(&self) {
        self.shared.set_mode(Mode::ObserveOnly);
    }

    /// Closes the circuit, resets its counts, and returns to automatic mode.
    pub fn reset(&self) {
        self.shared.set_mode(Mode::Automatic);
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.shared.circuit.settings()
    }

    /// Changes the settings at run time, without losing counts.
    ///
    /// - Counts stay, as far as they fit into a smaller window.
    /// - The state, the running cooldown and running probes stay.
    /// - The next outcome uses the new settings.
    /// - If another thread changes the settings at the same time, the closure runs again with those
    ///   settings, so no change is lost.
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
            // The closure is user code and runs without the lock. It runs again if another thread
            // was faster.
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
