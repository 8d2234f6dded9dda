//! How a search ended, and the words for it.

use std::{fmt, sync::Arc};

use tower_keep::{
    CancelReason,
    cancel::{Cancelled, ShutdownReport},
};
use tower_keep_examples::human::Took;

use crate::{error::SearchError, found::Found, journal::Via, query::Ask};

/// A search that is over.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) ask: Ask,
    pub(crate) how: How,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum How {
    Found(Arc<Found>, Via),
    /// Another query took its place.
    Replaced,
    Cancelled(CancelReason),
    /// It came after the shutdown began.
    Refused,
    Failed(SearchError),
}

impl How {
    /// `late` says that it was asked after the shutdown began.
    pub(crate) fn new(result: Result<Arc<Found>, SearchError>, via: Via, late: bool) -> Self {
        match result {
            Ok(found) => Self::Found(found, via),
            Err(SearchError::Cancelled(cancelled)) => Self::stopped(&cancelled, late),
            Err(error) => Self::Failed(error),
        }
    }

    fn stopped(cancelled: &Cancelled, late: bool) -> Self {
        match cancelled.reason() {
            CancelReason::Replaced => Self::Replaced,
            CancelReason::Shutdown if late => Self::Refused,
            reason => Self::Cancelled(reason.clone()),
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(found, via) => {
                let count = format!(
                    "{} in {}",
                    Counted(found.lines, "line"),
                    Counted(found.files, "file")
                );
                match via {
                    Via::Own => write!(f, "found {count}"),
                    Via::Joined => write!(f, "joined, found {count}"),
                    Via::Kept(age) => write!(f, "kept for {}: {count}", Took(*age)),
                }
            }
            Self::Replaced => f.write_str("replaced"),
            Self::Cancelled(reason) => write!(f, "cancelled: {reason}"),
            Self::Refused => f.write_str("refused: shutting down"),
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

/// `1 line`, `2 lines`.
struct Counted(usize, &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, what) = self;
        let s = if *count == 1 { "" } else { "s" };
        write!(f, "{count} {what}{s}")
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {:?}", self.how, self.ask.query.text)
    }
}

/// What became of the searches at the shutdown.
pub(crate) fn farewell(tally: &ShutdownReport) -> String {
    format!(
        "Shut down: {} finished, {} cancelled, {} refused.",
        tally.finished,
        tally.cancelled + tally.cancelled_otherwise,
        tally.refused
    )
}
