//! A shard of the table: the jobs that some threads began, and their last endings.

use std::{
    cell::Cell,
    collections::VecDeque,
    sync::{Arc, PoisonError},
};

use tokio::sync::watch;

use super::{Common, HISTORY, IdMap, Item};
use crate::{
    error::unharmed,
    event::{JobId, JobMap},
    job::{
        core::{Core, details::Facts},
        view::JobView,
    },
    sync::{Mutex, MutexGuard, SHARDS, atomic::Ordering},
};

/// The maximum number of jobs listed under one lock.
const PIECE: usize = 1024;

/// A shard of the table, aligned to avoid false sharing.
#[repr(align(128))]
pub(crate) struct Shard {
    state: Mutex<State>,
    pub(super) common: Arc<Common>,
}

pub(super) struct State {
    pub(super) running: IdMap<Entry>,
    /// The number of jobs with calls in the Cancel layer, and the number of shown jobs.
    pub(super) calling: usize,
    pub(super) shown: usize,
    /// In the order of their endings.
    pub(super) ended: VecDeque<Facts>,
    /// The number of earlier endings.
    pub(super) forgotten: u64,
    /// The watched jobs.
    watched: JobMap<watch::Sender<JobView>>,
}

pub(super) struct Entry {
    pub(super) job: Arc<Core>,
    /// The number of its calls in the Cancel layer: an outer hedge makes several at a time.
    pub(super) calls: u32,
    /// The calls are part of a shared execution.
    pub(super) shared: bool,
    pub(super) shown: bool,
}

impl Entry {
    pub(super) fn shown(&self) -> Option<Arc<Core>> {
        self.shown.then(|| Arc::clone(&self.job))
    }
}

/// Values of an ended job, to be dropped or passed on without a lock.
struct Gone {
    _job: Option<Arc<Core>>,
    _forgotten: Option<Facts>,
    watch: Option<(watch::Sender<JobView>, Facts)>,
}

impl Gone {
    fn release(self, job: &Core) {
        if self.watch.is_some() {
            let mut gone = Some(self);
            job.apart(&mut || gone.take().into_iter().for_each(Self::release_now));
        }
    }

    fn release_now(self) {
        if let Some((watch, facts)) = self.watch {
            unharmed(|| drop(watch.send_replace(facts.into())));
        }
    }
}

thread_local! {
    /// This thread's shard.
    static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The index of the shard for jobs that this thread begins.
#[inline]
pub(crate) fn own_shard() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let own = OWN.try_with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % SHARDS);
        }
        own.get()
    });
    own.unwrap_or(0)
}

