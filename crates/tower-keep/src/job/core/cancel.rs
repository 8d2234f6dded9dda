//! Cancelling a job and its child jobs.

use std::sync::{Arc, Weak};

use super::{Core, Flag, Locked};
use crate::{
    event::CancelReason,
    job::stop_signal::StopSignal,
    sync::{AtomicWaker, CancellationToken},
};

/// The target of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The job, through a handle. A Cancel layer with a call in hand returns to its caller. Too
    /// late once the result is decided.
    Request,
    /// The job's caller leaves now, even if there is a result. A shared execution continues for the
    /// others.
    Leaving,
    /// The shared execution, for every caller, even if the job itself has ended.
    Execution,
}

/// What to fire and wake after the lock is released.
pub(super) struct Reached {
    /// `None` if the token does not fire.
    fired: Option<Fired>,
    wakers: Vec<Arc<AtomicWaker>>,
}

struct Fired {
    token: Option<CancellationToken>,
    children: Vec<Weak<Core>>,
}

impl Core {
    /// Cancels the job: sets the reason, fires the token and wakes waiting layers. Returns `false`
    /// if the job was already over or cancelled.
    pub(crate) fn cancel(&self, reason: CancelReason, by: By) -> bool {
        let reached = self.lock().cancel(&reason, by);
        let was_in_time = reached.is_some();
        if let Some(reached) = reached {
            reached.spread(self, &reason);
        }
        was_in_time
    }

    /// The overall limit expired, and the calling layer drops its part of the execution.
    pub(crate) fn expire(&self) {
        {
            let _job = self.lock();
            if self.state().is_shared() {
                // Other callers may still wait for the result, and this job's caller gets the
                // limit's own error.
                self.flags.set(Flag::Expired);
                return;
            }
        }
        self.cancel(CancelReason::TimedOut, By::Leaving);
    }

    /// Fires the signal of a grace period for this job's code. Cancels its child jobs, except
    /// detached ones.
    pub(crate) fn stop_by(&self, signal: &StopSignal) {
        signal.fire();
        // A child may be born at the same time. Under the lock, either it is in this list, or it
        // sees the signal. The flag for children does not guarantee that.
        let children = self.lock().children_within(signal);
        for child in children.iter().filter_map(Weak::upgrade) {
            if !child.state().has(Flag::DetachedTasks) {
                child.cancel(CancelReason::TimedOut, By::Leaving);
            }
        }
    }

    /// Why the job was cancelled. If its token fired without a reason, its caller had left.
    pub(crate) fn reason(&self) -> Option<CancelReason> {
        self.lock().reason()
    }

    /// The token that fires with the job's cancellation.
    pub(crate) fn token(&self) -> CancellationToken {
        let (token, fired) = {
            let mut job = self.lock();
            let token = job.rare().token.get_or_insert_default().clone();
            (token, self.state().has_fired())
        };
        if fired {
            token.cancel();
        }
        token
    }
}

impl Reached {
    /// Fires tokens and wakers of this job and its children. Iterates, because a chain of children
    /// may be long.
    pub(super) fn spread(self, job: &Core, reason: &CancelReason) {
        let mut next = self.notify(job);
        while let Some(child) = next.pop() {
            let Some(child) = child.upgrade() else {
                continue;
            };
            // The lock is released before anything fires.
            let reached = child.lock().cancel_with_parent(reason);
            next.extend(
                reached
                    .map(|reached| reached.notify(&child))
                    .into_iter()
                    .flatten(),
            );
        }
    }

    /// Returns the children to cancel too.
    fn notify(self, job: &Core) -> Vec<Weak<Core>> {
        let mut children = Vec::new();
        if let Some(fired) = self.fired {
            if let Some(token) = fired.token {
                token.cancel();
            }
            children = fired.children;
        }
        job.waker.wake();
        self.wakers.iter().for_each(|waker| waker.wake());
        children
    }
}

impl Locked<'_> {
    fn cancel(&mut self, reason: &CancelReason, by: By) -> Option<Reached> {
        let flags = &self.core.flags;
        if by == By::Execution {
            let before = flags.load();
            if before.has_fired() || (before.is_over() && !before.works_on()) {
                return None;
            }
            flags.set(Flag::Cancelled);
            if !before.is_cancelled() || before.is_over() {
                self.rare().reason = Some(reason.clone());
            }
            return Some(self.reach(true));
        }
        let leaves = by == By::Leaving;
        flags.try_update(|flags| flags.cancelled(leaves)).ok()?;
        self.rare().reason = Some(reason.clone());
        let now = flags.load();
        let goes_on = now.is_shared() && (leaves || now.is_in_hand());
        Some(self.reach(!goes_on))
    }

    /// The parent drops this job's caller or lets it end. So a shared execution continues for other
    /// callers, and a detached job without its caller.
    pub(super) fn cancel_with_parent(&mut self, reason: &CancelReason) -> Option<Reached> {
        if self.core.state().survives(reason) {
            return None;
        }
        self.cancel(reason, By::Leaving)
    }

    /// What to notify, and whether the token fires. The children stay in the table: some continue,
    /// and an ended job may begin more.
    pub(super) fn reach(&mut self, fires: bool) -> Reached {
        let fires = fires && !self.core.flags.set(Flag::Fired).has_fired();
        let rare = self.rare.as_ref();
        Reached {
            fired: fires.then(|| Fired {
                token: rare.and_then(|rare| rare.token.clone()),
                children: self.children(),
            }),
            wakers: rare.map_or_else(Vec::new, |rare| rare.wakers.clone()),
        }
    }
}
