//! [`Changes`]: the reader of every change of the board.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use tokio::task::coop;

use super::{JobView, change_readers::ChangeReaders};

/// A reader of every change of the board after one [`BoardSnapshot`](super::BoardSnapshot). Also a
/// [`Stream`]. Made by [`ProgressHandle::changes`](super::ProgressHandle::changes).
///
/// Each change is the whole view of a job. A slow reader never lags: it gets only the latest view
/// of each running job. It never misses an ending, however many jobs end and whatever the history
/// keeps.
///
/// # Order
///
/// - The views of one job come in order, with its ending last.
/// - Endings come in the order in which they happened, each after all earlier changes.
/// - A running job keeps the position of its oldest unread change, and shows its latest state
///   there. So a job that reports constantly does not starve the others.
///
/// # Memory
///
/// One view for each job that changed since it was last read, also if it has ended. A reader that
/// is kept but never read grows with the number of jobs. A dropped reader costs nothing.
///
/// # End
///
/// `None`, after all changes were read, once nothing can change any more: every layer, its handles
/// and services, and every handle to a job ([`Job`](crate::Job), or a dispatcher's) is dropped.
/// This reader does not count.
pub struct Changes {
    readers: Arc<ChangeReaders>,
    /// The id of this reader.
    reader: u64,
}

impl Changes {
    pub(super) fn new(readers: Arc<ChangeReaders>, reader: u64) -> Self {
        Self { readers, reader }
    }

    /// Waits for the next change; `None` at the [end](Self#end).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Option<JobView> {
        poll_fn(|cx| self.poll_changed(cx)).await
    }

    /// The next change, if there is one now.
    pub fn try_changed(&mut self) -> Option<JobView> {
        self.readers.take(self.reader)
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Option<JobView>> {
        // Other tasks get their turn even if there is always another change.
        ready!(pin!(coop::consume_budget()).poll(cx));
        self.readers.poll(self.reader, cx.waker())
    }
}

impl Stream for Changes {
    type Item = JobView;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<JobView>> {
        self.get_mut().poll_changed(cx)
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.readers.end(self.reader);
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("unread", &self.readers.unread(self.reader))
            .finish_non_exhaustive()
    }
}
