use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::layer::RetryLayer;

/// What a call takes along with one reference count.
pub(super) struct Shared<S, P, C> {
    pub(super) layer: RetryLayer<P, C>,
    /// Cloned when a second attempt comes: a call that succeeds clones no service.
    template: Mutex<S>,
    /// From when the ends of calls are counted, where they have one.
    born: Option<Instant>,
}

/// When all attempts of a call are to be over, in nanoseconds from the birth of what it shares.
pub(super) type End = u64;

/// Never.
const NO_END: End = End::MAX;

impl<S: Clone, P, C> Shared<S, P, C> {
    pub(super) fn new(layer: RetryLayer<P, C>, template: S) -> Self {
        Self {
            born: layer.settings.max_total_time.map(|_| Instant::now()),
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

impl<S, P, C> Shared<S, P, C> {
    /// The end of a call that begins now.
    #[inline]
    pub(super) fn end(&self) -> End {
        match (self.born, self.layer.settings.max_total_time) {
            (Some(born), Some(total)) => {
                let end = born.elapsed().saturating_add(total);
                u64::try_from(end.as_nanos()).unwrap_or(NO_END)
            }
            _ => NO_END,
        }
    }

    pub(super) fn end_at(&self, end: End) -> Option<Instant> {
        if end == NO_END {
            return None;
        }
        self.born?.checked_add(Duration::from_nanos(end))
    }
}
