//! [`LimitScope`]: which time limit expired.

use std::{fmt, sync::Arc};

/// Which time limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitScope {
    /// The limit over all attempts and waits.
    Overall,
    /// The limit of one attempt.
    Attempt,
    /// The limit on the time without progress.
    Idle,
    /// The limit of a named step inside the job.
    Step(Arc<str>),
}

impl fmt::Display for LimitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overall => f.write_str("overall"),
            Self::Attempt => f.write_str("attempt"),
            Self::Idle => f.write_str("idle"),
            Self::Step(name) => write!(f, "step {name:?}"),
        }
    }
}
