//! The listeners that are called at each transition of a circuit.

use std::sync::{Arc, Mutex, PoisonError};

use super::transition::Transition;
use crate::error::unharmed;

type Listener = dyn Fn(&Transition) + Send + Sync;

/// The listeners of a layer, which all its circuits share.
#[derive(Default)]
pub(super) struct TransitionListeners {
    /// A leaf lock. No listener is called or dropped while it is held.
    all: Mutex<Vec<Arc<Listener>>>,
}

impl TransitionListeners {
    fn all(&self) -> Vec<Arc<Listener>> {
        self.all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The same listeners, for circuits that are made from others.
    pub(super) fn copy(&self) -> Arc<Self> {
        Arc::new(Self {
            all: Mutex::new(self.all()),
        })
    }

    pub(super) fn add(&self, listener: Arc<Listener>) {
        self.all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(listener);
    }

    /// Calls each listener, in the order in which they were added. A panic of one harms nothing.
    #[cold]
    pub(super) fn tell(&self, transition: impl FnOnce() -> Transition) {
        let all = self.all();
        if all.is_empty() {
            return;
        }
        let transition = transition();
        for listener in all {
            unharmed(|| listener(&transition));
        }
    }
}
