//! Wakes the layers that wait for a job's cancellation.

use std::{sync::Arc, task::Waker};

use super::{Core, Flag, Flags};
use crate::sync::AtomicWaker;

/// A call in a Cancel layer, and its waker slot for the job's cancellation. Dropping this frees the
/// slot.
pub(crate) struct CancelWaker {
    job: Arc<Core>,
    /// `None` for the job's own slot: one call and one Cancel layer need no more.
    pub(crate) further: Option<Arc<AtomicWaker>>,
    own: Own,
    call: Call,
}

/// The content of the job's own slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Empty,
    Waker,
    /// The slot was returned.
    Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Part of a shared execution.
    Shared,
    /// Has no result yet.
    InHand,
    Decided,
}

impl CancelWaker {
    pub(crate) fn of_shared(job: Arc<Core>) -> Self {
        let before = job.flags.set(Flag::Watched);
        Self::new(job, before, Call::Shared)
    }

    /// Also counts the call as in hand, in the same atomic step.
    #[inline]
    pub(crate) fn of_call(job: Arc<Core>) -> Self {
        let before = job.flags.take_call(true);
        Self::new(job, before, Call::InHand)
    }

    #[inline]
    fn new(job: Arc<Core>, before: Flags, call: Call) -> Self {
        let further = match before.has(Flag::Watched) {
            false => None,
            true => Some(Self::further(&job)),
        };
        Self {
            job,
            further,
            own: Own::Empty,
            call,
        }
    }

    #[cold]
    fn further(job: &Core) -> Arc<AtomicWaker> {
        let waker = Arc::new(AtomicWaker::new());
        job.lock().rare().wakers.push(Arc::clone(&waker));
        waker
    }

    pub(crate) fn job(&self) -> &Arc<Core> {
        &self.job
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.call == Call::Shared
    }

    /// The call goes on elsewhere. What is left has no call and no slot.
    #[cfg(all(feature = "http", feature = "cancel"))]
    pub(crate) fn hand_over(&mut self) -> Self {
        let left = Self {
            job: Arc::clone(&self.job),
            further: None,
            own: Own::Left,
            call: Call::Decided,
        };
        std::mem::replace(self, left)
    }

    /// Wakes this waker on cancellation. Check the job's state again after the call.
    pub(crate) fn register(&mut self, waker: &Waker) {
        match &self.further {
            Some(slot) => slot.register(waker),
            None => {
                self.own = Own::Waker;
                self.job.waker.register(waker);
            }
        }
    }

    /// Decides the call: its result goes to the caller, unless the job was cancelled (`false`).
    /// `None` if the call is not in hand.
    #[inline(always)]
    pub(crate) fn decide(&mut self) -> Option<bool> {
        if self.call != Call::InHand {
            return None;
        }
        self.call = Call::Decided;
        Some(match (&self.further, self.own) {
            // The slot has no waker, and is freed in the same atomic step.
            (None, Own::Empty) => {
                self.own = Own::Left;
                self.job.flags.decide_and_leave()
            }
            _ => self.job.flags.decide(),
        })
    }
}

impl Drop for CancelWaker {
    #[inline]
    fn drop(&mut self) {
        // A retry around the layer makes many calls of one job.
        if self.call == Call::InHand {
            self.job.flags.let_call_go();
        }
        match (&self.further, self.own) {
            (None, Own::Left) => {}
            (None, own) => {
                if own == Own::Waker {
                    // The waker first: the slot is free only once it is empty.
                    drop(self.job.waker.take());
                }
                self.job.flags.clear(Flag::Watched);
            }
            (Some(waker), _) => {
                let mut job = self.job.lock();
                let wakers = &mut job.rare().wakers;
                wakers.retain(|known| !Arc::ptr_eq(known, waker));
            }
        }
    }
}
