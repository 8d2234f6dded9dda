//! [`ProgressHandle`], which reads the board.

use std::{fmt, sync::Arc};

use super::{
    JobView,
    board::{Board, BoardSnapshot},
    changes::Changes,
    subscription::Subscription,
    watch::Watch,
};
use crate::event::JobId;

/// Reads the progress of the jobs of one [`ProgressLayer`](super::ProgressLayer) and its clones.
#[derive(Clone)]
pub struct ProgressHandle {
    pub(super) board: Arc<Board>,
}

impl ProgressHandle {
    /// Subscribes to every event of every job from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self.board.table.subscribe(&self.board.stream))
    }

    /// The latest state of each running job, oldest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobView> {
        self.board.running()
    }

    /// How the last jobs ended, in the order of their endings. Their number is
    /// [`ProgressLayer::history`](super::ProgressLayer::history).
    #[must_use]
    pub fn history(&self) -> Vec<JobView> {
        self.board.history()
    }

    /// Running jobs and history at one moment. Each job is in exactly one of the two.
    #[must_use]
    pub fn snapshot(&self) -> BoardSnapshot {
        self.board.snapshot()
    }

    /// A snapshot of the board, and a reader of every change after it. No change is lost or
    /// repeated between the two.
    #[must_use]
    pub fn changes(&self) -> (BoardSnapshot, Changes) {
        let readers = &self.board.readers;
        let (snapshot, reader) = readers.begin(&self.board.table);
        (snapshot, Changes::new(Arc::clone(readers), reader))
    }

    /// The latest state of this job, or how it ended while the history keeps it: if you have only
    /// its id.
    #[must_use]
    pub fn find(&self, job: JobId) -> Option<JobView> {
        self.board.table.find_facts(job).map(Into::into)
    }

    /// All jobs with this [external id](JobView::external_id), oldest first: running jobs, and
    /// ended ones while the history keeps them. Several jobs may share an id.
    ///
    /// This searches all jobs of the board, one part at a time. It costs the jobs nothing.
    #[must_use]
    pub fn find_external(&self, external_id: &str) -> Vec<JobView> {
        let found = self.board.table.find_external(external_id);
        found.into_iter().map(Into::into).collect()
    }

    /// Watches this job until it ends; `None` if it is not running.
    #[must_use]
    pub fn watch(&self, job: JobId) -> Option<Watch> {
        self.board.table.watch(job).map(Watch::new)
    }
}

impl fmt::Debug for ProgressHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (running, history) = self.board.table.count();
        f.debug_struct("ProgressHandle")
            .field("running", &running)
            .field("history", &history)
            .finish_non_exhaustive()
    }
}
