//! [`FailureCause`] and [`GiveUpReason`]: why a job failed, and why no retry follows.

use std::fmt;

/// Why no further attempt follows a failed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GiveUpReason {
    /// All allowed retries were made.
    Exhausted,
    /// The retry budget is empty.
    Budget,
    /// The wait would reach the job's deadline.
    Deadline,
    /// The wait would reach the retry's total time.
    TotalTime,
    /// The request cannot be repeated.
    NotRepeatable,
    /// The policy forbids any further attempt, also by outer retries. Or an inner retry gave up and
    /// [stops the outer ones](crate::RetryLayer::stop_outer_retries).
    Forbidden,
    /// The service asked for a longer wait than the retry allows.
    AskedTooLong,
    /// The policy does not retry this error. Only [hooks](crate::RetryLayer::on_give_up) see it;
    /// there is no event.
    NotRetryable,
}

impl fmt::Display for GiveUpReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exhausted => "no retries left",
            Self::Budget => "the retry budget is empty",
            Self::Deadline => "the wait would reach the job's deadline",
            Self::TotalTime => "the wait would reach the total time for all attempts",
            Self::NotRepeatable => "the request cannot be repeated",
            Self::Forbidden => "another attempt is forbidden",
            Self::AskedTooLong => "the service asked for too long a wait",
            Self::NotRetryable => "the error is not retried",
        })
    }
}

/// Why a job failed.
///
/// ```
/// use tower_keep::FailureCause;
///
/// assert_eq!(FailureCause::TimedOut.to_string(), "timed out");
/// assert_eq!(FailureCause::CircuitOpen.to_string(), "the circuit is open");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureCause {
    /// The service returned an error, or a response classified as a failure.
    Error,
    /// A time limit expired.
    TimedOut,
    /// An open circuit rejected it.
    CircuitOpen,
    /// An identical request was in flight.
    Duplicate,
    /// The service panicked.
    Panicked,
    /// A gate rejected the call, such as a full dispatcher or a layer of your own.
    Rejected,
}

impl FailureCause {
    /// Whether a gate rejected the call: an open circuit, an identical request in flight, or any
    /// other gate. Such a job is logged as rejected, at DEBUG by default.
    ///
    /// ```
    /// use tower_keep::FailureCause;
    ///
    /// assert!(FailureCause::CircuitOpen.is_rejection());
    /// assert!(!FailureCause::TimedOut.is_rejection());
    /// ```
    #[must_use]
    pub fn is_rejection(self) -> bool {
        match self {
            Self::CircuitOpen | Self::Duplicate | Self::Rejected => true,
            Self::Error | Self::TimedOut | Self::Panicked => false,
        }
    }
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "an error",
            Self::TimedOut => "timed out",
            Self::CircuitOpen => "the circuit is open",
            Self::Duplicate => "an identical request was in flight",
            Self::Panicked => "the service panicked",
            Self::Rejected => "a gate turned it away",
        })
    }
}
