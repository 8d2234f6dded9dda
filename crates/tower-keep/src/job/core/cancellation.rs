//! Cancelling a job, and whoever works for it.

use std::{
    sync::{Arc, Weak},
    task::Waker,
};

use super::{
    CALL, CANCELLED, Core, DECIDED, ELSEWHERE, ENDED, FIRED, RESTING, SHARED, State, WATCHED,
    WATCHED_AGAIN, family,
};
use crate::{
    event::CancelReason,
    job::halt::{self, Halt},
    sync::{AtomicWaker, CancellationToken, atomic::Ordering},
};

/// Where the waker of a Cancel layer is, which watches the job.
#[derive(Debug)]
pub(crate) enum WakerPlace {
    First,
    Second,
    /// Many layers, or many calls of one job.
    Further(Arc<AtomicWaker>),
}

/// Whom a cancellation is to be told, once the lock is released.
struct Told {
    /// `None` if the token does not fire; else the children.
    fired: Option<Vec<Weak<Core>>>,
    wakers: Vec<Arc<AtomicWaker>>,
}

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
    /// itself, so that a shared one may go on for the others.
    pub(crate) fn cancel_as(&self, reason: CancelReason, leaves: bool) -> bool {
        let Some(told) = self.mark_cancelled(&reason, leaves) else {
            return false;
        };
        self.spread(told, &reason);
        true
    }

    /// Like [`cancel`](Self::cancel), for a layer that has a shared execution in hand: that is stopped, for whomever it
    /// works, also where the job has ended, as its own caller left. `false` if it was told to stop before.
    pub(crate) fn cancel_work(&self, reason: CancelReason) -> bool {
        let told = {
            let mut state = self.state();
            if self.has(FIRED) || (self.is_over() && !self.works_on()) {
                return false;
            }
            let first = !self.set(CANCELLED);
            if first || self.is_over() {
                state.reason = Some(reason.clone());
            }
            Told {
                fired: self.mark_fired(&state),
                wakers: state.wakers.clone(),
            }
        };
        self.spread(told, &reason);
        true
    }

    fn mark_cancelled(&self, reason: &CancelReason, leaves: bool) -> Option<Told> {
        let mut state = self.state();
        let too_late = CANCELLED | if leaves { ENDED } else { ENDED | DECIDED };
        self.flags
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |flags| {
                (flags & too_late == 0).then_some(flags | CANCELLED)
            })
            .ok()?;
        state.reason = Some(reason.clone());
        let shared = self.has(SHARED) && (leaves || self.is_in_hand());
        let fired = if shared {
            None
        } else {
            self.mark_fired(&state)
        };
        Some(Told {
            fired,
            wakers: state.wakers.clone(),
        })
    }

    /// Tells whoever waits for the cancellation, and the jobs that work for this one. By a list, as these may be a chain
    /// of any length.
    fn spread(&self, told: Told, reason: &CancelReason) {
        let mut next: Vec<Weak<Self>> = Vec::new();
        next.extend(self.tell_cancelled(told));
        while let Some(child) = next.pop() {
            let Some(child) = child.upgrade() else {
                continue;
            };
            if let Some(told) = child.mark_cancelled_with_parent(reason) {
                next.extend(child.tell_cancelled(told));
            }
        }
    }

    /// Returns the children that are to be told too.
    fn tell_cancelled(&self, told: Told) -> impl Iterator<Item = Weak<Self>> + use<> {
        if told.fired.is_some() {
            if let Some(token) = self.token.get() {
                token.cancel();
            }
        }
        let wakers = told.wakers.iter().map(|waker| &**waker);
        self.wakers.iter().chain(wakers).for_each(AtomicWaker::wake);
        told.fired.into_iter().flatten()
    }

    /// The parent drops this job's caller or lets it come to an end, so that others may go on with a shared execution,
    /// and a detached one without its caller.
    fn mark_cancelled_with_parent(&self, reason: &CancelReason) -> Option<Told> {
        if self.survives(reason) {
            return None;
        }
        self.mark_cancelled(reason, true)
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
        let children = self.children_within(halt);
        for child in children.iter().filter_map(Weak::upgrade) {
            if !child.has(ELSEWHERE) {
                child.cancel_as(CancelReason::TimedOut, true);
            }
        }
    }

    /// Whom to tell; `None` if it has fired before.
    fn mark_fired(&self, state: &State) -> Option<Vec<Weak<Self>>> {
        // They stay in the table: some go on, and an ended job may begin others.
        (!self.set(FIRED)).then(|| family::children_of(&state.children))
    }

    /// A Cancel layer has a call of this job in hand, until it [decides](Self::decide) or [lets it go](Self::let_call_go).
    pub(crate) fn take_call(&self) {
        self.update(|flags| (flags + CALL) & !DECIDED);
    }

    /// The call's result goes to the caller. If no other call is undecided, a cancellation is too late from here on.
    /// `false` if it was not.
    pub(crate) fn decide(&self) -> bool {
        let before = self.update(|flags| {
            let flags = flags - CALL;
            if flags < CALL { flags | DECIDED } else { flags }
        });
        before & CANCELLED == 0
    }

    /// The call is dropped without a result.
    pub(crate) fn let_call_go(&self) {
        self.update(|flags| flags - CALL);
    }

    /// Returns the flags as they were before.
    pub(super) fn update(&self, change: impl Fn(u64) -> u64) -> u64 {
        let mut change = |flags| Some(change(flags));
        let order = (Ordering::AcqRel, Ordering::Acquire);
        self.flags
            .fetch_update(order.0, order.1, &mut change)
            .unwrap_or_else(|flags| flags)
    }

    /// Another attempt follows.
    pub(crate) fn attempt_over(&self) {
        self.clear(DECIDED);
        self.set(RESTING);
        self.pause();
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
            let told = Told {
                fired: self.mark_fired(&state),
                wakers: Vec::new(),
            };
            (told, reason)
        };
        self.spread(fired.0, &fired.1);
        if self.is_over() {
            self.leave_family();
        }
    }

    /// The execution may outlive the caller, until as many say that [it is over](Self::shared_execution_over); `false` if
    /// the job's token has fired.
    pub(crate) fn share_execution(&self) -> bool {
        let mut state = self.state();
        if self.has(FIRED) {
            return false;
        }
        state.shares += 1;
        self.set(SHARED);
        true
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        let token = self.token.get_or_init(CancellationToken::new);
        // The flag is set under the lock, and whoever set it looks for the token after that: one of the two cancels it.
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
        self.is_in_hand() && !self.is_shared()
    }

    /// Whether a Cancel layer has a call of this job in hand, and takes its caller out when it is cancelled.
    fn is_in_hand(&self) -> bool {
        self.flags.load(Ordering::Acquire) >= CALL
    }

    /// Whether a layer that stops this job's call can let it clean up first: work runs, and the call alone has it in
    /// hand. One that waits (to start, for its next attempt, for another job's work) has begun nothing that it could
    /// end, and an execution that others may share goes on or is dropped, unless `shared` says that the call is a part
    /// of that.
    pub(crate) fn can_clean_up(&self, shared: bool) -> bool {
        let waits = self.is_held() || self.is_resting() || self.state().follows > 0;
        !waits && (shared || !self.is_shared() || self.has_fired())
    }

    /// Whether this job was cancelled and its execution, which no layer but one shares, was not told.
    pub(crate) fn is_alone_to_stop(&self) -> bool {
        let flags = self.flags.load(Ordering::Acquire);
        flags & (CANCELLED | SHARED | FIRED) == CANCELLED | SHARED && self.state().shares == 1
    }

    /// Tells the work of this cancelled job, which is found to be nobody else's.
    pub(crate) fn stop_own_work(&self) {
        let (told, reason) = {
            let state = self.state();
            let told = Told {
                fired: self.mark_fired(&state),
                wakers: Vec::new(),
            };
            (told, state.reason.clone())
        };
        if let Some(reason) = reason {
            self.spread(told, &reason);
        }
    }

    /// Claims a place for a waker.
    pub(crate) fn watch(&self) -> WakerPlace {
        if !self.set(WATCHED) {
            WakerPlace::First
        } else if !self.set(WATCHED_AGAIN) {
            WakerPlace::Second
        } else {
            let waker = Arc::new(AtomicWaker::new());
            self.state().wakers.push(Arc::clone(&waker));
            WakerPlace::Further(waker)
        }
    }

    /// Gives a place back.
    pub(crate) fn unwatch(&self, place: &WakerPlace) {
        // The waker first: the place is free only once it is empty.
        match place {
            WakerPlace::First => {
                drop(self.wakers[0].take());
                self.clear(WATCHED);
            }
            WakerPlace::Second => {
                drop(self.wakers[1].take());
                self.clear(WATCHED_AGAIN);
            }
            WakerPlace::Further(waker) => {
                self.state()
                    .wakers
                    .retain(|known| !Arc::ptr_eq(known, waker));
            }
        }
    }

    /// Wakes this waker when cancellation is asked for. Look at the flag again after the call.
    pub(crate) fn wake_on_cancel(&self, place: &WakerPlace, waker: &Waker) {
        match place {
            WakerPlace::First => self.wakers[0].register(waker),
            WakerPlace::Second => self.wakers[1].register(waker),
            WakerPlace::Further(place) => place.register(waker),
        }
    }

    /// The work was dropped before it came to an end of its own.
    pub(crate) fn set_dropped(&self) {
        self.state().dropped = true;
    }

    /// Cancels this job as its parent was.
    pub(super) fn cancel_with_parent(&self, reason: &CancelReason) {
        if let Some(told) = self.mark_cancelled_with_parent(reason) {
            self.spread(told, reason);
        }
    }
}
