//! What a tracking layer is known by, and what it watcher to its job.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use super::super::core::{Core, Watcher};

/// What a tracking layer watcher to the job that it begins or joins.
pub(crate) struct Joining<'a> {
    pub(crate) watcher: Watcher<'a>,
    pub(crate) layer: LayerId,
}

/// Tells a tracking layer of a stack from every other, and so a repeated call of it from a new one. Given when the
/// layer is put around a service and kept by that service's clones: a foreign retry clones the service,
/// while another stack has an id of its own even where it has the same layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerId(NonZeroU32);

impl LayerId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // The counter may wrap, at worst to the id of a service of long ago.
        Self(NonZeroU32::new(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap_or(NonZeroU32::MAX))
    }

    /// Whether the job is of the stack of this layer, and still runs.
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
