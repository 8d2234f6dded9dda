//! The calls of a Cancel layer in a table: the jobs that it can cancel.

use std::sync::{Arc, OnceLock, Weak};

use super::{Entry, Shard, State, Table};
use crate::{
    event::JobId,
    job::core::Core,
    sync::atomic::{AtomicBool, Ordering},
};

/// The shared part of the Cancel layer that owns the calls.
pub(crate) trait Owner: Send + Sync {
    /// Rejects every new job from now on.
    fn close(&self);

    /// A job leaves the closed layer, by running `leave`.
    fn leave(self: Arc<Self>, leave: &mut dyn FnMut() -> Option<Arc<Core>>);
}

#[derive(Default)]
pub(super) struct Calls {
    /// New jobs are rejected. Read under a shard's lock, so that closing the table finds every
    /// earlier job.
    closed: AtomicBool,
    owner: OnceLock<Weak<dyn Owner>>,
}

/// A running job. `shared`: its calls are part of a shared execution, so cancelling stops the
/// execution. Otherwise it stops one caller.
#[derive(Clone)]
pub(crate) struct Tracked {
    pub(crate) job: Arc<Core>,
    pub(crate) shared: bool,
}

/// A call of a job in the layer. Dropping this removes it.
pub(crate) struct Call {
    shard: Arc<Shard>,
    job: JobId,
}

impl Table {
    /// Sets the owner of the calls. Returns `false` if there is one already.
    pub(crate) fn set_owner(&self, owner: Weak<dyn Owner>) -> bool {
        self.common().calls.owner.set(owner).is_ok()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.common().calls.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn close(&self) {
        self.common().calls.closed.store(true, Ordering::Release);
    }

    /// Adds a call of this job. `None` once the table is closed.
    #[inline]
    pub(crate) fn begin_call(&self, job: &Arc<Core>, shared: bool) -> Option<Call> {
        let shard = &self.shards[job.home()];
        let mut state = shard.lock();
        if shard.common.calls.closed.load(Ordering::Acquire) {
            return None;
        }
        state.begin_call(job, shared);
        drop(state);
        Some(Call {
            shard: Arc::clone(shard),
            job: job.id(),
        })
    }

    pub(crate) fn find_call(&self, id: JobId) -> Option<Tracked> {
        let find = |shard: &Arc<Shard>| shard.lock().running.get(id)?.tracked();
        self.shards.iter().find_map(find)
    }

    /// The jobs with this external id and calls in the layer, oldest first.
    pub(crate) fn find_external_calls(&self, external_id: &str) -> Vec<Tracked> {
        let mut jobs = self.identified(external_id, Entry::tracked, |tracked| &tracked.job);
        jobs.sort_unstable_by_key(|tracked| tracked.job.id());
        jobs
    }

    /// The number of jobs with calls in the layer.
    pub(crate) fn calling(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().calling).sum()
    }

    /// The jobs with calls in the layer, oldest first.
    pub(crate) fn tracked(&self) -> Vec<Tracked> {
        let mut jobs = self.list(Entry::tracked);
        jobs.sort_unstable_by_key(|tracked| tracked.job.id());
        jobs
    }
}

impl Entry {
    fn tracked(&self) -> Option<Tracked> {
        (self.calls > 0).then(|| Tracked {
            job: Arc::clone(&self.job),
            shared: self.shared,
        })
    }
}

impl State {
    #[inline]
    fn begin_call(&mut self, job: &Arc<Core>, shared: bool) {
        match self.running.get_mut(job.id()) {
            Some(entry) => {
                if entry.calls == 0 {
                    entry.shared = shared;
                    self.calling += 1;
                }
                entry.calls += 1;
            }
            None => {
                self.calling += 1;
                let entry = Entry {
                    job: Arc::clone(job),
                    calls: 1,
                    shared,
                    shown: false,
                };
                self.running.insert(job.id(), entry);
            }
        }
    }

    /// Returns the job if this was its last call.
    fn end_call(&mut self, id: JobId) -> Option<Left> {
        let entry = self.running.get_mut(id)?;
        entry.calls -= 1;
        if entry.calls > 0 {
            return None;
        }
        self.calling -= 1;
        if entry.shown {
            return Some(Left::Shown);
        }
        self.running.remove(id).map(|entry| Left::Gone(entry.job))
    }
}

/// A job without a call in the layer.
enum Left {
    /// The board still shows it.
    Shown,
    Gone(Arc<Core>),
}

impl Call {
    pub(crate) fn owner(&self) -> Option<Arc<dyn Owner>> {
        self.shard.common.calls.owner.get()?.upgrade()
    }

    #[cold]
    fn leave_closed(&self) {
        let mut leave = || {
            let mut state = self.shard.lock();
            match state.end_call(self.job)? {
                Left::Gone(job) => Some(job),
                Left::Shown => Some(Arc::clone(&state.running.get(self.job)?.job)),
            }
        };
        match self.owner() {
            Some(owner) => owner.leave(&mut leave),
            // No shutdown waits.
            None => drop(leave()),
        }
    }
}

impl Drop for Call {
    #[inline]
    fn drop(&mut self) {
        let mut state = self.shard.lock();
        if self.shard.common.calls.closed.load(Ordering::Acquire) {
            drop(state);
            return self.leave_closed();
        }
        // This may be the last handle to the job and thus to its observers: drop it without the
        // lock.
        let left = state.end_call(self.job);
        drop(state);
        drop(left);
    }
}
