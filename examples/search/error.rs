//! What can go wrong: one flat type for the search and for every layer that stops a call.

use std::{io, sync::Arc};

use tower_keep::{cancel::Cancelled, dedup::Duplicate, timeout::Elapsed};
use tower_keep_examples::human::Took;

/// Why there is no result. `Clone`, so that joined calls can share it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum SearchError {
    #[error("cannot read {folder}: {error}")]
    Folder {
        folder: Arc<str>,
        error: Arc<io::Error>,
    },
    #[error("the search panicked")]
    Panicked,
    #[error("{} time limit of {} expired", .0.scope(), Took(.0.limit()))]
    Timeout(Elapsed),
    #[error("{0}")]
    Cancelled(Cancelled),
    #[error("{0}")]
    Duplicate(Duplicate),
}

impl SearchError {
    /// Whether the next attempt may fare better. What is not there, or not ours to read, stays so.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Folder { error, .. } if !matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::PermissionDenied
        ))
    }
}
