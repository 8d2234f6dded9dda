//! Errors of dispatching: `JobError`, `Full`, `Panicked`, `TryDispatchError`.

use std::{any::Any, error::Error, fmt};

use crate::{error::panic_message, event::JobId, job::Cancelled};

/// The error of a dispatched job that got no result from its stack: it was cancelled, it panicked,
/// or it never began.
///
/// It displays like its reason, which is its [`source`](Error::source), so that
/// [`find`](crate::find) finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobError {
    /// The job was cancelled: by a handle, by a shutdown, or because its runtime is gone.
    Cancelled(Cancelled),
    /// The job panicked.
    Panicked(Panicked),
    /// The job did not begin, as the limit was reached.
    Full(Full),
}

impl JobError {
    fn reason(&self) -> &(dyn Error + 'static) {
        match self {
            Self::Cancelled(cancelled) => cancelled,
            Self::Panicked(panicked) => panicked,
            Self::Full(full) => full,
        }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.reason(), f)
    }
}

impl Error for JobError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.reason())
    }
}

/// The [limit](super::Dispatcher::limit) of jobs in flight is reached, and this job did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("job limit reached: {limit} dispatched jobs are in flight")]
pub struct Full {
    limit: usize,
}

impl Full {
    /// Creates the error for this limit, for tests of code that handles it.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit }
    }

    /// The maximum number of jobs in flight.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// A dispatched job panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    job: JobId,
    message: Option<Box<str>>,
}

impl Panicked {
    pub(super) fn new(job: JobId, panic: Box<dyn Any + Send>) -> Self {
        Self {
            job,
            message: panic_message(panic),
        }
    }

    /// The id of the job.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.job
    }

    /// The panic's message; `None` if it was not a text.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {} panicked", self.job)?;
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

impl Error for Panicked {}

/// The error of [`try_dispatch`](super::Dispatcher::try_dispatch) and
/// [`try_reserve`](super::Dispatcher::try_reserve): the limit is reached, or the dispatcher is shut
/// down.
///
/// `try_dispatch` gives the request back in it. The error displays like its reason, which is its
/// [`source`](Error::source), so that [`find`](crate::find) finds it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryDispatchError<Request = ()> {
    /// The limit is reached.
    Full {
        /// The request that was not dispatched.
        request: Request,
        /// The reason, with the limit.
        reason: Full,
    },
    /// The dispatcher is shut down.
    ShutDown {
        /// The request that was not dispatched.
        request: Request,
        /// The cancellation, with its reason.
        reason: Cancelled,
    },
}

impl TryDispatchError {
    /// The same reason, with this request.
    pub(super) fn with_request<Request>(self, request: Request) -> TryDispatchError<Request> {
        match self {
            Self::Full { reason, .. } => TryDispatchError::Full { request, reason },
            Self::ShutDown { reason, .. } => TryDispatchError::ShutDown { request, reason },
        }
    }
}

impl<Request> TryDispatchError<Request> {
    /// Gives the request back, for another try.
    #[must_use]
    pub fn into_request(self) -> Request {
        match self {
            Self::Full { request, .. } | Self::ShutDown { request, .. } => request,
        }
    }

    fn reason(&self) -> &(dyn Error + 'static) {
        match self {
            Self::Full { reason, .. } => reason,
            Self::ShutDown { reason, .. } => reason,
        }
    }
}

impl<Request> fmt::Debug for TryDispatchError<Request> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryDispatchError")
            .field("reason", &self.reason())
            .finish_non_exhaustive()
    }
}

impl<Request> fmt::Display for TryDispatchError<Request> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.reason(), f)
    }
}

impl<Request> Error for TryDispatchError<Request> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.reason())
    }
}
