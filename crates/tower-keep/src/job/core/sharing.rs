//! A job whose execution belongs to several callers, and may outlive its own.

use super::{By, Core, Flag};
use crate::event::CancelReason;

impl Core {
    /// The execution may outlive the caller, until as many say that [it is over](Self::shared_execution_over); `false` if
    /// the job's token has fired.
    pub(crate) fn share_execution(&self) -> bool {
        let mut job = self.lock();
        let Some(shares) = job
            .shares
            .checked_add(1)
            .filter(|_| !self.state().has_fired())
        else {
            return false;
        };
        job.shares = shares;
        self.word.set(Flag::Shared);
        true
    }

    /// The execution is over or dropped: what still works for it is told, if the job was cancelled or its caller went
    /// away meanwhile.
    pub(crate) fn shared_execution_over(&self) {
        let (reached, reason) = {
            let mut job = self.lock();
            job.shares -= 1;
            if job.shares > 0 {
                // A layer around still shares what goes on: another attempt may follow.
                return;
            }
            let before = self.word.clear(Flag::Shared);
            if let Some(rare) = &mut job.rare {
                rare.followers.forget();
            }
            let expired = before.has(Flag::Expired);
            if !expired && !before.is_cancelled() && !before.is_over() {
                return;
            }
            let otherwise = match expired {
                true => CancelReason::TimedOut,
                false => CancelReason::CallerGone,
            };
            let reason = job.reason.clone().unwrap_or(otherwise);
            if expired {
                // As where the execution is not shared: it is too late for another reason.
                self.word.set(Flag::Cancelled);
                job.reason.get_or_insert_with(|| reason.clone());
            }
            (job.reach(true), reason)
        };
        self.spread(reached, &reason);
        if self.state().is_over() {
            super::family::leave(self);
        }
    }

    /// Whether a layer that stops this job's call can let it clean up first: work runs, and the call alone has it in
    /// hand. One that waits (to start, for its next attempt, for another job's work) has begun nothing that it could
    /// end, and an execution that others may share goes on or is dropped, unless `shared` says that the call is a part
    /// of that.
    pub(crate) fn can_clean_up(&self, shared: bool) -> bool {
        let now = self.state();
        let waits = now.is_held() || now.is_backing_off() || self.lock().follows > 0;
        !waits && (shared || !now.is_shared() || now.has_fired())
    }

    /// Whether this job was cancelled and its execution, which no layer but one shares, was not told.
    pub(crate) fn is_alone_to_stop(&self) -> bool {
        self.state().leaves_its_execution() && self.lock().shares == 1
    }

    /// Tells the work of this cancelled job, which is found to be nobody else's.
    pub(crate) fn stop_own_work(&self) {
        if let Some(reason) = self.reason() {
            self.cancel(reason, By::Execution);
        }
    }
}
