//! Shares the outermost limit's timer with the nested limits that one task polls: inner limits
//! register here.

use std::{ptr, task::Waker};

use tokio::time::Instant;

use super::with;
use crate::job::limits::nearest;

/// A time limit that polls with this waker. The pointer is compared only while the waker exists.
#[derive(Clone, Copy)]
pub(crate) struct Timed {
    waker: *const Waker,
    /// The limit's timer fired, perhaps for an inner limit.
    pub(crate) fired: bool,
}

impl Timed {
    #[inline(always)]
    pub(crate) fn by(waker: &Waker, fired: bool) -> Self {
        Self { waker, fired }
    }

    /// Whether this waker came from that limit. Another waker of the same task may belong to an
    /// inner executor on the same thread, which polls no outer code while it waits.
    #[inline(always)]
    pub(crate) fn wakes(&self, waker: &Waker) -> bool {
        ptr::eq(self.waker, waker)
    }
}

/// A time limit polls, and its timer wakes inner limits while this exists.
pub(crate) struct Timing {
    around: Option<Timed>,
    asked_around: Option<Instant>,
}

impl Timing {
    #[inline(always)]
    pub(crate) fn new(timed: Timed) -> Self {
        let (around, asked_around) = with(|context| {
            (
                context.timed.replace(Some(timed)),
                context.wake_at.replace(None),
            )
        });
        Self {
            around,
            asked_around,
        }
    }

    /// The earliest time that inner limits asked for.
    #[inline(always)]
    pub(crate) fn asked(&self) -> Option<Instant> {
        with(|context| context.wake_at.get())
    }
}

impl Drop for Timing {
    #[inline(always)]
    fn drop(&mut self) {
        with(|context| {
            context.timed.set(self.around);
            context.wake_at.set(self.asked_around);
        });
    }
}

/// The outer limit, if its timer wakes inner limits.
#[inline(always)]
pub(crate) fn timed() -> Option<Timed> {
    with(|context| context.timed.get())
}

/// Asks the outer limit's timer to fire at this time, or earlier.
pub(crate) fn wake_at(at: Instant) {
    with(|context| {
        let asked = nearest(context.wake_at.get(), Some(at));
        context.wake_at.set(asked);
    });
}
