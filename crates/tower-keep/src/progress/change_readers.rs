//! All readers of changes, each with its queue. The readers distribute changes, to keep that work
//! off the jobs' threads.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    task::{Poll, Waker},
};

use super::{BoardSnapshot, JobView, change_queue::ChangeQueue};
use crate::{
    job::{
        core::Core,
        table::{ChangeFeed, Item, Shard, Table, Then},
    },
    sync::{Mutex, MutexGuard},
};

/// Lock order: first the lock of the readers, then the locks of the table or of a job.
pub(super) struct ChangeReaders {
    news: Arc<ChangeFeed>,
    unread: Mutex<All>,
}

#[derive(Default)]
struct All {
    readers: BTreeMap<u64, ChangeQueue>,
    next: u64,
}

/// These may be the last handles to jobs and thus to their observers. Drop them without a lock.
type Handles = Vec<(Option<Arc<Core>>, Option<Arc<Shard>>)>;

impl ChangeReaders {
    pub(super) fn new(news: Arc<ChangeFeed>) -> Self {
        Self {
            news,
            unread: Mutex::new(All::default()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().readers.len()
    }

    /// Adds a reader. Returns the current snapshot; the reader gets every change after it.
    pub(super) fn begin(&self, table: &Table) -> (BoardSnapshot, u64) {
        let mut all = self.lock();
        let (items, ends) = self.news.begin_read(|| table.ends());
        let handles = all.distribute(items);
        let jobs = table.running();
        let mut work = Vec::new();
        let facts = table.snapshot(&jobs, Some(ends), |job| {
            let (facts, is_news, of_job) = job.facts_for_readers(table.a_shard());
            work.extend(of_job);
            if is_news {
                all.put(&Arc::new(facts.clone().into()));
            }
            facts
        });
        let reader = all.next;
        all.next += 1;
        all.readers.insert(reader, ChangeQueue::default());
        drop(all);
        drop((handles, jobs, work));
        (facts.into(), reader)
    }

    /// Removes a reader.
    pub(super) fn end(&self, reader: u64) {
        let unread = self.lock().readers.remove(&reader);
        let left = self.news.end_read(reader);
        drop((unread, left));
    }

    pub(super) fn unread(&self, reader: u64) -> usize {
        let all = self.lock();
        all.readers.get(&reader).map_or(0, ChangeQueue::len)
    }

    /// The next unread view of this reader, if there is one now.
    pub(super) fn take(&self, reader: u64) -> Option<JobView> {
        let (view, _handles) = {
            let mut all = self.lock();
            let handles = all.distribute(self.news.take());
            (all.take(reader), handles)
        };
        view.map(Arc::unwrap_or_clone)
    }

    /// The next unread view of this reader, or `None` at the end.
    pub(super) fn poll(&self, reader: u64, waker: &Waker) -> Poll<Option<JobView>> {
        loop {
            let own = waker.clone();
            let (view, then, _handles, _waker) = {
                let mut all = self.lock();
                let handles = all.distribute(self.news.take());
                let view = all.take(reader);
                // Under the lock: meanwhile no other reader can distribute the change that this one
                // waits for.
                let (then, waker) = match view {
                    Some(_) => (Then::Again, Some(own)),
                    None => self.news.wait(reader, own),
                };
                (view, then, handles, waker)
            };
            match (view, then) {
                (Some(view), _) => return Poll::Ready(Some(Arc::unwrap_or_clone(view))),
                (None, Then::Again) => {}
                (None, Then::Waits) => return Poll::Pending,
                (None, Then::Closed) => return Poll::Ready(None),
            }
        }
    }
}

impl All {
    fn put(&mut self, view: &Arc<JobView>) {
        self.readers
            .values_mut()
            .for_each(|reader| reader.put(view));
    }

    fn take(&mut self, reader: u64) -> Option<Arc<JobView>> {
        self.readers.get_mut(&reader)?.take()
    }

    fn distribute(&mut self, items: Vec<Item>) -> Handles {
        let mut handles = Vec::new();
        for item in items {
            let facts = match item {
                Item::Ended(facts) => Some(*facts),
                Item::Changed(shard, job) => {
                    let shard = shard.upgrade();
                    // An ended job is in its shard too.
                    let changed = shard.as_ref().and_then(|shard| shard.take_change(job));
                    let (job, facts) = changed.unzip();
                    handles.push((job, shard));
                    facts.flatten()
                }
            };
            if let Some(facts) = facts {
                self.put(&Arc::new(facts.into()));
            }
        }
        handles
    }
}
