//! Jobs whose execution several callers share, and which may outlive its own caller.

use std::sync::Arc;

use super::{By, Core, Flag, family, followers::Unread};
use crate::event::CancelReason;

/// Identifies a shared execution, with or without a job: by its table and a number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ExecutionId {
    pub(crate) table: u64,
    pub(crate) number: u64,
}

/// While this exists, the job's execution may outlive its caller.
pub(crate) struct SharedExecution(Arc<Core>);

impl SharedExecution {
    /// `None` if the job's token has fired: the execution of a cancelled job is not shared.
    pub(crate) fn new(job: Arc<Core>) -> Option<Self> {
        {
            let mut locked = job.lock();
            locked.shares = locked
                .shares
                .checked_add(1)
                .filter(|_| !job.state().has_fired())?;
            job.flags.set(Flag::Shared);
        }
        Some(Self(job))
    }

    pub(crate) fn job(&self) -> &Arc<Core> {
        &self.0
    }
}

impl Drop for SharedExecution {
    /// If the job was cancelled or its caller left meanwhile, fires the token for the rest of the
    /// execution.
    fn drop(&mut self) {
        let job = &self.0;
        let unread;
        let reach = {
            let mut locked = job.lock();
            locked.shares -= 1;
            if locked.shares > 0 {
                // An outer layer still shares the execution: another attempt may follow.
                return;
            }
            let before = job.flags.clear(Flag::Shared);
            let rare = locked.rare.as_mut();
            unread = rare.map(|rare| rare.followers.forget());
            let expired = before.has(Flag::Expired);
            let is_left = expired || before.is_cancelled() || before.is_over();
            is_left.then(|| {
                let otherwise = match expired {
                    true => CancelReason::TimedOut,
                    false => CancelReason::CallerGone,
                };
                let reason = locked.reason().unwrap_or(otherwise);
                if expired {
                    // The limit and the cancellation waited for the other callers. From here on
                    // another reason is too late. A job that ended otherwise was not cancelled,
                    // though its token fires.
                    job.flags.set(Flag::Cancelled);
                    locked.rare().reason.get_or_insert_with(|| reason.clone());
                }
                (locked.reach(true), reason)
            })
        };
        unread.into_iter().for_each(Unread::deliver);
        let Some((reached, reason)) = reach else {
            return;
        };
        reached.spread(job, &reason);
        if job.state().is_over() {
            family::leave(job);
        }
    }
}

impl Core {
    /// Whether a layer that stops this job's call can let its work clean up first. That needs
    /// running work that no other call shares. A waiting call (for its start, its next attempt, or
    /// its leader) has nothing to clean up. A shared execution continues or is dropped, unless
    /// `shared` says that the call is part of it.
    pub(crate) fn can_clean_up(&self, shared: bool) -> bool {
        let now = self.state();
        let waits = now.is_held() || now.is_backing_off() || self.lock().follows.is_some();
        !waits && (shared || !now.is_shared() || now.has_fired())
    }

    /// Stops the work of a cancelled job whose work was not stopped yet, if `close` finds that no
    /// other caller shares it.
    pub(crate) fn stop_own_work(&self, close: impl FnOnce() -> bool) {
        if !self.state().leaves_its_execution() || self.lock().shares != 1 || !close() {
            return;
        }
        if let Some(reason) = self.reason() {
            self.cancel(reason, By::Execution);
        }
    }
}
