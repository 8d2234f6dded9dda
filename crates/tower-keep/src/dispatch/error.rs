use std::{any::Any, error::Error, fmt};

use crate::{error::panic_message, event::JobId, job::Cancelled};

/// Why a dispatched job came to no result of its stack's.
///
/// It reads like the reason that it holds, which is its [`source`](Error::source), so that [`find`](crate::find) finds
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfinished {
    /// It was cancelled: by hand, at a shutdown, or because its runtime is gone.
    Cancelled(Cancelled),
    /// It panicked.
    Panicked(Panicked),
    /// It did not begin, as too many others ran.
    Full(Full),
}

impl Unfinished {
    fn reason(&self) -> &(dyn Error + 'static) {
        match self {
            Self::Cancelled(cancelled) => cancelled,
            Self::Panicked(panicked) => panicked,
            Self::Full(full) => full,
        }
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.reason(), f)
    }
}

impl Error for Unfinished {
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

/// Why no job may begin now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Too many others run.
    Full(Full),
    /// The dispatcher is shut down.
    ShutDown(Cancelled),
}

impl Refusal {
    fn reason(&self) -> &(dyn Error + 'static) {
        match self {
            Self::Full(full) => full,
            Self::ShutDown(cancelled) => cancelled,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.reason(), f)
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.reason())
    }
}

/// A request that [`try_dispatch`](super::Dispatcher::try_dispatch) gives back. No job began.
#[derive(Clone)]
pub struct Refused<Request> {
    pub(super) request: Request,
    pub(super) why: Refusal,
}

impl<Request> Refused<Request> {
    /// The request, for another try.
    #[must_use]
    pub fn into_request(self) -> Request {
        self.request
    }

    /// Why it was given back.
    #[must_use]
    pub fn why(&self) -> &Refusal {
        &self.why
    }
}

impl<Request> fmt::Debug for Refused<Request> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("why", &self.why)
            .finish_non_exhaustive()
    }
}

impl<Request> fmt::Display for Refused<Request> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.why, f)
    }
}

impl<Request> Error for Refused<Request> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.why.reason())
    }
}
