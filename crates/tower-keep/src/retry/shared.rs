use std::sync::{Mutex, PoisonError};

use super::layer::RetryLayer;

/// What a call takes along with one reference count.
pub(super) struct Shared<S, P, C> {
    pub(super) layer: RetryLayer<P, C>,
    /// Cloned when a second attempt comes: a call that succeeds clones no service.
    template: Mutex<S>,
}

impl<S: Clone, P, C> Shared<S, P, C> {
    pub(super) fn new(layer: RetryLayer<P, C>, template: S) -> Self {
        Self {
            layer,
            template: Mutex::new(template),
        }
    }

    /// A service for another attempt, not ready.
    #[cold]
    pub(super) fn service(&self) -> S {
        // The service's own `Clone` runs under this lock. Nothing else ever does, so it could only wait for itself.
        self.template
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
