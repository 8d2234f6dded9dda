//! The listeners of `on_transition`.

use std::sync::{Arc, Mutex, PoisonError};

use super::transition::Transition;
use crate::error::unharmed;

type Listener = dyn Fn(&Transition) + Send + Sync;

/// The listeners of a layer. All its circuits share them.
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

    /// A copy of the list, for a layer that is derived from another.
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

    /// Calls the listeners in the order of registration. A panic of a listener is caught.
    #[cold]
    pub(super) fn notify(&self, transition: impl FnOnce() -> Transition) {
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
