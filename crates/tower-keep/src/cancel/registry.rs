//! The registry of a layer's running jobs: finding, cancelling, and waiting for them at a shutdown.

use std::sync::{Arc, PoisonError, Weak};

use super::{running_job::RunningJob, shutdown_report::ShutdownReport};
use crate::{
    event::{CancelReason, JobId},
    job::{
        core::{By, Core},
        table::{Call, Owner, Table, Tracked},
    },
    sync::{CancellationToken, Mutex, MutexGuard},
};

/// The state that the layer's clones share.
pub(super) struct Registry {
    table: Arc<Table>,
    /// Taken before a lock of the table. No job is touched while it is held.
    drain: Mutex<Drain>,
    /// Fires at the shutdown, for callers that wait for readiness and have no job yet.
    shutdown: CancellationToken,
    /// Fires when the last job is over after the shutdown.
    drained: CancellationToken,
}

#[derive(Default)]
struct Drain {
    /// Jobs that left this layer after the shutdown and are not over yet.
    leaving: usize,
    /// Holds that delay the end of the shutdown, though their jobs may be over.
    holds: usize,
    report: ShutdownReport,
}

impl Tracked {
    pub(super) fn cancel(&self, reason: CancelReason) -> bool {
        cancel(&self.job, self.shared, reason)
    }
}

pub(super) fn cancel(job: &Core, shared: bool, reason: CancelReason) -> bool {
    let by = if shared { By::Execution } else { By::Request };
    job.cancel(reason, by)
}

impl Registry {
    /// A registry with its own table.
    pub(super) fn new() -> Arc<Self> {
        let table = Arc::new(Table::of_calls());
        Self::on(&table).unwrap_or_else(|| unreachable!("it has no owner yet"))
    }

    /// A registry on the table of a board; `None` if another Cancel layer uses that table.
    pub(super) fn on(table: &Arc<Table>) -> Option<Arc<Self>> {
        let registry = Arc::new(Self {
            table: Arc::clone(table),
            drain: Mutex::new(Drain::default()),
            shutdown: CancellationToken::default(),
            drained: CancellationToken::default(),
        });
        let owner: Arc<dyn Owner> = Arc::clone(&registry) as _;
        table.set_owner(Arc::downgrade(&owner)).then_some(registry)
    }

    fn drain_state(&self) -> MutexGuard<'_, Drain> {
        self.drain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tracks a call of the job while the guard lives. `None` after the shutdown.
    #[inline]
    pub(super) fn track(&self, job: &Arc<Core>, shared: bool) -> Option<Call> {
        let call = self.table.begin_call(job, shared);
        if call.is_none() {
            self.drain_state().report.refused += 1;
        }
        call
    }

    pub(super) fn is_closed(&self) -> bool {
        self.table.is_closed()
    }

    pub(super) fn shutdown_token(&self) -> &CancellationToken {
        &self.shutdown
    }

    pub(super) fn drained_token(&self) -> &CancellationToken {
        &self.drained
    }

    pub(super) fn len(&self) -> usize {
        self.table.calling()
    }

    pub(super) fn find(&self, job: JobId) -> Option<Tracked> {
        self.table.find_call(job)
    }

    /// The running jobs with this external id, oldest first.
    pub(super) fn find_external(&self, external_id: &str) -> Vec<Tracked> {
        self.table.find_external_calls(external_id)
    }

    /// The running jobs, oldest first.
    pub(super) fn jobs(&self) -> Vec<Tracked> {
        self.table.tracked()
    }

    pub(super) fn report(&self) -> ShutdownReport {
        self.drain_state().report
    }

    /// Whether nothing is left. Only valid once the layer is closed: then no job comes, and a job
    /// that leaves the table is counted as leaving in the same step.
    fn is_drained(&self, drain: &Drain) -> bool {
        drain.leaving == 0 && drain.holds == 0 && self.table.calling() == 0
    }

    fn finish(&self, drained: bool) {
        if drained {
            self.drained.cancel();
        }
    }

    /// A job that left this layer after the shutdown is over.
    fn over(&self, reason: Option<&CancelReason>) {
        let drained = {
            let mut drain = self.drain_state();
            drain.leaving -= 1;
            drain.report.count(reason);
            self.is_drained(&drain)
        };
        self.finish(drained);
    }
}

impl Owner for Registry {
    fn close(&self) {
        let drained = {
            let drain = self.drain_state();
            self.table.close();
            self.is_drained(&drain)
        };
        self.shutdown.cancel();
        self.finish(drained);
    }

    fn leave(self: Arc<Self>, leave: &mut dyn FnMut() -> Option<Arc<Core>>) {
        let left = {
            let mut drain = self.drain_state();
            let left = leave();
            drain.leaving += usize::from(left.is_some());
            left
        };
        if let Some(job) = left {
            let leaving = Leaving {
                registry: self,
                job: Arc::downgrade(&job),
            };
            // The layers around this one and the observers have not seen the result yet. For a
            // detached job only its work counts: its caller may take the result at any time.
            if !job.state().is_detached() {
                job.keep_until_over(Box::new(leaving));
            }
        }
    }
}

/// Delays the end of a shutdown until it is dropped.
pub(crate) struct ShutdownHold(Arc<Registry>);

impl ShutdownHold {
    pub(super) fn new(registry: &Arc<Registry>) -> Self {
        registry.drain_state().holds += 1;
        Self(Arc::clone(registry))
    }
}

impl Clone for ShutdownHold {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for ShutdownHold {
    fn drop(&mut self) {
        let registry = &self.0;
        let drained = {
            let mut drain = registry.drain_state();
            drain.holds -= 1;
            registry.is_closed() && registry.is_drained(&drain)
        };
        registry.finish(drained);
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

/// Cancels the jobs that `picks` accepts. Returns how many of them were not cancelled before.
/// `jobs` is sorted, oldest first.
pub(super) fn cancel_each(
    jobs: Vec<Tracked>,
    reason: &CancelReason,
    mut picks: impl FnMut(&Core) -> bool,
) -> usize {
    let mut picked: Vec<_> = jobs
        .into_iter()
        .filter(|target| picks(&target.job))
        .collect();
    // Youngest first: cancelling a job also cancels its children, which have to be counted.
    picked.reverse();
    picked
        .iter()
        .filter(|target| target.cancel(reason.clone()))
        .count()
}

/// Snapshots of the jobs.
pub(super) fn list(jobs: &[Tracked]) -> Vec<RunningJob> {
    jobs.iter()
        .map(|target| RunningJob::of(&target.job))
        .collect()
}
