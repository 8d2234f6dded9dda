//! The errors of a dispatched job, and of a request that was not dispatched.

use std::{any::Any, error::Error, fmt};

use crate::{error::panic_message, event::JobId, job::Cancelled};

/// The error of a dispatched job without a result of its stack: it was cancelled, it panicked, or it never began.
///
/// It reads like the reason that it holds, which is its [`source`](Error::source), so that [`find`](crate::find) finds
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobError {
    /// It was cancelled: by hand, at a shutdown, or because its runtime is gone.
    Cancelled(Cancelled),
    /// It panicked.
    Panicked(Panicked),
    /// It did not begin, as too many others ran.
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

/// As many jobs run as the [limit](super::Dispatcher::limit) allows, and this one did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} dispatched jobs are in flight, as many as are allowed")]
pub struct Full {
    limit: usize,
}

impl Full {
    /// With this limit, as for a test of code that handles one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit }
    }

    /// How many jobs may run at a time.
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

    /// Which job.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.job
    }

    /// What the panic said; `None` if it was not a text.
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

/// Why no job began, with the request for another try: at the [limit](super::Dispatcher::limit), or after a shutdown.
///
/// [`try_dispatch`](super::Dispatcher::try_dispatch) gives back its request in it,
/// [`try_reserve`](super::Dispatcher::try_reserve) has none to give back. The error reads like the reason that it holds,
/// which is its [`source`](Error::source), so that [`find`](crate::find) finds it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryDispatchError<Request = ()> {
    /// As many jobs run as the limit allows.
    Full {
        /// The request that was not dispatched.
        request: Request,
        /// With the limit.
        reason: Full,
    },
    /// The dispatcher is shut down.
    ShutDown {
        /// The request that was not dispatched.
        request: Request,
        /// With the reason of the shutdown.
        reason: Cancelled,
    },
}

impl TryDispatchError {
    /// The same reason, for this request.
    pub(super) fn with_request<Request>(self, request: Request) -> TryDispatchError<Request> {
        match self {
            Self::Full { reason, .. } => TryDispatchError::Full { request, reason },
            Self::ShutDown { reason, .. } => TryDispatchError::ShutDown { request, reason },
        }
    }
}

impl<Request> TryDispatchError<Request> {
    /// The request, for another try.
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
