//! The table of running jobs and of the last endings: handles list, find, watch and cancel through
//! it.
//!
//! One table serves the Progress and the Cancel layer of a pipeline. Layers composed by hand have a
//! table each. A job is in the table while the board shows it: until its end, in one step with its
//! entry in the history. It is also there while the Cancel layer has a call of it.
//!
//! The table is sharded by the thread that begins a job, with the same shard number in each table.
//! So threads do not contend, and a job is in one shard, whichever threads it runs on.
//!
//! Reading the table locks one shard for one piece at a time. Lock order: the news, then a shard.
//! No job is touched while one of them is held.

mod cancel_calls;
mod change_feed;
mod event_stream;
mod id_map;
mod shard;

use std::{collections::HashSet, sync::Arc};

use tokio::sync::{broadcast, watch};

use self::{
    cancel_calls::Calls,
    id_map::IdMap,
    shard::{Entry, State},
};
pub(crate) use self::{
    cancel_calls::{Call, Owner, Tracked},
    change_feed::{ChangeFeed, Item, Then},
    event_stream::EventStream,
    shard::{Shard, own_shard},
};
use super::{
    core::{Core, details::Facts},
    view::JobView,
};
use crate::{
    event::{Event, JobId},
    sync::{
        SHARDS,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// The default number of ended jobs to keep.
pub(crate) const HISTORY: usize = 100;

pub(crate) struct Table {
    shards: [Arc<Shard>; SHARDS],
}

/// State that the shards share and rarely write.
struct Common {
    /// A handle was taken, so jobs may be read.
    taken: AtomicBool,
    /// The number of ended jobs to keep.
    history: AtomicU64,
    news: Arc<ChangeFeed>,
    /// `None` if no Progress layer uses the table.
    stream: Option<Arc<EventStream>>,
    calls: Calls,
}

/// Nothing is left that could change.
impl Drop for Common {
    fn drop(&mut self) {
        self.news.close();
    }
}

/// The number of endings in each shard.
pub(crate) struct Ends([u64; SHARDS]);

impl Table {
    pub(crate) fn new(stream: Option<Arc<EventStream>>, news: Arc<ChangeFeed>) -> Self {
        let common = Arc::new(Common {
            taken: AtomicBool::new(false),
            history: AtomicU64::new(HISTORY as u64),
            news,
            stream,
            calls: Calls::default(),
        });
        Self {
            shards: std::array::from_fn(|_| Shard::new(&common)),
        }
    }

    fn common(&self) -> &Common {
        &self.shards[0].common
    }

    /// Any shard, by which jobs recognize the table.
    pub(crate) fn a_shard(&self) -> &Shard {
        &self.shards[0]
    }

    /// The table of a Cancel layer alone.
    pub(crate) fn of_calls() -> Self {
        Self::new(None, ChangeFeed::new())
    }

    /// Jobs may be read from now on.
    pub(crate) fn take(&self) {
        self.common().taken.store(true, Ordering::Relaxed);
    }

    /// Whether a new job may run user code: event listeners, or waiting readers.
    pub(crate) fn runs_code(&self) -> bool {
        let common = self.common();
        common.news.is_read()
            || common
                .stream
                .as_ref()
                .is_some_and(|stream| stream.is_heard())
    }

    /// The shard that shows a job with this home; `None` if nothing can read it.
    #[inline]
    pub(crate) fn shard_to_show(&self, home: usize) -> Option<&Arc<Shard>> {
        let is_taken = self.common().taken.load(Ordering::Relaxed);
        is_taken.then(|| &self.shards[home])
    }

    /// Shows the job until it is over.
    #[inline]
    pub(crate) fn show(&self, job: &Arc<Core>) {
        if let Some(shard) = self.shard_to_show(job.home()) {
            if job.show_on(shard) {
                shard.show(job);
            }
        }
    }

    // ===== reading =====

    /// The facts of a running job, or of one in the history.
    pub(crate) fn find_facts(&self, id: JobId) -> Option<Facts> {
        self.shards.iter().find_map(|shard| {
            let running = shard.lock().shown(id);
            match running {
                Some(job) => Some(job.facts()),
                None => {
                    let mut found = None;
                    shard.for_each_ended(u64::MAX, |facts| {
                        if facts.id == id {
                            found = Some(facts.clone());
                        }
                    });
                    found
                }
            }
        })
    }

    /// The jobs with this external id, running or in the history, oldest first.
    pub(crate) fn find_external(&self, external_id: &str) -> Vec<Facts> {
        let jobs = self.identified(external_id, Entry::shown, |job| job);
        let running: Vec<_> = jobs.iter().map(|job| job.facts()).collect();
        // Read later, so that jobs that ended meanwhile are found.
        let mut found = Vec::new();
        for shard in &self.shards {
            shard.for_each_ended(u64::MAX, |facts| {
                if facts.is_known_as(external_id) {
                    found.push(facts.clone());
                }
            });
        }
        let ended: HashSet<_> = found.iter().map(|facts| facts.id).collect();
        found.extend(
            running
                .into_iter()
                .filter(|facts| !ended.contains(&facts.id)),
        );
        found.sort_unstable_by_key(|facts| facts.id);
        found
    }

    /// The jobs with this external id.
    fn identified<T>(
        &self,
        external_id: &str,
        pick: impl Fn(&Entry) -> Option<T>,
        job: impl Fn(&T) -> &Arc<Core>,
    ) -> Vec<T> {
        let mut jobs = self.list(|entry| match entry.job.may_be_identified() {
            true => pick(entry),
            false => None,
        });
        // Reading a job's id takes the job's lock, so no shard may be locked.
        jobs.retain(|one| job(one).is_known_as(external_id));
        jobs
    }

    /// The running jobs, oldest first.
    pub(crate) fn running(&self) -> Vec<Arc<Core>> {
        let mut jobs = self.list(Entry::shown);
        jobs.sort_unstable_by_key(|job| job.id());
        jobs
    }

    fn list<T>(&self, pick: impl Fn(&Entry) -> Option<T>) -> Vec<T> {
        let mut jobs = Vec::new();
        for shard in &self.shards {
            shard.add_running(&mut jobs, &pick);
        }
        jobs
    }

    pub(crate) fn count(&self) -> (usize, usize) {
        let shards = self.shards.iter().map(|shard| {
            let state = shard.lock();
            (state.shown, state.ended.len())
        });
        let (running, ended) = shards.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        (running, ended.min(self.history_size()))
    }

    pub(crate) fn ends(&self) -> Ends {
        Ends(std::array::from_fn(|index| {
            let state = self.shards[index].lock();
            state.forgotten + state.ended.len() as u64
        }))
    }

    /// The last endings up to `ends`, in order.
    pub(crate) fn history(&self, ends: &Ends) -> Vec<Facts> {
        let mut all = Vec::new();
        for (shard, end) in self.shards.iter().zip(ends.0) {
            shard.for_each_ended(end, |facts| all.push(facts.clone()));
        }
        // Endings of one shard keep their order.
        all.sort_by_key(Facts::ended_at);
        let surplus = all.len().saturating_sub(self.history_size());
        all.drain(..surplus);
        all
    }

    pub(crate) fn history_size(&self) -> usize {
        usize::try_from(self.common().history.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    pub(crate) fn set_history(&self, jobs: usize) {
        self.common().history.store(jobs as u64, Ordering::Relaxed);
        self.shards.iter().for_each(|shard| shard.trim(jobs));
    }

    /// The running jobs and the history, each job in exactly one of them. `look` reads a job that
    /// runs, or has just ended.
    pub(crate) fn snapshot(
        &self,
        jobs: &[Arc<Core>],
        ends: Option<Ends>,
        look: impl FnMut(&Arc<Core>) -> Facts,
    ) -> (Vec<Facts>, Vec<Facts>) {
        let mut running: Vec<_> = jobs.iter().map(look).collect();
        // Read later, so that jobs that ended meanwhile are found.
        let ends = ends.unwrap_or_else(|| self.ends());
        let history = self.history(&ends);
        let ended: HashSet<_> = history.iter().map(|facts| facts.id).collect();
        running.retain(|facts| !ended.contains(&facts.id));
        (running, history)
    }

    /// Watches this job; `None` if it is not running.
    pub(crate) fn watch(&self, id: JobId) -> Option<watch::Receiver<JobView>> {
        self.shards.iter().find_map(|shard| shard.watch(id))
    }

    /// Adds a listener to the events of every job.
    pub(crate) fn subscribe(&self, stream: &Arc<EventStream>) -> broadcast::Receiver<Event> {
        stream.subscribe(|| {
            let observer = stream.observer();
            let jobs = self.running();
            let work: Vec<_> = jobs.iter().map(|job| job.listen(&observer)).collect();
            (jobs, work)
        })
    }
}
