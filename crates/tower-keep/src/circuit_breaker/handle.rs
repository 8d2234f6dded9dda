use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{shared::Shared, state::State};

/// Reads, watches and forces the state of a circuit.
#[derive(Clone)]
pub struct CircuitBreakerHandle {
    pub(super) shared: Arc<Shared>,
}

impl CircuitBreakerHandle {
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

    /// How many calls failed in a row, while closed.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.shared.circuit.failures()
    }

    /// How long it is until a call may be let through: `None` if one may now, or if the circuit was opened by hand.
    #[must_use]
    pub fn time_until_probe(&self) -> Option<Duration> {
        self.shared.circuit.time_until_probe(self.shared.now())
    }

    /// Watches the state. States that come in quick succession may be seen as the last of them.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// Opens the circuit until it is [reset](Self::reset) or forced closed.
    pub fn force_open(&self) {
        self.shared.circuit.force_open();
        self.shared.publish();
    }

    /// Closes the circuit, and keeps it closed whatever fails, until it is [reset](Self::reset) or forced open.
    pub fn force_closed(&self) {
        self.shared.circuit.force_closed();
        self.shared.publish();
    }

    /// Closes the circuit with nothing counted, and lets it act by itself again.
    pub fn reset(&self) {
        self.shared.circuit.reset();
        self.shared.publish();
    }
}

impl fmt::Debug for CircuitBreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerHandle")
            .field("name", &self.name())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
