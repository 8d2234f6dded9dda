//! Nested limits that one task polls share the timer of the outermost. Here the limits inside ask for it.

use std::{ptr, task::Waker};

use tokio::time::Instant;

use super::with;
use crate::job::limits::nearest;

/// A time limit that polls with this waker. That is compared only while it is there.
#[derive(Clone, Copy)]
pub(crate) struct Timed {
    waker: *const Waker,
    /// The limit's timer went off, perhaps for a limit inside.
    pub(crate) fired: bool,
}

impl Timed {
    #[inline(always)]
    pub(crate) fn by(waker: &Waker, fired: bool) -> Self {
        Self { waker, fired }
    }

    /// Whether this waker was handed down from there. A waker that merely wakes the same may be that of an executor inside,
    /// on the same thread: it polls nothing around while it waits.
    #[inline(always)]
    pub(crate) fn wakes(&self, waker: &Waker) -> bool {
        ptr::eq(self.waker, waker)
    }
}

/// A time limit polls, and its timer wakes for the limits inside as long as this lives.
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

    /// What the limits inside asked for.
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

/// The limit around, if its timer wakes for the limits inside.
#[inline(always)]
pub(crate) fn timed() -> Option<Timed> {
    with(|context| context.timed.get())
}

/// Asks the timer of the limit around to go off then, or earlier.
pub(crate) fn wake_at(at: Instant) {
    with(|context| {
        let asked = nearest(context.wake_at.get(), Some(at));
        context.wake_at.set(asked);
    });
}
