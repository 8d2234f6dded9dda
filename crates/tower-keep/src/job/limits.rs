//! The time limits of a stack or of a piece of code: overall, attempt, step. Pure.
//!
//! Limits are [ambient](super::context), like the job, and not part of it. They bound a piece of
//! code: the next attempt of the same job, or an outer layer, may have other limits. So they nest
//! as the layers do.

use std::time::Duration;

use tokio::time::Instant;

/// The nearest limits of all layers around.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Deadline of the whole job.
    pub(crate) deadline: Option<Instant>,
    /// Deadline of the running attempt or step. The job may continue after it.
    pub(crate) until: Option<Instant>,
    /// Default limit of each step.
    pub(crate) step: Option<Duration>,
}

impl Limits {
    /// The limits that also hold for a detached task.
    pub(crate) fn for_detached(&self) -> Self {
        Self {
            deadline: self.deadline,
            ..Self::default()
        }
    }

    /// These limits, and a deadline of the whole job.
    #[cfg(all(feature = "http", feature = "timeout"))]
    #[inline(always)]
    pub(super) fn with_deadline(self, deadline: Instant) -> Self {
        Self {
            deadline: nearest(self.deadline, Some(deadline)),
            ..self
        }
    }

    /// Only a deadline of the running code.
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

    /// The limits for a stack that the limited code calls, inside or outside the job.
    pub(super) fn for_callee(&self, in_job: bool) -> Self {
        Self {
            deadline: self.deadline.filter(|_| in_job),
            until: if in_job { self.until } else { self.nearest() },
            step: None,
        }
    }

    /// The nearer limit of each kind.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            deadline: nearest(self.deadline, other.deadline),
            until: nearest(self.until, other.until),
            step: nearest(self.step, other.step),
        }
    }
}

/// The smaller value, if both are present; else the present one.
pub(crate) fn nearest<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
