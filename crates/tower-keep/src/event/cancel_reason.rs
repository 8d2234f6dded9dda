//! [`CancelReason`]: why a job was cancelled.

use std::{borrow::Cow, fmt, sync::Arc};

/// Why a job was cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelReason {
    /// Requested, through a handle or through a token of the Cancel layer.
    Requested,
    /// A newer job of the same group replaced it.
    Replaced,
    /// Its overall time limit expired. The job ends as failed, but its token fires too.
    TimedOut,
    /// The layer that tracks the job was shut down.
    Shutdown,
    /// The caller dropped the future.
    CallerGone,
    /// A reason of your own. Any text converts into one.
    Other(Arc<str>),
}

impl From<&str> for CancelReason {
    fn from(reason: &str) -> Self {
        Self::Other(reason.into())
    }
}

impl From<String> for CancelReason {
    fn from(reason: String) -> Self {
        Self::Other(reason.into())
    }
}

impl From<Arc<str>> for CancelReason {
    fn from(reason: Arc<str>) -> Self {
        Self::Other(reason)
    }
}

impl From<Cow<'_, str>> for CancelReason {
    fn from(reason: Cow<'_, str>) -> Self {
        Self::Other(reason.into())
    }
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "requested",
            Self::Replaced => "replaced by a newer job",
            Self::TimedOut => "timed out",
            Self::Shutdown => "shutting down",
            Self::CallerGone => "the caller went away",
            Self::Other(text) => text,
        })
    }
}
