use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    settings::Settings,
    state::{Circuit, Mode, State, Transition},
    waiters::Waiters,
};
use crate::{event::EventKind, job::core::Core};

/// The circuit, and what is told of it.
pub(crate) struct Shared {
    pub(crate) circuit: Circuit,
    pub(super) waiters: Waiters,
    state: watch::Sender<State>,
    name: Mutex<Arc<str>>,
    born: Instant,
    /// For the table of circuits by key, on that table's clock.
    last_used: AtomicU64,
}

impl Shared {
    pub(super) fn new(settings: Settings, name: Arc<str>, seed: u64) -> Self {
        Self {
            circuit: Circuit::new(settings, seed),
            waiters: Waiters::default(),
            state: watch::Sender::new(State::Closed),
            name: Mutex::new(name),
            born: Instant::now(),
            last_used: AtomicU64::new(0),
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
        self.circuit.set_mode(mode, self.now());
        self.publish();
    }

    /// Tells whoever watches the state what it is now, and those who wait for it. Called after a transition, without a
    /// lock of the circuit held: of two transitions at once both tell the later state.
    pub(super) fn publish(&self) {
        self.state.send_if_modified(|told| {
            let state = self.circuit.state();
            std::mem::replace(told, state) != state
        });
        self.wake();
    }

    /// Wakes who may go on, or has to wait for another moment than before.
    #[cold]
    pub(super) fn wake(&self) {
        if self.circuit.state() == State::Closed {
            self.waiters.wake_all();
        } else {
            self.waiters.wake_first();
        }
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
