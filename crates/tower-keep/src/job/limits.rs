//! Time limits of a stack, or of a piece of code. Pure.
//!
//! They are [ambient](super::context), like the job, and not kept with it: a limit is on a piece of code, and the next
//! attempt of the same job, or a layer outside, may be under another. So they nest as the layers do.

use std::time::Duration;

use tokio::time::Instant;

/// The nearest limits of all layers around.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// When the whole job is to be over.
    pub(crate) deadline: Option<Instant>,
    /// When the attempt or the step that runs is to be over, which the job may survive.
    pub(crate) until: Option<Instant>,
    /// Of each step that sets none itself.
    pub(crate) step: Option<Duration>,
}

impl Limits {
    /// Those that also hold for a task that runs on if nobody waits for it.
    pub(crate) fn for_detached(&self) -> Self {
        Self {
            deadline: self.deadline,
            ..Self::default()
        }
    }

    /// Only a time at which the code that runs is to be over.
    pub(crate) fn until(until: Instant) -> Self {
        Self {
            until: Some(until),
            ..Self::default()
        }
    }

    /// When the code under these limits is stopped.
    pub(crate) fn nearest(&self) -> Option<Instant> {
        nearest(self.deadline, self.until)
    }

    /// What these limits are to a stack that the code under them calls, in a job or in none.
    pub(super) fn for_callee(&self, in_job: bool) -> Self {
        Self {
            deadline: self.deadline.filter(|_| in_job),
            until: if in_job { self.until } else { self.nearest() },
            step: None,
        }
    }

    /// The nearer of each.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            deadline: nearest(self.deadline, other.deadline),
            until: nearest(self.until, other.until),
            step: nearest(self.step, other.step),
        }
    }
}

/// The lesser, if there are two.
pub(crate) fn nearest<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
