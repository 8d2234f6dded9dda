//! The feed of changes since the change readers last read.
//!
//! A thread that changes a job leaves here which job changed, or how it ended, and wakes waiting
//! readers. If many wait, another thread of its runtime wakes them. The readers make the views.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, PoisonError, Weak},
    task::Waker,
};

use tokio::runtime::{Handle, RuntimeFlavor};

use super::Shard;
use crate::{
    error::unharmed,
    event::JobId,
    job::core::details::Facts,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

pub(crate) struct ChangeFeed {
    /// Whether there are readers.
    read: AtomicBool,
    inbox: Mutex<Inbox>,
}

struct Inbox {
    items: Vec<Item>,
    readers: usize,
    /// The readers that have read everything.
    waiting: Waiting,
    /// No further change can come.
    closed: bool,
}

type Waiting = BTreeMap<u64, Waker>;

pub(crate) enum Item {
    /// Listed once, until a reader takes it.
    Changed(Weak<Shard>, JobId),
    Ended(Box<Facts>),
}

/// The state of a reader that has read everything.
#[derive(Debug)]
pub(crate) enum Then {
    /// New changes have arrived.
    Again,
    Waits,
    Closed,
}

impl ChangeFeed {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            read: AtomicBool::new(false),
            inbox: Mutex::new(Inbox {
                items: Vec::new(),
                readers: 0,
                waiting: Waiting::new(),
                closed: false,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(crate) fn is_read(&self) -> bool {
        self.read.load(Ordering::Acquire)
    }

    pub(super) fn push(&self, item: Item) {
        self.push_with(|| Some((item, ())));
    }

    /// Adds the item that `make` returns, in one step with `make`'s effects.
    pub(super) fn push_with<T>(&self, make: impl FnOnce() -> Option<(Item, T)>) -> Option<T> {
        let mut inbox = self.lock();
        let (item, made) = make()?;
        if inbox.readers > 0 {
            inbox.items.push(item);
        }
        let waiting = mem::take(&mut inbox.waiting);
        drop(inbox);
        wake(waiting);
        Some(made)
    }

    /// Adds a reader. `at` runs in the step that separates earlier changes from the reader's
    /// changes.
    pub(crate) fn begin_read<T>(&self, at: impl FnOnce() -> T) -> (Vec<Item>, T) {
        let mut inbox = self.lock();
        inbox.readers += 1;
        self.read.store(true, Ordering::Release);
        let at = at();
        (mem::take(&mut inbox.items), at)
    }

    /// Removes a reader. Drop the returned value without a lock.
    pub(crate) fn end_read(&self, reader: u64) -> impl Sized + use<> {
        let mut inbox = self.lock();
        inbox.readers -= 1;
        let unread = (inbox.readers == 0).then(|| {
            self.read.store(false, Ordering::Release);
            mem::take(&mut inbox.items)
        });
        (unread, inbox.waiting.remove(&reader))
    }

    pub(crate) fn take(&self) -> Vec<Item> {
        mem::take(&mut self.lock().items)
    }

    /// Registers a waker for the next change. Returns the previous waker, to be dropped without a
    /// lock.
    pub(crate) fn wait(&self, reader: u64, waker: Waker) -> (Then, Option<Waker>) {
        let mut inbox = self.lock();
        if !inbox.items.is_empty() {
            (Then::Again, Some(waker))
        } else if inbox.closed {
            (Then::Closed, Some(waker))
        } else {
            (Then::Waits, inbox.waiting.insert(reader, waker))
        }
    }

    /// Ends the feed: no further change can come.
    pub(super) fn close(&self) {
        let waiting = {
            let mut inbox = self.lock();
            inbox.closed = true;
            mem::take(&mut inbox.waiting)
        };
        wake(waiting);
    }
}

/// The maximum number of readers that the changing thread wakes itself.
const FEW: usize = 8;

fn has_threads(runtime: &Handle) -> bool {
    runtime.runtime_flavor() == RuntimeFlavor::MultiThread
}

/// Wakes waiting readers. If there are many, another task does.
fn wake(waiting: Waiting) {
    struct Wakes(Waiting);

    impl Drop for Wakes {
        fn drop(&mut self) {
            for waker in mem::take(&mut self.0).into_values() {
                unharmed(|| waker.wake());
            }
        }
    }

    let many = waiting.len() > FEW;
    let wakes = Wakes(waiting);
    if many {
        let runtime = Handle::try_current().ok();
        // A single-threaded runtime may stop polling, and its tasks with it.
        if let Some(runtime) = runtime.filter(has_threads) {
            // A runtime that is shut down drops the future at once, which also wakes them.
            let _task = runtime.spawn(async move { drop(wakes) });
        }
    }
}
