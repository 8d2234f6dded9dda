use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::state::{Circuit, Settings, State, Transition};
use crate::{event::EventKind, job::core::Core};

/// The circuit, and what is told of it.
pub(crate) struct Shared {
    pub(crate) circuit: Circuit,
    pub(super) state: watch::Sender<State>,
    name: Mutex<Arc<str>>,
    born: Instant,
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            circuit: Circuit::new(settings),
            state: watch::Sender::new(State::Closed),
            name: Mutex::new("default".into()),
            born: Instant::now(),
        }
    }

    pub(super) fn rename(&self, name: Arc<str>) {
        *self.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    /// The time on the circuit's own scale.
    pub(super) fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.born)
    }

    pub(super) fn name(&self) -> Arc<str> {
        self.name
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Tells whoever watches the state what it is now. Called after a transition, without a lock of the circuit held:
    /// of two transitions at once both tell the later state.
    pub(super) fn publish(&self) {
        self.state.send_if_modified(|told| {
            let state = self.circuit.state();
            std::mem::replace(told, state) != state
        });
    }

    /// Tells the watchers, and the job that caused it, of a transition.
    #[cold]
    pub(super) fn announce(&self, transition: Transition, job: Option<&Core>) {
        self.publish();
        if let Some(job) = job {
            job.emit(|| {
                let circuit = self.name();
                match transition {
                    Transition::Opened(cooldown) => EventKind::CircuitOpened { circuit, cooldown },
                    Transition::HalfOpened => EventKind::CircuitHalfOpened { circuit },
                    Transition::Closed => EventKind::CircuitClosed { circuit },
                }
            });
        }
    }
}
