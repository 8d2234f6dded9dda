//! The reader of every change of the board.

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

/// A reader of every change of the board after one [`BoardSnapshot`](super::BoardSnapshot), as it is also as a [`Stream`]. Made
/// by [`ProgressHandle::changes`](super::ProgressHandle::changes).
///
/// Each change is the job's whole view. A reader that is behind never lags: of each job it has only the latest view
/// before it, and it never misses an ending, however many jobs end and whatever the board's history keeps.
///
/// # Order
///
/// The views of a job come in order, and its ending last. Endings come in the order in which they happened, each after
/// all that changed before it. A job that runs on is read at the place of its oldest change that was not read, as it is
/// by then: a job that reports all the time does not keep the others from being read.
///
/// # Memory
///
/// One view for each job that changed since it was read, also where it ended: a reader that is kept and never
/// read grows with the number of jobs. Once it is dropped, it costs nothing.
///
/// # End
///
/// `None`, after everything was read, once nothing is left that could change: each layer, each of its handles and
/// services, and each handle to a job ([`Job`](crate::Job), or a dispatched one's) is dropped. This reader does not
/// count.
pub struct Changes {
    readers: Arc<ChangeReaders>,
    /// Which of them this is.
    reader: u64,
}

impl Changes {
    pub(super) fn new(readers: Arc<ChangeReaders>, reader: u64) -> Self {
        Self { readers, reader }
    }

    /// The next change, as soon as there is one; `None` at the [end](Self#end).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn changed(&mut self) -> Option<JobView> {
        poll_fn(|cx| self.poll_changed(cx)).await
    }

    /// The next change, if there is one now.
    pub fn try_changed(&mut self) -> Option<JobView> {
        self.readers.take(self.reader)
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Option<JobView>> {
        // Where there is always another change, other tasks are to have their turn.
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
