//! The mailbox in which the board leaves its changes for one reader.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use futures_util::task::AtomicWaker;

use super::{unread::Unread, view::JobView};

/// Where the board leaves its changes for one reader.
#[derive(Default)]
pub(super) struct Mailbox {
    /// A leaf lock, taken also while the board's is held.
    mail: Mutex<Mail>,
    reader: AtomicWaker,
}

#[derive(Default)]
struct Mail {
    unread: Unread,
    /// Nothing else will come.
    closed: bool,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, view: &JobView) {
        self.lock().unread.put(view);
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake();
    }

    /// Not while a lock is held.
    pub(super) fn wake(&self) {
        self.reader.wake();
    }

    /// Wakes this when something comes.
    pub(super) fn register(&self, waker: &Waker) {
        self.reader.register(waker);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().unread.len()
    }

    /// The next change, if there is one now.
    pub(super) fn take(&self) -> Option<JobView> {
        self.lock().unread.take()
    }

    /// The next change, or that there will be none.
    pub(super) fn next(&self) -> Poll<Option<JobView>> {
        let mut mail = self.lock();
        match mail.unread.take() {
            None if !mail.closed => Poll::Pending,
            next => Poll::Ready(next),
        }
    }
}
