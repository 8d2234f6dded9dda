//! The queue of callers that wait for a slot of the circuit, woken first come, first served.
//!
//! - A new call may overtake the waiter being woken, so no caller depends on another caller's
//!   polls.
//! - When a slot becomes free, the first sleeping waiter is woken. If it leaves the queue before it
//!   takes the slot, the next is woken.
//! - Each waiter has a timer for the time when a slot must be free. A first waiter that is no
//!   longer polled delays the others at most until then.
//! - A waiter is polled a few times per cooldown and per hanging probe. It is not polled while the
//!   circuit is forced open.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::PoisonError,
    task::Waker,
};

use crate::sync::{Mutex, MutexGuard};

#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// A leaf lock; no waker is woken, cloned or dropped while it is held.
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    asleep: BTreeMap<u64, Waker>,
    /// Waiters that were woken and have not returned. A separate set keeps the search for the next
    /// sleeping waiter fast, when a closing circuit wakes a long queue.
    woken: BTreeSet<u64>,
}

/// A waiter's number in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Queue {
    fn is_first(&self, ticket: Ticket) -> bool {
        let asleep = self.asleep.first_key_value().map(|(first, _)| *first);
        let first = asleep.into_iter().chain(self.woken.first().copied()).min();
        first == Some(ticket.0)
    }

    fn wake_first(&mut self) -> Option<Waker> {
        let (first, waker) = self.asleep.pop_first()?;
        self.woken.insert(first);
        Some(waker)
    }
}

impl Waiters {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the queue, or stays in it with a new waker. Check the circuit again afterwards.
    pub(super) fn wait(&self, ticket: Option<Ticket>, waker: &Waker) -> Ticket {
        let waker = waker.clone();
        let mut queue = self.queue();
        let ticket = ticket.unwrap_or_else(|| {
            queue.next += 1;
            Ticket(queue.next)
        });
        queue.woken.remove(&ticket.0);
        let replaced = queue.asleep.insert(ticket.0, waker);
        drop(queue);
        drop(replaced);
        ticket
    }

    /// Whether this is the first waiter.
    pub(super) fn is_first(&self, ticket: Ticket) -> bool {
        self.queue().is_first(ticket)
    }

    /// Leaves the queue, and wakes the next waiter if it takes over.
    pub(super) fn leave(&self, ticket: Ticket) {
        let mut queue = self.queue();
        let was_first = queue.is_first(ticket);
        // Its unused wake-up goes to another waiter.
        let was_woken = queue.woken.remove(&ticket.0);
        let left = queue.asleep.remove(&ticket.0);
        drop(queue);
        drop(left);
        if was_first || was_woken {
            self.wake_first();
        }
    }

    /// Wakes the first sleeping waiter: a slot may be free, or the time until then has changed.
    pub(super) fn wake_first(&self) {
        let first = self.queue().wake_first();
        if let Some(waker) = first {
            waker.wake();
        }
    }

    /// Wakes all waiters.
    pub(super) fn wake_all(&self) {
        let asleep = {
            let mut queue = self.queue();
            let asleep = mem::take(&mut queue.asleep);
            queue.woken.extend(asleep.keys());
            asleep
        };
        asleep.into_values().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A closing circuit wakes all waiters of a long queue. They leave in a second rather than in
    /// minutes, as each finds at once that no waiter sleeps.
    #[test]
    fn a_long_queue_leaves_at_once() {
        let waiters = Waiters::default();
        let wait = |ticket| waiters.wait(ticket, Waker::noop());
        let tickets: Vec<_> = (0..200_000).map(|_| wait(None)).collect();
        assert!(waiters.is_first(tickets[0]));
        waiters.wake_all();
        assert!(waiters.is_first(tickets[0]));
        wait(Some(tickets[1]));
        for pair in tickets.windows(2) {
            waiters.leave(pair[0]);
            assert!(waiters.is_first(pair[1]));
        }
        assert_eq!(waiters.queue().woken.len(), 1);
        assert!(waiters.queue().asleep.is_empty());
    }
}
