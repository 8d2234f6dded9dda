//! `BodyEnd`: how a response body ended.

use std::{error::Error, fmt};

use crate::{Rejection, http::ErrorKind};

/// How a response body ended.
///
/// ```
/// use tower_keep::http::body::BodyEnd;
///
/// assert_eq!(BodyEnd::Truncated.to_string(), "truncated");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyEnd {
    /// It was read to its end, or it was empty.
    Complete,
    /// It ended early, with an error.
    Truncated,
    /// It ended early, because it took too long.
    Stalled,
    /// Its reader dropped it before its end.
    Dropped,
}

impl BodyEnd {
    /// The name, as in log records: `complete`, `truncated`, `stalled` or `dropped`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Truncated => "truncated",
            Self::Stalled => "stalled",
            Self::Dropped => "dropped",
        }
    }

    pub(super) fn of_error(error: &(dyn Error + 'static)) -> Self {
        let is_late = matches!(Rejection::of(error), Some(Rejection::TimedOut))
            || ErrorKind::of(error) == ErrorKind::BodyStalled;
        if is_late {
            Self::Stalled
        } else {
            Self::Truncated
        }
    }
}

impl fmt::Display for BodyEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
