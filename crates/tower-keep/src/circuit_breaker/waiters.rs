//! Those who wait until the circuit lets them through, woken first come first served; another call in that moment may be
//! faster, so that nobody depends on another to go on.
//!
//! When a place becomes free, the first that was not woken yet is woken; if it leaves before it asks for the place, the next
//! is woken instead, as when the first leaves. Each has a timer for when a place is free at the latest: where the first is set
//! aside, nobody behind it waits for longer than that. So each is polled a few times for each cooldown and each probe that
//! hangs, and not at all while the circuit is held open by hand.

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
    /// Woken, and not back since. Apart, as all of a long queue are woken when the circuit closes, and each then looks for
    /// the next that sleeps.
    woken: BTreeSet<u64>,
}

/// A place in the queue.
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

    /// Takes a place, or keeps it with another waker. Ask the circuit again afterwards.
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

    /// Whether this is the first in the queue, whose turn it is.
    pub(super) fn is_first(&self, ticket: Ticket) -> bool {
        self.queue().is_first(ticket)
    }

    /// Gives the place up. The next one may be the first now, or go on in its stead.
    pub(super) fn leave(&self, ticket: Ticket) {
        let mut queue = self.queue();
        let was_first = queue.is_first(ticket);
        // What woke it since it last asked the circuit is for another.
        let was_woken = queue.woken.remove(&ticket.0);
        let left = queue.asleep.remove(&ticket.0);
        drop(queue);
        drop(left);
        if was_first || was_woken {
            self.wake_first();
        }
    }

    /// A place may have become free, or the time until then changed: wakes the first that was not woken yet.
    pub(super) fn wake_first(&self) {
        let first = self.queue().wake_first();
        if let Some(waker) = first {
            waker.wake();
        }
    }

    /// Everybody may go on.
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

    /// A circuit that closes wakes all of a long queue. They leave in a second rather than in minutes, as each finds at once
    /// that nobody sleeps.
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
