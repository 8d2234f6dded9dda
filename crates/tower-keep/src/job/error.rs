//! The errors of a job's own code.

use std::{fmt, time::Duration};

use crate::event::{CancelReason, JobId, LimitScope};

/// The job was cancelled.
///
/// The reason that the Cancel layer gives its caller, and that [`Job::checkpoint`](super::Job::checkpoint) gives the
/// code inside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("job cancelled: {reason}")]
pub struct Cancelled {
    reason: CancelReason,
    job: Option<JobId>,
}

impl Cancelled {
    /// A cancellation for this reason, as for a test of code that handles one.
    #[must_use]
    pub fn new(reason: CancelReason) -> Self {
        Self { reason, job: None }
    }

    pub(crate) fn of(job: JobId, reason: CancelReason) -> Self {
        Self {
            reason,
            job: Some(job),
        }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &CancelReason {
        &self.reason
    }

    /// The job that was cancelled, if it came to be one.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        self.job
    }
}

/// A time limit expired: the reason of the Timeout layer and of a step's limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elapsed {
    scope: LimitScope,
    limit: Duration,
    attempt: u32,
}

impl Elapsed {
    /// The limit of this scope expired, in this attempt, counted from 1.
    #[must_use]
    pub fn new(scope: LimitScope, limit: Duration, attempt: u32) -> Self {
        Self {
            scope,
            limit,
            attempt,
        }
    }

    /// Which limit it was.
    #[must_use]
    pub fn scope(&self) -> &LimitScope {
        &self.scope
    }

    /// How long the limit was.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// The attempt that was running, counted from 1; always 1 where the stack tracks no job.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} time limit of {:?} expired", self.scope, self.limit)?;
        if self.attempt > 1 {
            write!(f, " in attempt {}", self.attempt)?;
        }
        Ok(())
    }
}

impl std::error::Error for Elapsed {}
