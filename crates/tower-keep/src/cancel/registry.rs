use std::sync::{Arc, PoisonError, Weak};

use super::{running::Running, shutdown::Shutdown};
use crate::{
    event::{CancelReason, JobId, JobMap},
    job::core::Core,
    sync::{
        CancellationToken, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

/// What the layer's clones share: the jobs that run.
#[derive(Default)]
pub(super) struct Registry {
    /// A leaf lock: no job is touched while it is held.
    table: Mutex<Table>,
    closed: AtomicBool,
    /// Fires at the shutdown, for those that wait for readiness and are no job yet.
    shutdown: CancellationToken,
    /// Fires when the last job is over after the shutdown.
    drained: CancellationToken,
}

#[derive(Default)]
struct Table {
    running: JobMap<Entry>,
    /// Those that left this layer after the shutdown and are not over yet.
    leaving: usize,
    tally: Shutdown,
}

struct Entry {
    job: Arc<Core>,
    /// How many of the job's calls are in this layer: a hedge around it makes several at a time.
    calls: usize,
}

impl Registry {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tracks the job as long as the guard lives. `None` after the shutdown.
    pub(super) fn track(self: &Arc<Self>, job: &Arc<Core>) -> Option<Tracked> {
        let mut table = self.table();
        // Looked at under the lock, so that the shutdown finds every job that got in before it.
        if self.is_closed() {
            table.tally.refused += 1;
            return None;
        }
        table
            .running
            .entry(job.id())
            .and_modify(|entry| entry.calls += 1)
            .or_insert_with(|| Entry {
                job: Arc::clone(job),
                calls: 1,
            });
        Some(Tracked {
            registry: Arc::clone(self),
            job: job.id(),
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(super) fn shutdown_token(&self) -> &CancellationToken {
        &self.shutdown
    }

    pub(super) fn drained_token(&self) -> &CancellationToken {
        &self.drained
    }

    pub(super) fn len(&self) -> usize {
        self.table().running.len()
    }

    pub(super) fn find(&self, job: JobId) -> Option<Arc<Core>> {
        let table = self.table();
        table.running.get(&job).map(|entry| Arc::clone(&entry.job))
    }

    pub(super) fn ids(&self) -> Vec<JobId> {
        let mut ids: Vec<_> = self.table().running.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// The running jobs, oldest first.
    pub(super) fn jobs(&self) -> Vec<Arc<Core>> {
        let mut jobs: Vec<_> = {
            let table = self.table();
            let jobs = table.running.values();
            jobs.map(|entry| Arc::clone(&entry.job)).collect()
        };
        jobs.sort_unstable_by_key(|job| job.id());
        jobs
    }

    /// Turns every new job away from now on.
    pub(super) fn close(&self) {
        let drained = {
            let table = self.table();
            self.closed.store(true, Ordering::Relaxed);
            table.is_drained()
        };
        self.shutdown.cancel();
        if drained {
            self.drained.cancel();
        }
    }

    pub(super) fn tally(&self) -> Shutdown {
        self.table().tally
    }

    /// A job that left this layer after the shutdown is over.
    fn over(&self, reason: Option<&CancelReason>) {
        let drained = {
            let mut table = self.table();
            table.leaving -= 1;
            table.tally.count(reason);
            table.is_drained()
        };
        if drained {
            self.drained.cancel();
        }
    }
}

impl Table {
    fn is_drained(&self) -> bool {
        self.leaving == 0 && self.running.is_empty()
    }
}

/// Removes the job from the registry when it is dropped.
pub(super) struct Tracked {
    registry: Arc<Registry>,
    job: JobId,
}

impl Tracked {
    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let (removed, closed) = {
            let mut table = self.registry.table();
            let Some(entry) = table.running.get_mut(&self.job) else {
                return;
            };
            entry.calls -= 1;
            if entry.calls > 0 {
                return;
            }
            let removed = table.running.remove(&self.job);
            let closed = self.registry.is_closed();
            table.leaving += usize::from(closed);
            (removed, closed)
        };
        // Perhaps the last handle to the job, and with it to its observers: it goes without the lock.
        if let Some(Entry { job, .. }) = removed {
            if closed {
                // The layers around this one have yet to see the result, and whoever watches to be told.
                job.keep_until_over(Box::new(Leaving {
                    registry: Arc::clone(&self.registry),
                    job: Arc::downgrade(&job),
                }));
            }
        }
    }
}

/// Counts the job when it is over.
struct Leaving {
    registry: Arc<Registry>,
    job: Weak<Core>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let reason = self.job.upgrade().and_then(|job| job.cancelled_for());
        self.registry.over(reason.as_ref());
    }
}

/// Cancels those of the jobs that are meant and says how many were not cancelled before.
pub(super) fn cancel_each(
    jobs: impl IntoIterator<Item = Arc<Core>>,
    reason: &CancelReason,
    mut meant: impl FnMut(&Core) -> bool,
) -> usize {
    jobs.into_iter()
        .filter(|job| meant(job) && job.cancel(reason.clone()))
        .count()
}

/// The jobs as they are now.
pub(super) fn list(jobs: &[Arc<Core>]) -> Vec<Running> {
    jobs.iter().map(|job| Running::of(job)).collect()
}