impl Shard {
    pub(super) fn new(common: &Arc<Common>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                running: IdMap::new(),
                calling: 0,
                shown: 0,
                ended: VecDeque::new(),
                forgotten: 0,
                watched: JobMap::default(),
            }),
            common: Arc::clone(common),
        })
    }

    // No user code runs under this lock, so the state behind a poisoned lock is sound.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        #[cfg(test)]
        tests::LOCKS.set(tests::LOCKS.get() + 1);
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_of_table_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.common, &other.common)
    }

    #[inline]
    pub(in crate::job) fn show(self: &Arc<Self>, job: &Arc<Core>) {
        let is_read = {
            let mut state = self.lock();
            state.show(job);
            self.common.news.is_read()
        };
        if job.state().is_over() {
            // The job ended just now, and may or may not have found itself here.
            let gone = self.lock().hide(job.id());
            drop(gone);
            return;
        }
        if let Some(stream) = self
            .common
            .stream
            .as_ref()
            .filter(|stream| stream.is_heard())
        {
            job.observe(&stream.observer(), false);
        }
        if is_read {
            job.begin_read(self);
            // Also if a new reader has just notified the others, because they may wait.
            self.list(job);
        }
    }

    /// Keeps this many ended jobs.
    pub(super) fn trim(&self, history: usize) {
        let mut state = self.lock();
        let surplus = state.ended.len().saturating_sub(history);
        let forgotten: VecDeque<_> = state.ended.drain(..surplus).collect();
        state.forgotten += surplus as u64;
        drop(state);
        drop(forgotten);
    }

    /// Lists a change for the change readers.
    #[cold]
    pub(crate) fn list(self: &Arc<Self>, job: &Core) {
        job.apart(&mut || {
            let change = Item::Changed(Arc::downgrade(self), job.id());
            self.common.news.push(change);
        });
    }

    /// Records the end of the job.
    #[inline]
    pub(crate) fn end(&self, job: &Core, facts: Facts) {
        let history = self.common.history.load(Ordering::Relaxed);
        let mut state = self.lock();
        if self.common.news.is_read() {
            drop(state);
            return job.apart(&mut || self.end_read(&facts));
        }
        let gone = state.end(facts, history);
        drop(state);
        if let Some(gone) = gone {
            gone.release(job);
        }
    }

    #[cold]
    fn end_read(&self, facts: &Facts) {
        let history = self.common.history.load(Ordering::Relaxed);
        let (news, own) = (Item::Ended(Box::new(facts.clone())), facts.clone());
        // One step for new readers.
        let gone = (self.common.news).push_with(|| {
            let gone = self.lock().end(own, history)?;
            Some((news, gone))
        });
        if let Some(gone) = gone {
            gone.release_now();
        }
    }

    /// The job if it runs, and its facts unless the change readers know them.
    pub(crate) fn take_change(&self, id: JobId) -> Option<(Arc<Core>, Option<Facts>)> {
        let job = self.lock().shown(id)?;
        let change = job.take_change(self);
        Some((job, change))
    }

    pub(super) fn add_running<T>(&self, jobs: &mut Vec<T>, pick: impl Fn(&Entry) -> Option<T>) {
        let begin = jobs.len();
        let (mut next, mut growths) = (Some(0), None);
        while let Some(from) = next {
            let state = self.lock();
            if *growths.get_or_insert(state.running.growths) != state.running.growths {
                // The table grew and moved its values: start over.
                growths = None;
                next = Some(0);
                drop(state);
                jobs.truncate(begin);
                continue;
            }
            let (piece, after) = state.running.piece(from, PIECE);
            next = after;
            jobs.extend(piece.filter_map(&pick));
        }
    }

    pub(super) fn for_each_ended(&self, end: u64, mut look: impl FnMut(&Facts)) {
        let (mut next, mut end) = (0, end);
        loop {
            let state = self.lock();
            end = end.min(state.forgotten + state.ended.len() as u64);
            next = state.forgotten.max(next);
            if next >= end {
                return;
            }
            let piece = state.ended.iter().skip((next - state.forgotten) as usize);
            let size = PIECE.min((end - next) as usize);
            piece.take(size).for_each(&mut look);
            next += size as u64;
        }
    }

    pub(super) fn watch(&self, id: JobId) -> Option<watch::Receiver<JobView>> {
        let job = self.lock().shown(id)?;
        job.be_watched();
        let (sender, receiver) = watch::channel(JobView::from(job.facts()));
        // Another thread may have made one. Unused values are dropped without the lock.
        let (receiver, _unused) = {
            let mut state = self.lock();
            state.shown(id)?;
            match state.watched.get(&id) {
                Some(known) => (known.subscribe(), Some((sender, receiver))),
                None => {
                    state.watched.insert(id, sender);
                    (receiver, None)
                }
            }
        };
        // Changes in between.
        self.notify_watch(&job);
        Some(receiver)
    }

    /// Brings the watches of the job up to date.
    #[cold]
    pub(crate) fn notify_watch(&self, job: &Core) {
        let watch = self.lock().watched.get(&job.id()).cloned();
        if let Some(watch) = watch {
            let update = |known: &mut JobView| {
                let view = JobView::from(job.facts());
                let is_news = !known.state.is_terminal() && *known != view;
                if is_news {
                    *known = view;
                }
                is_news
            };
            job.apart(&mut || {
                unharmed(|| {
                    watch.send_if_modified(update);
                });
            });
        }
    }
}

impl State {
    pub(super) fn shown(&self, id: JobId) -> Option<Arc<Core>> {
        self.running.get(id)?.shown()
    }

    fn show(&mut self, job: &Arc<Core>) {
        self.shown += 1;
        match self.running.get_mut(job.id()) {
            Some(entry) => entry.shown = true,
            None => {
                let entry = Entry {
                    job: Arc::clone(job),
                    calls: 0,
                    shared: false,
                    shown: true,
                };
                self.running.insert(job.id(), entry);
            }
        }
    }

