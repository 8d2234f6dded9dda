//! The identity of a tracking layer, and the watcher that it adds to its job.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use super::super::core::{Core, Watcher};

/// What a tracking layer adds to the job that it begins or joins.
pub(crate) struct Joining<'a> {
    pub(crate) watcher: Watcher<'a>,
    pub(crate) layer: LayerId,
}

/// Identifies a tracking layer in a stack, and so distinguishes a repeated call from a new one.
/// Assigned when the layer wraps a service, and kept by the service's clones. A foreign retry
/// clones the service and so keeps the id. Another stack has another id, even with the same layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerId(NonZeroU32);

impl LayerId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // The counter may wrap. At worst an id repeats that of a service from long ago.
        Self(NonZeroU32::new(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap_or(NonZeroU32::MAX))
    }

    /// Whether the job belongs to this layer's stack and still runs.
    pub(super) fn belongs_to(self, job: &Core) -> bool {
        !job.state().is_over() && job.members.has(self.0.get())
    }

    pub(super) fn join(self, job: &Core) {
        job.members.add(self.0.get());
    }
}

impl Joining<'_> {
    pub(super) fn join(&self, job: &Arc<Core>) {
        self.layer.join(job);
        self.watcher.join(job);
    }
}
