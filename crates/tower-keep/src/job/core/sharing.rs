//! A job whose execution belongs to several callers, and may outlive its own.

use std::sync::Arc;

use super::{By, Core, Flag, family, followers::Unread};
use crate::event::CancelReason;

/// Tells shared executions apart, with a job or without: by the table that has them, and a number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ExecutionId {
    pub(crate) table: u64,
    pub(crate) number: u64,
}

/// The execution of this job may outlive its caller, until this is dropped.
pub(crate) struct SharedExecution(Arc<Core>);

impl SharedExecution {
    /// `None` if the job's token has fired: a job that was told to stop before has nothing to share.
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
    /// Fires the token of what still works for the execution, if the job was cancelled or its caller went away meanwhile.
    fn drop(&mut self) {
        let job = &self.0;
        let unread;
        let reach = {
            let mut locked = job.lock();
            locked.shares -= 1;
            if locked.shares > 0 {
                // A layer around still shares what goes on: another attempt may follow.
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
                    // The limit waited for the others with the cancellation: from here on it is too late for another reason.
                    // A job that ended otherwise was not cancelled, though its token fires.
                    job.flags.set(Flag::Cancelled);
                    locked.rare().reason.get_or_insert_with(|| reason.clone());
                }
                (locked.reach(true), reason)
            })
        };
        unread.into_iter().for_each(Unread::hand_out);
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
    /// Whether a layer that stops this job's call can let it clean up first: work runs, and no other call shares it.
    /// A call that waits (to start, for its next attempt, for another job's work) has begun nothing that it could
    /// end, and an execution that others may share goes on or is dropped, unless `shared` says that the call is a part
    /// of that.
    pub(crate) fn can_clean_up(&self, shared: bool) -> bool {
        let now = self.state();
        let waits = now.is_held() || now.is_backing_off() || self.lock().follows.is_some();
        !waits && (shared || !now.is_shared() || now.has_fired())
    }

    /// Tells the work of this job, if that was cancelled, the work was not told, and `close` finds that nobody else
    /// shares it.
    pub(crate) fn stop_own_work(&self, close: impl FnOnce() -> bool) {
        if !self.state().leaves_its_execution() || self.lock().shares != 1 || !close() {
            return;
        }
        if let Some(reason) = self.reason() {
            self.cancel(reason, By::Execution);
        }
    }
}
