//! Errors of cancellation and time limits: [`Cancelled`], [`Elapsed`].

use std::{fmt, io, time::Duration};

use crate::event::{CancelReason, JobId, LimitScope};

/// The job was cancelled.
///
/// The Cancel layer returns it to its caller, and [`Job::checkpoint`](super::Job::checkpoint) to
/// the code inside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("job cancelled: {reason}")]
pub struct Cancelled {
    reason: CancelReason,
    job: Option<JobId>,
}

impl Cancelled {
    /// A cancellation for this reason: for tests of code that handles it.
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

    /// Why the job was cancelled.
    #[must_use]
    pub fn reason(&self) -> &CancelReason {
        &self.reason
    }

    /// The cancelled job; `None` if the call was rejected before it had one.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        self.job
    }
}

/// The [`Cancelled`] is inside, and [`find`](crate::find) finds it.
impl From<Cancelled> for io::Error {
    fn from(why: Cancelled) -> Self {
        Self::other(why)
    }
}

/// A time limit expired: the error of the Timeout layer and of a step's limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elapsed {
    scope: LimitScope,
    limit: Duration,
    attempt: u32,
    name: Option<&'static str>,
}

impl Elapsed {
    /// The limit of this scope expired in this attempt. Attempts count from 1.
    #[must_use]
    pub fn new(scope: LimitScope, limit: Duration, attempt: u32) -> Self {
        Self {
            scope,
            limit,
            attempt,
            name: None,
        }
    }

    /// Adds the name of the layer with the limit: for tests of code that handles it.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[must_use]
    #[track_caller]
    pub const fn named(mut self, name: &'static str) -> Self {
        assert!(!name.is_empty(), "the name of a limit must not be empty");
        self.name = Some(name);
        self
    }

    /// The name of the layer with the limit, if it has one: see
    /// [`TimeoutLayer::named`](crate::TimeoutLayer::named).
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name
    }

    /// Which limit expired.
    #[must_use]
    pub fn scope(&self) -> &LimitScope {
        &self.scope
    }

    /// The length of the limit.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// The attempt that was running, counted from 1. Always 1 if the stack tracks no job.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_step = matches!(self.scope, LimitScope::Step(_));
        if !is_step {
            write!(f, "{} ", self.scope)?;
        }
        f.write_str("time limit ")?;
        if let Some(name) = self.name {
            write!(f, "{name:?} ")?;
        }
        write!(f, "of {:?} ", self.limit)?;
        if is_step {
            write!(f, "for {} ", self.scope)?;
        }
        f.write_str("expired")?;
        if self.attempt > 1 {
            write!(f, " in attempt {}", self.attempt)?;
        }
        Ok(())
    }
}

impl std::error::Error for Elapsed {}

/// The kind is [`TimedOut`](io::ErrorKind::TimedOut). The [`Elapsed`] is inside, and
/// [`find`](crate::find) finds it.
impl From<Elapsed> for io::Error {
    fn from(why: Elapsed) -> Self {
        Self::new(io::ErrorKind::TimedOut, why)
    }
}
