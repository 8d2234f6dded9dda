//! Those who wait until the circuit lets them through, woken first come first served; another call in that moment may be
//! faster, so that nobody depends on another to go on.
//!
//! When a place becomes free, the first that was not woken yet is woken; if it leaves before it asks for the place, the next
//! is woken instead, as when the first leaves. Each has a timer for when a place is free at the latest: where the first is set
//! aside, nobody behind it waits for longer than that.
//! So each is polled a few times for each cooldown and each probe that hangs, and not at all while the circuit is held open
//! by hand.

use std::{collections::BTreeMap, sync::PoisonError, task::Waker};

use crate::sync::{Mutex, MutexGuard};

#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// A leaf lock; no waker is woken, cloned or dropped while it is held.
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    /// `None` once it was woken.
    waiting: BTreeMap<u64, Option<Waker>>,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Queue {
    fn is_first(&self, ticket: Ticket) -> bool {
        self.waiting
            .first_key_value()
            .is_some_and(|(first, _)| *first == ticket.0)
    }
}

impl Waiters {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, or keeps it with another waker. Ask the circuit again afterwards.
    pub(super) fn wait(&self, ticket: Option<Ticket>, waker: &Waker) -> Ticket {
        let waker = waker.clone();
        let mut queue = self.queue();
        let ticket = ticket.unwrap_or_else(|| {
            queue.next += 1;
            Ticket(queue.next)
        });
        let replaced = queue.waiting.insert(ticket.0, Some(waker));
        drop(queue);
        drop(replaced);
        ticket
    }

    /// Whether this is the first in the queue, whose turn it is.
    pub(super) fn is_first(&self, ticket: Ticket) -> bool {
        self.queue().is_first(ticket)
    }

    /// Gives the place up. The next one may be the first now, or go on in its stead.
    pub(super) fn leave(&self, ticket: Ticket) {
        let mut queue = self.queue();
        let was_first = queue.is_first(ticket);
        let left = queue.waiting.remove(&ticket.0);
        drop(queue);
        // What woke it since it last asked the circuit is for another.
        let was_woken = matches!(left, Some(None));
        drop(left);
        if was_first || was_woken {
            self.wake_first();
        }
    }

    /// A place may have become free, or the time until then changed: wakes the first that was not woken yet.
    pub(super) fn wake_first(&self) {
        let first = (self.queue().waiting.values_mut()).find_map(Option::take);
        if let Some(waker) = first {
            waker.wake();
        }
    }

    /// Everybody may go on.
    pub(super) fn wake_all(&self) {
        let waiting: Vec<Waker> = (self.queue().waiting.values_mut())
            .filter_map(Option::take)
            .collect();
        waiting.into_iter().for_each(Waker::wake);
    }
}
