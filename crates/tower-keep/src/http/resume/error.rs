//! `NotResumed`: why a body that broke off was not resumed.

use std::{error::Error, fmt};

use http::StatusCode;

use crate::{error::BoxError, event::GiveUpReason};

/// A response body broke off, and it was not resumed.
///
/// [`source`](Error::source) is the error of the last range request, or else the error that
/// interrupted the body. So [`Rejection::of`](crate::Rejection::of), [`find`](crate::find) and
/// [`ErrorKind::of`](crate::http::ErrorKind::of) see what happened.
#[derive(Debug)]
pub struct NotResumed {
    delivered: u64,
    reason: NotResumedReason,
    interruption: BoxError,
    /// Of the range request.
    failure: Option<BoxError>,
}

/// Why a response body was not resumed.
///
/// ```
/// use tower_keep::http::resume::NotResumedReason;
///
/// assert_eq!(NotResumedReason::Changed.to_string(), "the representation has changed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotResumedReason {
    /// No range request was sent: the maximum, the budget or the time was used up.
    GaveUp(GiveUpReason),
    /// The range requests failed. The last error is the source.
    Failed,
    /// The server answered a range request with this status.
    Status(StatusCode),
    /// The server has another representation now, or does not prove that it is the same one: its
    /// validator is another one or is missing, or its length differs, or it has another URL.
    Changed,
    /// The server sent the same representation again, from its beginning: it ignores ranges.
    RangeIgnored,
    /// The server sent another part than the layer asked for, or an encoded part.
    WrongRange,
}

impl NotResumed {
    pub(super) fn new(
        delivered: u64,
        reason: NotResumedReason,
        interruption: BoxError,
        failure: Option<BoxError>,
    ) -> Self {
        Self {
            delivered,
            reason,
            interruption,
            failure,
        }
    }

    /// The number of bytes that the reader has got. They are the beginning of the body.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Why the body was not resumed.
    #[must_use]
    pub fn reason(&self) -> NotResumedReason {
        self.reason
    }

    /// The error that interrupted the body.
    #[must_use]
    pub fn interruption(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.interruption
    }
}

impl fmt::Display for NotResumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (delivered, reason) = (self.delivered, self.reason);
        let plural = if delivered == 1 { "" } else { "s" };
        write!(
            f,
            "the response body broke off after {delivered} byte{plural} and was not resumed: {reason}"
        )
    }
}

impl Error for NotResumed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.failure.as_deref().unwrap_or(&*self.interruption) as _)
    }
}

impl fmt::Display for NotResumedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GaveUp(reason) => fmt::Display::fmt(reason, f),
            Self::Failed => f.write_str("the range request failed"),
            // The reason phrase could be anything.
            Self::Status(status) => {
                write!(
                    f,
                    "the server answered a range request with {}",
                    status.as_u16()
                )
            }
            Self::Changed => f.write_str("the representation has changed"),
            Self::RangeIgnored => f.write_str("the server ignores ranges"),
            Self::WrongRange => f.write_str("the server sent another range"),
        }
    }
}
