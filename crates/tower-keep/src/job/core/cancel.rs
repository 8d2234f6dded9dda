//! Cancelling a job, and the jobs that work for it.

use std::sync::{Arc, Weak};

use super::{Core, Flag, Locked};
use crate::{
    event::CancelReason,
    job::stop_signal::StopSignal,
    sync::{AtomicWaker, CancellationToken},
};

/// What a cancellation is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The job, by its handle: a Cancel layer that has a call in hand takes its caller out. Too late once the result is on
    /// its way.
    Request,
    /// The job's caller, which goes now, result or not. A shared execution goes on for the others.
    Leaving,
    /// The shared execution, for every caller, also where the job itself has ended.
    Execution,
}

/// What a cancellation reaches, once the lock is released.
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
    /// Cancels the job: sets the reason, fires the token and wakes the waiting layers. `false` if the job was over or
    /// cancelled before.
    pub(crate) fn cancel(&self, reason: CancelReason, by: By) -> bool {
        let reached = self.lock().cancel(&reason, by);
        let was_in_time = reached.is_some();
        if let Some(reached) = reached {
            reached.spread(self, &reason);
        }
        was_in_time
    }

    /// The overall limit expired, and the layer that calls this drops its part of the execution.
    pub(crate) fn expire(&self) {
        {
            let _job = self.lock();
            if self.state().is_shared() {
                // Others may still wait for the result, and this job's caller gets the limit's own error.
                self.flags.set(Flag::Expired);
                return;
            }
        }
        self.cancel(CancelReason::TimedOut, By::Leaving);
    }

    /// The code of this job inside the signal is to end within a grace period. Its child jobs are cancelled, except
    /// detached ones.
    pub(crate) fn stop_by(&self, signal: &StopSignal) {
        signal.fire();
        // The lock orders this after a child that is born at the same time, or before it so that it sees the signal: the flag
        // that there are children would not.
        let children = self.lock().children_within(signal);
        for child in children.iter().filter_map(Weak::upgrade) {
            if !child.state().has(Flag::Detached) {
                child.cancel(CancelReason::TimedOut, By::Leaving);
            }
        }
    }

    /// Why the job was cancelled, if it was. Where its token fired nevertheless, its caller had gone before.
    pub(crate) fn reason(&self) -> Option<CancelReason> {
        self.lock().reason()
    }

    /// Fires with the job's cancellation.
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
    /// Fires tokens and wakers, of this job and of its children. By a list, as children may be a chain of any length.
    pub(super) fn spread(self, job: &Core, reason: &CancelReason) {
        let mut next = self.tell(job);
        while let Some(child) = next.pop() {
            let Some(child) = child.upgrade() else {
                continue;
            };
            // Released before anything is told.
            let reached = child.lock().cancel_with_parent(reason);
            next.extend(
                reached
                    .map(|reached| reached.tell(&child))
                    .into_iter()
                    .flatten(),
            );
        }
    }

    /// Returns the children that are to be told too.
    fn tell(self, job: &Core) -> Vec<Weak<Core>> {
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

    /// The parent drops this job's caller or lets it come to an end, so that others may go on with a shared execution,
    /// and a detached one without its caller.
    pub(super) fn cancel_with_parent(&mut self, reason: &CancelReason) -> Option<Reached> {
        if self.core.state().survives(reason) {
            return None;
        }
        self.cancel(reason, By::Leaving)
    }

    /// What there is to tell, and whether the token fires. The children stay in the table: some go on, and an ended job
    /// may begin others.
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
