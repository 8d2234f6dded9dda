//! The errors of the layer.

use std::{error::Error, fmt, sync::Arc};

use crate::{
    error::BoxError,
    event::{CancelReason, JobId},
    job::Cancelled,
};

/// This call was not executed, or not to its end, because of another one with the same key.
///
/// Where the other one took its place, the [`source`](Error::source) is [`Cancelled`], so that [`find`](crate::find)
/// finds that too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    job: Option<JobId>,
    how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    Rejected,
    /// With what the panic said.
    Panicked(Option<Arc<str>>),
    // Boxed, as it is rare.
    Replaced(Box<Cancelled>),
    /// With the executions that wait for each other.
    Cycle(Arc<str>),
}

impl Duplicate {
    /// A duplicate of this job.
    #[must_use]
    pub fn new(job: Option<JobId>) -> Self {
        Self {
            job,
            how: How::Rejected,
        }
    }

    /// A call whose place this job took.
    #[must_use]
    pub fn replaced_by(job: Option<JobId>) -> Self {
        Self::replaced_with(job, Cancelled::new(CancelReason::Replaced))
    }

    /// As [`replaced_by`](Self::replaced_by), where the call had a job itself.
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

    pub(super) fn of_itself(job: Option<JobId>, cycle: Arc<str>) -> Self {
        Self {
            job,
            how: How::Cycle(cycle),
        }
    }

    /// The executions that this call would have made wait for each other, by their keys and jobs: it was made inside a
    /// joined execution, and would have waited for that. `None` for any other duplicate.
    #[must_use]
    pub fn cycle(&self) -> Option<&str> {
        match &self.how {
            How::Cycle(cycle) => Some(cycle),
            _ => None,
        }
    }

    /// The job that executes the request, or that took this one's place; `None` if no layer of its stack tracks it, or
    /// none outside this one had begun it by then.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        self.job
    }

    /// Whether the execution panicked that callers joined, or could have joined.
    #[must_use]
    pub fn execution_panicked(&self) -> bool {
        matches!(self.how, How::Panicked(_))
    }

    /// What that panic said; `None` also if it was not a text.
    #[must_use]
    pub fn panic_message(&self) -> Option<&str> {
        match &self.how {
            How::Panicked(message) => message.as_deref(),
            _ => None,
        }
    }

    /// That a newer call took the place of this one, with the reason [`Replaced`](CancelReason::Replaced) and this
    /// call's own job; `None` if the call was rejected, or had joined an execution.
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

/// The error of an execution that several callers joined. It reads like the error itself, which is its
/// [`source`](Error::source), so that [`find`](crate::find) finds it.
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
