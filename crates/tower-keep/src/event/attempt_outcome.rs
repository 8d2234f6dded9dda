//! [`AttemptOutcome`]: how an attempt ended.

use std::fmt;

use super::FailureCause;

/// How an attempt ended, as the retry's policy sees it. If the job ended the attempt: how the job
/// ended.
///
/// ```
/// use tower_keep::{AttemptOutcome, FailureCause};
///
/// assert_eq!(AttemptOutcome::Succeeded.to_string(), "succeeded");
/// assert_eq!(AttemptOutcome::Failed(FailureCause::TimedOut).to_string(), "failed: timed out");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// Its result was accepted.
    Succeeded,
    /// It failed, a time limit cut it off, or it panicked.
    Failed(FailureCause),
    /// The job was cancelled while it ran.
    Cancelled,
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => f.write_str("succeeded"),
            Self::Failed(cause) => write!(f, "failed: {cause}"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}
