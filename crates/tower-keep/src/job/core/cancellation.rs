//! Cancelling a job, and whoever works for it.

use std::{
    sync::{Arc, Weak},
    task::Waker,
};

use super::{
    CANCELLED, Core, DECIDED, ELSEWHERE, ENDED, FIRED, HAS_CHILDREN, RESTING, SHARED, State,
    WATCHED, WATCHED_AGAIN,
};
use crate::{
    event::{CancelReason, JobMap},
    job::halt::{self, Halt},
    sync::{AtomicWaker, CancellationToken, atomic::Ordering},
};

pub(super) type Children = JobMap<Weak<Core>>;

impl Core {
    /// Whether the code that runs now, in this job, should stop: the job's token fired, or a limit gives this code a
    /// last grace period.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.has(FIRED) || halt::is_halted_in(self.id)
    }

    /// Whether the job's token fired.
    #[inline]
    pub(crate) fn has_fired(&self) -> bool {
        self.has(FIRED)
    }

    /// Whether cancellation was asked for, even where the execution goes on for others.
    #[inline]
    pub(crate) fn cancel_requested(&self) -> bool {
        self.has(CANCELLED)
    }

    /// Why the code that runs now, in this job, should stop.
    pub(crate) fn reason(&self) -> Option<CancelReason> {
        let reason = self.state().reason.clone();
        reason.or_else(|| halt::is_halted_in(self.id).then_some(CancelReason::TimedOut))
    }

    /// Why the job was cancelled, whatever may stop the code that runs now.
    pub(crate) fn cancelled_for(&self) -> Option<CancelReason> {
        if self.cancel_requested() {
            self.state().reason.clone()
        } else {
            None
        }
    }

    /// Cancels the job: sets the reason, fires the token, wakes who waits. `false` if it was over or cancelled before.
    pub(crate) fn cancel(&self, reason: CancelReason) -> bool {
        self.cancel_as(reason, false)
    }

    /// Like [`cancel`](Self::cancel); `leaves` says that the one who cancels drops this job's share of the execution
    /// itself, so that a shared one may go on for the others. Where that was left by its own caller, it is what is cancelled.
    pub(crate) fn cancel_as(&self, reason: CancelReason, leaves: bool) -> bool {
        let children = {
            let mut state = self.state();
            let too_late = if leaves { ENDED } else { ENDED | DECIDED };
            let cancelled = self
                .flags
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |flags| {
                    (flags & (too_late | CANCELLED) == 0).then_some(flags | CANCELLED)
                });
            let again = cancelled.is_err();
            if again && (leaves || !self.works_on()) {
                return false;
            }
            state.reason = Some(reason.clone());
            let shared = self.has(SHARED) && (leaves || self.has(WATCHED));
            if shared && !again {
                None
            } else {
                self.mark_fired(&mut state)
            }
        };
        self.fire(children, &reason);
        self.wakers.iter().for_each(AtomicWaker::wake);
        true
    }

    /// Whether the job has ended, as its caller left, and its execution goes on for others: that can still be stopped.
    pub(crate) fn works_on(&self) -> bool {
        let flags = self.flags.load(Ordering::Acquire);
        flags & (ENDED | SHARED | FIRED) == ENDED | SHARED
    }

    /// The overall limit expired, and whoever calls this drops its part of the execution.
    pub(crate) fn expire(&self) {
        {
            let mut state = self.state();
            if self.has(SHARED) {
                // Others may still wait for the result, and this job's caller gets the limit's own error.
                state.expired = true;
                return;
            }
        }
        self.cancel_as(CancelReason::TimedOut, true);
    }

    /// The code that this halt stops is to end within a grace period; so are the jobs that work for it, but for those
    /// that go on without their caller anyway.
    pub(crate) fn halt_children(&self, halt: &Halt) {
        // The lock orders this after the child that is born beside, or before it so that it sees the halt: the flag
        // that there are children would not.
        let children: Vec<_> = {
            let state = self.state();
            state
                .children
                .iter()
                .flat_map(JobMap::values)
                .cloned()
                .collect()
        };
        for child in children.iter().filter_map(Weak::upgrade) {
            let stops = child
                .within
                .as_ref()
                .is_some_and(|within| within.is_within(halt));
            if stops && !child.has(ELSEWHERE) {
                child.cancel_as(CancelReason::TimedOut, true);
            }
        }
    }

    /// Whom to tell; `None` if it has fired before.
    fn mark_fired(&self, state: &mut State) -> Option<Option<Children>> {
        (!self.set(FIRED)).then(|| state.children.take())
    }

    fn fire(&self, fired: Option<Option<Children>>, reason: &CancelReason) {
        let Some(children) = fired else { return };
        if let Some(token) = self.token.get() {
            token.cancel();
        }
        for child in children
            .into_iter()
            .flat_map(|children| children.into_values())
        {
            if let Some(child) = child.upgrade() {
                child.parent_cancelled(reason);
            }
        }
    }

    /// The parent drops this job's caller or lets it come to an end, so that others may go on with a shared execution,
    /// and a detached one without its caller.
    fn parent_cancelled(&self, reason: &CancelReason) {
        if *reason != CancelReason::CallerGone || !self.has(ELSEWHERE) {
            self.cancel_as(reason.clone(), true);
        }
    }

    /// The result goes to the caller: from here on a cancellation is too late. `false` if it was not.
    pub(crate) fn decide(&self) -> bool {
        self.flags.fetch_or(DECIDED, Ordering::AcqRel) & CANCELLED == 0
    }

    /// Another attempt follows.
    pub(crate) fn attempt_over(&self) {
        self.clear(DECIDED);
        self.set(RESTING);
        self.pause();
        if self.has(ELSEWHERE) {
            self.forget_outcome();
        }
        self.let_go();
    }

    /// The wait for the next attempt is over, that for its service's readiness too.
    pub(crate) fn attempt_runs(&self) {
        self.clear(RESTING);
    }

    /// Whether no attempt runs.
    pub(crate) fn is_resting(&self) -> bool {
        self.has(RESTING)
    }

    /// The execution is over or dropped: whoever still works for it is told, if the job was cancelled or its caller
    /// went away meanwhile.
    pub(crate) fn shared_execution_over(&self) {
        let fired = {
            let mut state = self.state();
            state.shares -= 1;
            if state.shares > 0 {
                // A layer around still shares what goes on: another attempt may follow.
                return;
            }
            self.clear(SHARED);
            Self::forget_reports(&mut state.followers);
            if !state.expired && !self.has(CANCELLED | ENDED) {
                return;
            }
            let reason = match &state.reason {
                Some(reason) => reason.clone(),
                None if state.expired => CancelReason::TimedOut,
                None => CancelReason::CallerGone,
            };
            state.reason.get_or_insert_with(|| reason.clone());
            if state.expired {
                // As where the execution is not shared: it is too late for another reason.
                self.set(CANCELLED);
            }
            (self.mark_fired(&mut state), reason)
        };
        self.fire(fired.0, &fired.1);
    }

    /// The execution may outlive the caller, until as many say that [it is over](Self::shared_execution_over).
    pub(crate) fn share_execution(&self) {
        let mut state = self.state();
        state.shares += 1;
        self.set(SHARED);
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        let token = self.token.get_or_init(CancellationToken::new);
        // The flag is set under the lock, and `fire` looks for the token after that: one of the two cancels it.
        let fired = {
            let _state = self.state();
            self.has(FIRED)
        };
        if fired {
            token.cancel();
        }
        token
    }

    /// Whether the execution belongs to several callers.
    pub(crate) fn is_shared(&self) -> bool {
        self.has(SHARED)
    }

    /// Whether a Cancel layer stops the job's own work when it is cancelled.
    pub(crate) fn is_watched(&self) -> bool {
        self.has(WATCHED) && !self.is_shared()
    }

    /// Claims a place for a waker, if there is one left. The first of a Cancel layer that takes this job's caller out,
    /// rather than stop an execution that several share, is the one that watches the job.
    pub(crate) fn watch(&self) -> Option<usize> {
        if !self.is_shared() && !self.set(WATCHED) {
            Some(0)
        } else if !self.set(WATCHED_AGAIN) {
            Some(1)
        } else {
            None
        }
    }

    /// Gives a place back.
    pub(crate) fn unwatch(&self, place: usize) {
        // The waker first: the place is free only once it is empty.
        drop(self.wakers[place].take());
        self.clear(if place == 0 { WATCHED } else { WATCHED_AGAIN });
    }

    /// Wakes this waker when cancellation is asked for. Look at the flag again after the call.
    pub(crate) fn wake_on_cancel(&self, place: usize, waker: &Waker) {
        self.wakers[place].register(waker);
    }

    /// The work was dropped before it came to an end of its own.
    pub(crate) fn set_dropped(&self) {
        self.state().dropped = true;
    }

    pub(super) fn adopt_child(&self, child: &Arc<Core>) {
        let reason = {
            let mut state = self.state();
            self.set(HAS_CHILDREN);
            if !self.has(FIRED) {
                state
                    .children
                    .get_or_insert_default()
                    .insert(child.id, Arc::downgrade(child));
                drop(state);
                // Looked at once the child can be found: it is told here or by whoever halts.
                if child
                    .within
                    .as_ref()
                    .is_some_and(|within| within.is_halted())
                {
                    child.cancel_as(CancelReason::TimedOut, true);
                }
                return;
            }
            state.reason.clone()
        };
        child.parent_cancelled(&reason.unwrap_or(CancelReason::CallerGone));
    }
}
