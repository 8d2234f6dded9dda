use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

use crate::{
    event::{CancelReason, JobId, JobMap},
    job::core::Core,
};

/// What the layer's clones share: the jobs that run.
#[derive(Default)]
pub(super) struct Registry {
    /// A leaf lock: no job is cancelled while it is held.
    running: Mutex<JobMap<Arc<Core>>>,
    closed: AtomicBool,
    /// Fires at the shutdown, for those that wait for readiness and are no job yet.
    shutdown: CancellationToken,
}

impl Registry {
    fn running(&self) -> MutexGuard<'_, JobMap<Arc<Core>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tracks the job as long as the guard lives. `None` after the shutdown.
    pub(super) fn track(self: &Arc<Self>, job: &Arc<Core>) -> Option<Tracked> {
        let mut running = self.running();
        // Looked at under the lock, so that the shutdown finds every job that got in before it.
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        // A job may pass this layer more than once (a retry around it): the first tracks it.
        let first = running.insert(job.id(), Arc::clone(job)).is_none();
        Some(Tracked {
            registry: Arc::clone(self),
            job: first.then(|| job.id()),
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(super) fn shutdown_token(&self) -> &CancellationToken {
        &self.shutdown
    }

    fn cancel_all(&self, reason: &CancelReason, close: bool) -> usize {
        let jobs: Vec<_> = {
            let running = self.running();
            if close {
                self.closed.store(true, Ordering::Relaxed);
            }
            running.values().cloned().collect()
        };
        jobs.iter().filter(|job| job.cancel(reason.clone())).count()
    }
}

/// Removes the job from the registry when it is dropped.
pub(super) struct Tracked {
    registry: Arc<Registry>,
    job: Option<JobId>,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if let Some(job) = self.job {
            let removed = self.registry.running().remove(&job);
            // Perhaps the last handle to the job, and with it to its observers.
            drop(removed);
        }
    }
}

/// The running job of each group.
pub struct Groups<G> {
    /// A leaf lock, but for the key's own `Eq` and `Hash`.
    newest: Mutex<HashMap<G, Arc<Core>>>,
}

impl<G> fmt::Debug for Groups<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").finish_non_exhaustive()
    }
}

/// A job's place in its group, free again when this is dropped.
pub(super) struct Place<G: Eq + Hash> {
    groups: Arc<Groups<G>>,
    group: G,
    job: Arc<Core>,
}

impl<G: Eq + Hash> Drop for Place<G> {
    fn drop(&mut self) {
        self.groups.leave(&self.group, &self.job);
    }
}

impl<G> Default for Groups<G> {
    fn default() -> Self {
        Self {
            newest: Mutex::default(),
        }
    }
}

impl<G: Eq + Hash> Groups<G> {
    fn newest(&self) -> MutexGuard<'_, HashMap<G, Arc<Core>>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the job in the place of the one before it, which is returned.
    pub(super) fn enter(
        self: &Arc<Self>,
        group: G,
        job: &Arc<Core>,
    ) -> (Place<G>, Option<Arc<Core>>)
    where
        G: Clone,
    {
        let key = group.clone();
        let before = self.newest().insert(key, Arc::clone(job));
        let place = Place {
            groups: Arc::clone(self),
            group,
            job: Arc::clone(job),
        };
        (place, before.filter(|before| !Arc::ptr_eq(before, job)))
    }

    /// The job is over; its place is free unless a newer one has it.
    fn leave(&self, group: &G, job: &Arc<Core>) {
        let removed = {
            let mut newest = self.newest();
            if newest.get(group).is_some_and(|held| Arc::ptr_eq(held, job)) {
                newest.remove_entry(group)
            } else {
                None
            }
        };
        // The group is the user's: it goes without the lock.
        drop(removed);
    }
}

/// Cancels the jobs of one [`CancelLayer`](super::CancelLayer) and its clones.
#[derive(Clone)]
pub struct CancelHandle {
    pub(super) registry: Arc<Registry>,
}

impl CancelHandle {
    /// Cancels this job, with [`CancelReason::Requested`]. `false` if it does not run or was cancelled before.
    pub fn cancel(&self, job: JobId) -> bool {
        self.cancel_because(job, CancelReason::Requested)
    }

    /// Cancels this job for this reason. `false` if it does not run or was cancelled before.
    pub fn cancel_because(&self, job: JobId, reason: CancelReason) -> bool {
        let job = self.registry.running().get(&job).cloned();
        job.is_some_and(|job| job.cancel(reason))
    }

    /// Cancels every running job for this reason and says how many that were.
    pub fn cancel_all(&self, reason: CancelReason) -> usize {
        self.registry.cancel_all(&reason, false)
    }

    /// Cancels every running job with [`CancelReason::Shutdown`] and turns away every new one with it, for good. Says
    /// how many jobs were cancelled.
    pub fn shutdown(&self) -> usize {
        let count = self.registry.cancel_all(&CancelReason::Shutdown, true);
        self.registry.shutdown.cancel();
        count
    }

    /// The ids of the running jobs, oldest first.
    #[must_use]
    pub fn running(&self) -> Vec<JobId> {
        let mut jobs: Vec<_> = self.registry.running().keys().copied().collect();
        jobs.sort_unstable();
        jobs
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelHandle")
            .field("running", &self.registry.running().len())
            .finish_non_exhaustive()
    }
}
