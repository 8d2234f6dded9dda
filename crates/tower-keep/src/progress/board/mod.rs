//! The board: the running jobs, the history, and the readers.

use std::{fmt, sync::Arc};

use super::{JobView, change_readers::ChangeReaders};
use crate::{
    job::{
        core::{Core, details::Facts},
        table::{ChangeFeed, EventStream, Table},
    },
    unshare::has_others,
};

/// State that the clones of a layer share.
pub(super) struct Board {
    pub(super) table: Arc<Table>,
    pub(super) stream: Arc<EventStream>,
    pub(super) readers: Arc<ChangeReaders>,
}

/// The jobs of a board at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BoardSnapshot {
    /// The latest state of each running job, oldest first.
    pub running: Vec<JobView>,
    /// How the last jobs ended, in the order of their endings. The layer's
    /// [`history`](super::ProgressLayer::history) bounds their number.
    pub history: Vec<JobView>,
}

impl Board {
    pub(super) fn new(buffer: usize) -> Self {
        let (news, stream) = (ChangeFeed::new(), Arc::new(EventStream::new(buffer)));
        let table = Table::new(Some(Arc::clone(&stream)), Arc::clone(&news));
        Self {
            table: Arc::new(table),
            stream,
            readers: Arc::new(ChangeReaders::new(news)),
        }
    }

    /// An empty board with the same settings.
    pub(super) fn renewed(&self) -> Self {
        let new = Self::new(self.stream.buffer);
        new.table.set_history(self.table.history_size());
        new
    }

    /// Whether the events or the changes have a reader.
    pub(super) fn is_read(&self) -> bool {
        self.stream.has_listeners() || has_others(&self.readers)
    }

    pub(super) fn running(&self) -> Vec<JobView> {
        let jobs = self.table.running();
        jobs.iter().map(|job| job.facts().into()).collect()
    }

    pub(super) fn history(&self) -> Vec<JobView> {
        views(self.table.history(&self.table.ends()))
    }

    pub(super) fn snapshot(&self) -> BoardSnapshot {
        let jobs = self.table.running();
        let looks = |job: &Arc<Core>| job.facts();
        self.table.snapshot(&jobs, None, looks).into()
    }
}

impl From<(Vec<Facts>, Vec<Facts>)> for BoardSnapshot {
    fn from((running, history): (Vec<Facts>, Vec<Facts>)) -> Self {
        Self {
            running: views(running),
            history: views(history),
        }
    }
}

fn views(facts: Vec<Facts>) -> Vec<JobView> {
    facts.into_iter().map(Into::into).collect()
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (running, history) = self.table.count();
        f.debug_struct("Board")
            .field("running", &running)
            .field("history", &history)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