    /// `None` if the job is not shown. Returns the job if it leaves the shard.
    #[inline]
    fn hide(&mut self, id: JobId) -> Option<Option<Arc<Core>>> {
        let entry = self.running.get_mut(id).filter(|entry| entry.shown)?;
        self.shown -= 1;
        if entry.calls > 0 {
            entry.shown = false;
            return Some(None);
        }
        Some(self.running.remove(id).map(|entry| entry.job))
    }

    /// `None` if the job is not here.
    #[inline]
    fn end(&mut self, facts: Facts, history: u64) -> Option<Gone> {
        let job = self.hide(facts.id)?;
        let watch = match self.watched.is_empty() {
            true => None,
            false => self
                .watched
                .remove(&facts.id)
                .map(|watch| (watch, facts.clone())),
        };
        Some(Gone {
            _job: job,
            watch,
            _forgotten: self.keep(facts, history),
        })
    }

    /// Keeps an ending. Returns the ending that it replaces.
    #[inline]
    fn keep(&mut self, facts: Facts, history: u64) -> Option<Facts> {
        if history == 0 {
            return Some(facts);
        }
        let forgotten = match self.ended.len() as u64 >= history {
            true => self.ended.pop_front(),
            false => None,
        };
        self.forgotten += u64::from(forgotten.is_some());
        if self.ended.capacity() == 0 {
            // Reserve the usual history at once, so that it does not grow under the lock.
            self.ended.reserve_exact(HISTORY.min(history as usize));
        }
        self.ended.push_back(facts);
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        event::JobName,
        job::{core::Origin, table::Table},
    };

    thread_local! {
        /// The number of locks that this thread took.
        pub(super) static LOCKS: Cell<u64> = const { Cell::new(0) };
    }

    fn begin(table: &Table) -> Arc<Core> {
        let job = Core::new(JobName::EMPTY, Origin::Nobody, |run| run());
        table.show(&job);
        job
    }

    /// Listing many jobs releases the lock after each 1024.
    #[test]
    fn a_list_holds_a_lock_for_few() {
        let table = Table::of_calls();
        table.take();
        let jobs: Vec<_> = (0..5000).map(|_| begin(&table)).collect();
        let (mut listed, looks) = (Vec::new(), std::cell::RefCell::new(BTreeMap::new()));
        jobs[0].shard().unwrap().add_running(&mut listed, |entry| {
            *looks.borrow_mut().entry(LOCKS.get()).or_insert(0) += 1;
            entry.shown()
        });
        assert_eq!(listed.len(), 5000);
        let looks = looks.into_inner();
        assert!(
            looks.len() >= 5 && looks.values().all(|looks| *looks <= PIECE),
            "{looks:?}"
        );
        jobs.iter()
            .for_each(|job| job.end(None, || crate::job::core::Ending::Succeeded));
    }

    /// A list that runs while the table grows has each job once.
    #[test]
    fn a_list_of_a_table_that_grows() {
        let table = Table::of_calls();
        table.take();
        let mut jobs: Vec<_> = (0..3000).map(|_| begin(&table)).collect();
        let shard = Arc::clone(jobs[0].shard().unwrap());
        let (mut listed, mut later) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let growing = std::thread::scope(|scope| {
                let growing = scope.spawn(|| {
                    let more = |_| {
                        let job = Core::new(JobName::EMPTY, Origin::Nobody, |run| run());
                        assert!(job.show_on(&shard));
                        shard.show(&job);
                        job
                    };
                    (0..20_000).map(more).collect::<Vec<_>>()
                });
                listed.clear();
                shard.add_running(&mut listed, |entry| Some(entry.job.id()));
                growing.join().unwrap()
            });
            later.extend(growing);
            listed.sort_unstable();
            assert!(listed.is_sorted_by(|one, next| one < next));
            assert!(
                jobs.iter()
                    .all(|job| listed.binary_search(&job.id()).is_ok())
            );
        }
        jobs.append(&mut later);
        jobs.iter()
            .for_each(|job| job.end(None, || crate::job::core::Ending::Succeeded));
    }
}
