//! The table of the jobs that run in a layer.

use std::sync::{Arc, PoisonError, Weak};

use super::{counts::Shutdown, running::Running};
use crate::{
    event::{CancelReason, JobId, JobMap},
    job::core::{By, Core},
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
    /// Those for whom it is not over yet, though their jobs may be.
    holds: usize,
    tally: Shutdown,
}

struct Entry {
    target: Target,
    /// How many of the job's calls are in this layer: a hedge around it makes several at a time.
    calls: usize,
}

/// A running job, and whether its calls are a part of an execution that callers share, rather than one of those that
/// share it: then it is that which is to be stopped.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) job: Arc<Core>,
    pub(super) shared: bool,
}

impl Target {
    pub(super) fn cancel(&self, reason: CancelReason) -> bool {
        cancel(&self.job, self.shared, reason)
    }
}

pub(super) fn cancel(job: &Core, shared: bool, reason: CancelReason) -> bool {
    let by = if shared { By::Execution } else { By::Request };
    job.cancel(reason, by)
}

impl Registry {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tracks the job as long as the guard lives. `None` after the shutdown.
    pub(super) fn track(self: &Arc<Self>, job: &Arc<Core>, shared: bool) -> Option<Tracked> {
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
                target: Target {
                    job: Arc::clone(job),
                    shared,
                },
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

    pub(super) fn find(&self, job: JobId) -> Option<Target> {
        let table = self.table();
        table.running.get(&job).map(|entry| entry.target.clone())
    }

    pub(super) fn ids(&self) -> Vec<JobId> {
        let mut ids: Vec<_> = self.table().running.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// The running jobs, oldest first.
    pub(super) fn jobs(&self) -> Vec<Target> {
        let mut jobs: Vec<_> = {
            let table = self.table();
            let jobs = table.running.values();
            jobs.map(|entry| entry.target.clone()).collect()
        };
        jobs.sort_unstable_by_key(|target| target.job.id());
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
        self.leaving == 0 && self.holds == 0 && self.running.is_empty()
    }
}

/// Keeps a shutdown waiting until it is dropped.
pub(crate) struct Hold(Arc<Registry>);

impl Hold {
    pub(super) fn new(registry: &Arc<Registry>) -> Self {
        registry.table().holds += 1;
        Self(Arc::clone(registry))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let drained = {
            let mut table = self.0.table();
            table.holds -= 1;
            self.0.is_closed() && table.is_drained()
        };
        if drained {
            self.0.drained.cancel();
        }
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
        if let Some(Entry { target, .. }) = removed {
            if closed {
                // The layers around this one have yet to see the result, and whoever watches to be told.
                target.job.keep_until_over(Box::new(Leaving {
                    registry: Arc::clone(&self.registry),
                    job: Arc::downgrade(&target.job),
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
        let reason = self.job.upgrade().and_then(|job| job.reason());
        self.registry.over(reason.as_ref());
    }
}

/// Cancels those of the jobs, which come oldest first, that are meant and says how many were not cancelled before.
pub(super) fn cancel_each(
    jobs: Vec<Target>,
    reason: &CancelReason,
    mut meant: impl FnMut(&Core) -> bool,
) -> usize {
    let mut meant: Vec<_> = jobs
        .into_iter()
        .filter(|target| meant(&target.job))
        .collect();
    // The youngest first, as a job's cancellation takes its children along, which are to be counted.
    meant.reverse();
    meant
        .iter()
        .filter(|target| target.cancel(reason.clone()))
        .count()
}

/// The jobs as they are now.
pub(super) fn list(jobs: &[Target]) -> Vec<Running> {
    jobs.iter().map(|target| Running::of(&target.job)).collect()
}
