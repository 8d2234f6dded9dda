//! Why a circuit opens, as the state machine knows it, and the text for each reason. Pure.

use std::{sync::Arc, time::Duration};

/// What all calls learn that a circuit rejects: its name, and the failure that opened it the last
/// time. They share it, so that a rejection takes one reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) circuit: Arc<str>,
    pub(super) cause: Option<Arc<str>>,
}

/// What makes a circuit open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpeningReason {
    /// The call that ended just now failed. Its caller knows the text.
    Failure,
    /// The call that ended just now was slow: it took this long, and this long is slow.
    Slow { took: Duration, limit: Duration },
    /// A share of the calls in the window failed, and the last call brought no failure.
    FailureRate { failures: u64, calls: u64 },
    /// A share of the calls is slow, and the last call brought no slow one.
    SlowRate {
        slow: u64,
        calls: u64,
        limit: Duration,
    },
    /// The settings now allow fewer failures than there were before.
    Failures(u32),
    /// The probes of the half-open state do not come back.
    ProbesHang,
}

impl OpeningReason {
    /// The text; `None` where only the caller of the failed call knows it.
    pub(super) fn text(self) -> Option<Arc<str>> {
        let text = match self {
            Self::Failure => return None,
            Self::Slow { took, limit } => {
                let (took, limit) = (rounded(took), rounded(limit));
                format!("a call took {took:?}, and {limit:?} is slow")
            }
            Self::FailureRate { failures, calls } => format!("{failures} of {calls} calls failed"),
            Self::SlowRate { slow, calls, limit } => {
                let limit = rounded(limit);
                format!("{slow} of {calls} calls took {limit:?} or longer")
            }
            Self::Failures(failures) => format!("{failures} calls failed in a row"),
            Self::ProbesHang => "the probes did not come back in time".to_owned(),
        };
        Some(text.into())
    }
}

/// In whole milliseconds, rounded up: as much as anybody wants to read.
pub(super) fn rounded(duration: Duration) -> Duration {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}
