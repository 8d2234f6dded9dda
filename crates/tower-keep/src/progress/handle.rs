//! The handle that reads the board.

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
    /// Every event from now on, of every job.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self.board.table.subscribe(&self.board.stream))
    }

    /// The latest state of each running job, oldest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobView> {
        self.board.running()
    }

    /// How the last jobs ended, in the order of their endings; as many as
    /// [`ProgressLayer::history`](super::ProgressLayer::history) says.
    #[must_use]
    pub fn history(&self) -> Vec<JobView> {
        self.board.history()
    }

    /// Both at one moment: each job is in one of the two, and in one only.
    #[must_use]
    pub fn snapshot(&self) -> BoardSnapshot {
        self.board.snapshot()
    }

    /// The board at one moment, and a reader of everything that changes after it: nothing is missed in between and
    /// nothing told twice.
    #[must_use]
    pub fn changes(&self) -> (BoardSnapshot, Changes) {
        let readers = &self.board.readers;
        let (snapshot, reader) = readers.begin(&self.board.table);
        (snapshot, Changes::new(Arc::clone(readers), reader))
    }

    /// The latest state of this job, or how it ended, as long as the history has it: for callers that have only its id.
    #[must_use]
    pub fn find(&self, job: JobId) -> Option<JobView> {
        self.board.table.find_facts(job).map(Into::into)
    }

    /// The jobs that have this [external id](JobView::external_id), oldest first: the latest state of each that runs, and
    /// how the others ended, as long as the history has them. More than one where several were given the same id.
    ///
    /// This looks at every job of the board, a piece at a time. It costs the jobs themselves nothing.
    #[must_use]
    pub fn find_external(&self, external_id: &str) -> Vec<JobView> {
        let found = self.board.table.find_external(external_id);
        found.into_iter().map(Into::into).collect()
    }

    /// Watches this job until it ends; `None` if it does not run.
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
