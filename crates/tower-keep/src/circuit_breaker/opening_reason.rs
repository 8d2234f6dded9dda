//! The reasons why a circuit opens, and their texts. Pure.

use std::{sync::Arc, time::Duration};

/// The circuit's name, and the failure that opened it last. All rejections share it, so that a
/// rejection costs one reference count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RejectionFacts {
    pub(super) circuit: Arc<str>,
    pub(super) cause: Option<Arc<str>>,
}

/// The reason why a circuit opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpeningReason {
    /// The last call failed. The caller of the state machine makes the text.
    Failure,
    /// The last call was slow.
    Slow { took: Duration, limit: Duration },
    /// The failure rate is reached, although the last call did not fail.
    FailureRate { failures: u64, calls: u64 },
    /// The slow-call rate is reached, although the last call was not slow.
    SlowRate {
        slow: u64,
        calls: u64,
        limit: Duration,
    },
    /// New settings allow fewer failures in a row than there were.
    Failures(u32),
    /// The probes of the half-open state hang.
    ProbesHang,
}

impl OpeningReason {
    /// The text of the reason; `None` for [`Failure`](Self::Failure).
    pub(super) fn text(self) -> Option<Arc<str>> {
        let text = match self {
            Self::Failure => return None,
            Self::Slow { took, limit } => {
                let (took, limit) = (rounded(took), rounded(limit));
                format!("a slow call took {took:?} (limit: {limit:?})")
            }
            Self::FailureRate { failures, calls } => format!("{failures} of {calls} calls failed"),
            Self::SlowRate { slow, calls, limit } => {
                let limit = rounded(limit);
                format!("{slow} of {calls} calls took {limit:?} or longer")
            }
            Self::Failures(failures) => format!("{failures} calls failed in a row"),
            Self::ProbesHang => "the probes timed out".to_owned(),
        };
        Some(text.into())
    }
}

/// Rounds up to whole milliseconds, for texts.
pub(super) fn rounded(duration: Duration) -> Duration {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}
