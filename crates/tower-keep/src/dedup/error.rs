//! `Duplicate`, the error of a rejected or replaced call; and the error that joined callers share.

use std::{error::Error, fmt, sync::Arc};

use crate::{
    error::BoxError,
    event::{CancelReason, JobId},
    job::Cancelled,
};

/// The error of a call that was rejected or replaced because of another call with the same key, or
/// whose joined execution panicked.
///
/// If a newer call replaced this one, the [`source`](Error::source) is [`Cancelled`], which
/// [`find`](crate::find) finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    job: Option<JobId>,
    how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    Rejected,
    /// With the panic's message.
    Panicked(Option<Arc<str>>),
    // Boxed, as it is rare.
    Replaced(Box<Cancelled>),
    /// With the executions that would wait for each other.
    Cycle(Arc<str>),
}

impl Duplicate {
    /// Creates the error of a call that was rejected as a duplicate of this job.
    #[must_use]
    pub fn new(job: Option<JobId>) -> Self {
        Self {
            job,
            how: How::Rejected,
        }
    }

    /// Creates the error of a call that this job replaced.
    #[must_use]
    pub fn replaced_by(job: Option<JobId>) -> Self {
        Self::replaced_with(job, Cancelled::new(CancelReason::Replaced))
    }

    /// As [`replaced_by`](Self::replaced_by), for a call with its own job.
    pub(super) fn replaced_of(job: Option<JobId>, of: Option<JobId>) -> Self {
        match of {
            Some(of) => Self::replaced_with(job, Cancelled::of(of, CancelReason::Replaced)),
            None => Self::replaced_by(job),
        }
    }

    fn replaced_with(job: Option<JobId>, cancelled: Cancelled) -> Self {
        Self {
            job,
            how: How::Replaced(Box::new(cancelled)),
        }
    }

    pub(super) fn panicked(job: Option<JobId>, message: Option<Arc<str>>) -> Self {
        Self {
            job,
            how: How::Panicked(message),
        }
    }

    pub(super) fn in_cycle(job: Option<JobId>, cycle: Arc<str>) -> Self {
        Self {
            job,
            how: How::Cycle(cycle),
        }
    }

    /// The cycle of executions that would wait for each other, by their keys and jobs. `None` for
    /// any other duplicate.
    ///
    /// The code of a joined execution made this call, and the call would have waited for that
    /// execution. A call counts as waiting until it ends. That holds under a time limit, in a
    /// `select!`, and in a task that the code does not await. So of calls that wait for each
    /// other's result, at least one fails.
    #[must_use]
    pub fn cycle(&self) -> Option<&str> {
        match &self.how {
            How::Cycle(cycle) => Some(cycle),
            _ => None,
        }
    }

    /// The job that executes the request, or that replaced this call.
    ///
    /// `None` if no layer of its stack tracks it, or if no layer outside the Dedup layer had begun
    /// it by then.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        self.job
    }

    /// Whether an execution panicked that callers joined or could have joined.
    #[must_use]
    pub fn execution_panicked(&self) -> bool {
        matches!(self.how, How::Panicked(_))
    }

    /// The message of that panic; `None` if it was not a text, or there was no panic.
    #[must_use]
    pub fn panic_message(&self) -> Option<&str> {
        match &self.how {
            How::Panicked(message) => message.as_deref(),
            _ => None,
        }
    }

    /// The cancellation of a call that a newer call replaced, with the reason
    /// [`Replaced`](CancelReason::Replaced) and this call's own job.
    ///
    /// `None` if the call was rejected or had joined an execution.
    #[must_use]
    pub fn replaced(&self) -> Option<&Cancelled> {
        match &self.how {
            How::Replaced(cancelled) => Some(cancelled),
            _ => None,
        }
    }
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.how {
            How::Cycle(cycle) => {
                return write!(f, "the request would wait for itself: {cycle}");
            }
            How::Rejected => "an identical request is in flight",
            How::Panicked(_) => "the execution of the request panicked",
            How::Replaced(_) => "a newer request with the same key took its place",
        })?;
        if let Some(job) = self.job {
            write!(f, " as job {job}")?;
        }
        match self.panic_message() {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

impl Error for Duplicate {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.replaced().map(|cancelled| cancelled as _)
    }
}

/// The error of an execution that several callers share. It displays like the original error, which
/// is its [`source`](Error::source), so that [`find`](crate::find) finds it.
#[derive(Clone, Debug)]
pub(super) struct SharedError(pub(super) Arc<BoxError>);

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for SharedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&**self.0)
    }
}
