//! The slot of a key: the running call, the waiting call, and whether a call finished or was
//! replaced. No clock, no runtime.
//!
//! # Invariants
//!
//! 1. In a slot at most one call runs and at most one waits. The waiting call begins only once the
//!    running call has left.
//! 2. A [`SlotDecision`] is made once: either the call has a result, or another call has its slot. So a
//!    replaced call has no result to show, and a call with a result keeps it.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Whether a call got its result or was replaced, whichever came first.
#[derive(Debug)]
pub(crate) struct SlotDecision(AtomicU64);

const OPEN: u64 = 0;
const FINISHED: u64 = 1;
const REPLACED: u64 = 2;

impl SlotDecision {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(OPEN))
    }

    fn decide(&self, to: u64) -> bool {
        self.0
            .compare_exchange(OPEN, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The call has its result. Returns `false` if it was replaced before.
    pub(crate) fn finish(&self) -> bool {
        self.decide(FINISHED)
    }

    /// Another call has the slot. Returns `false` if this call had its result before.
    pub(crate) fn replace(&self) -> bool {
        self.decide(REPLACED)
    }

    pub(crate) fn is_replaced(&self) -> bool {
        self.0.load(Ordering::Acquire) == REPLACED
    }
}

/// The calls with one key. `C` is a call, `T` a point in time.
#[derive(Debug)]
pub(crate) struct Slot<C, T> {
    running: Option<Entry<C>>,
    waiting: Option<Waiting<C, T>>,
}

/// A call and its id, which no other call of this key has.
#[derive(Debug)]
struct Entry<C> {
    id: u64,
    call: C,
}

#[derive(Debug)]
struct Waiting<C, T> {
    entry: Entry<C>,
    /// When the first call of this burst came.
    since: T,
    /// It waits only for the running call.
    is_due: bool,
}

/// The result of queueing a call.
#[derive(Debug)]
pub(crate) struct Queued<C, T> {
    /// The call that waited until now.
    pub(crate) replaced: Option<C>,
    /// When the first call of this burst came, perhaps this call.
    pub(crate) since: T,
}

/// The result of a call's leaving.
#[derive(Debug)]
pub(crate) struct LeftSlot<C> {
    /// The call itself, if it was still there.
    pub(crate) gone: Option<C>,
    /// The call that can begin now.
    pub(crate) next: Option<C>,
}

impl<C, T> Default for Slot<C, T> {
    fn default() -> Self {
        Self {
            running: None,
            waiting: None,
        }
    }
}

impl<C, T> Slot<C, T> {
    /// No call runs or waits.
    pub(crate) fn is_free(&self) -> bool {
        self.running.is_none() && self.waiting.is_none()
    }

    /// The calls, the running one first, and whether each waits.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (&C, bool)> {
        let running = self.running.iter().map(|entry| (&entry.call, false));
        let waiting = self.waiting.iter();
        running.chain(waiting.map(|waiting| (&waiting.entry.call, true)))
    }

    /// Runs a call at once, and returns the call that it replaced.
    #[must_use]
    pub(crate) fn take(&mut self, id: u64, call: C) -> Option<C> {
        let before = self.running.replace(Entry { id, call });
        before.map(|entry| entry.call)
    }

    /// Lets a call wait, in place of the call that waited until now.
    #[must_use]
    pub(crate) fn queue(&mut self, id: u64, call: C, now: T) -> Queued<C, T>
    where
        T: Copy,
    {
        let before = self.waiting.take();
        let since = before.as_ref().map_or(now, |before| before.since);
        self.waiting = Some(Waiting {
            entry: Entry { id, call },
            since,
            is_due: false,
        });
        Queued {
            replaced: before.map(|before| before.entry.call),
            since,
        }
    }

    /// The waiting call is due: it runs, unless another call still runs. Then it is the next one.
    #[must_use]
    pub(crate) fn start(&mut self, id: u64) -> bool {
        match self.waiting.take() {
            Some(mut waiting) if waiting.entry.id == id => {
                if self.running.is_none() {
                    self.running = Some(waiting.entry);
                    return true;
                }
                waiting.is_due = true;
                self.waiting = Some(waiting);
            }
            other => self.waiting = other,
        }
        false
    }

    /// The call is over, or its caller left. Nothing changes if another call has its slot.
    #[must_use]
    pub(crate) fn leave(&mut self, id: u64) -> LeftSlot<C>
    where
        C: Clone,
    {
        if self.running.as_ref().is_some_and(|entry| entry.id == id) {
            return self.forget();
        }
        let waiting = self.waiting.take_if(|waiting| waiting.entry.id == id);
        LeftSlot {
            gone: waiting.map(|waiting| waiting.entry.call),
            next: None,
        }
    }

    /// Takes the slot from the running call, so that no other call replaces it or waits for it.
    #[must_use]
    pub(crate) fn forget(&mut self) -> LeftSlot<C>
    where
        C: Clone,
    {
        let gone = self.running.take().map(|entry| entry.call);
        let next = self.waiting.as_ref();
        let next = next.filter(|waiting| waiting.is_due && gone.is_some());
        LeftSlot {
            next: next.map(|waiting| waiting.entry.call.clone()),
            gone,
        }
    }
}

#[cfg(test)]
mod tests;
