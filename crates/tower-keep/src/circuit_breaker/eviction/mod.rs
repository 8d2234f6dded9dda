//! Eviction of circuits by key. A new key checks a bounded number of circuits.
//!
//! # How
//! Each circuit is in one of three queues: closed, open (including half-open), and forced. A
//! transition or a manual change adds the circuit's number to a list of changes. The next new key
//! moves those circuits into their queues, so that each change costs once. The end of a forced time
//! is not in the list. So each new key also checks the first forced circuit, and moves it to its
//! queue or to the end.
//!
//! A call only stores the time in its circuit, relaxed, so that calls with known keys share a read
//! lock. The queues hold the circuits in the order of their arrival. If the circuit at the front
//! was used since its arrival, it gets a *second chance*: it moves to the end. The first circuit
//! that was not used is evicted. After eight second chances, the least recently used of the eight
//! is evicted.

use std::{sync::Arc, time::Duration};

use hashlink::LinkedHashMap;

use super::{
    packed_state::State, shared_circuit::CircuitRef, slow_in_flight::nanos,
    table_entry::ChangedCircuits,
};

/// The number of second chances per eviction.
const CHANCES: usize = 8;

/// The number of circuits per queue that a new key checks for idleness.
const IDLE_CHECKS: usize = 4;

/// The references of the table: one in its index, one in a queue.
const HELD_BY_TABLE: usize = 2;

/// A circuit in its queue.
pub(super) struct Member<K> {
    pub(super) key: Arc<K>,
    pub(super) shared: CircuitRef,
    /// The last use that the queue has seen.
    seen: u64,
}

impl<K> Member<K> {
    fn is_used_since(&self) -> bool {
        self.shared.last_used() > self.seen
    }

    fn queue(&self) -> usize {
        let shared = &self.shared;
        if shared.circuit.is_forced(shared.now()) {
            FORCED
        } else if shared.circuit.state() == State::Closed {
            CLOSED
        } else {
            OPEN
        }
    }

    /// Whether the circuit is unused for this long, not held, not forced, and would reject no call.
    pub(super) fn is_idle(&self, idle: Duration, now: u64) -> bool {
        let shared = &self.shared;
        now.saturating_sub(shared.last_used()) >= nanos(idle)
            && Arc::strong_count(shared) <= HELD_BY_TABLE
            && !shared.circuit.must_be_kept(shared.now())
            && !shared.circuit.is_forced(shared.now())
    }
}

const CLOSED: usize = 0;
const OPEN: usize = 1;
const FORCED: usize = 2;

/// The circuits of a table, by number, in the order of eviction.
pub(super) struct Queues<K> {
    queues: [LinkedHashMap<u64, Member<K>>; 3],
    changes: Arc<ChangedCircuits>,
    /// The number of circuits that were checked.
    #[cfg(test)]
    checks: usize,
}

impl<K> Queues<K> {
    pub(super) fn new() -> Self {
        Self {
            queues: [(); 3].map(|()| LinkedHashMap::new()),
            changes: Arc::default(),
            #[cfg(test)]
            checks: 0,
        }
    }

    pub(super) fn changes(&self) -> Arc<ChangedCircuits> {
        Arc::clone(&self.changes)
    }

    fn count_check(&mut self) {
        #[cfg(test)]
        {
            self.checks += 1;
        }
    }

    /// Adds a new circuit, used now.
    pub(super) fn insert(&mut self, number: u64, key: Arc<K>, shared: CircuitRef, now: u64) {
        let member = Member {
            key,
            shared,
            seen: now,
        };
        self.queues[CLOSED].insert(number, member);
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Member<K>> {
        self.queues
            .iter_mut()
            .find_map(|queue| queue.remove(&number))
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member<K>> {
        self.queues.iter().flat_map(LinkedHashMap::values)
    }

    /// The numbers of all idle circuits.
    pub(super) fn all_idle(&self, idle: Duration, now: u64) -> Vec<u64> {
        self.queues
            .iter()
            .flatten()
            .filter(|(_, member)| member.is_idle(idle, now))
            .map(|(number, _)| *number)
            .collect()
    }

    /// Removes some idle circuits, and further circuits until there is room for a new circuit.
    pub(super) fn make_room(&mut self, max: usize, idle: Duration, now: u64) -> Vec<Member<K>> {
        self.move_changed();
        self.check_forced();
        let mut removed = Vec::new();
        for queue in [CLOSED, OPEN] {
            self.remove_idle(queue, idle, now, &mut removed);
        }
        while self.queues[CLOSED].len() + self.queues[OPEN].len() >= max {
            let closed = self.victim(CLOSED);
            // A circuit of the open queue may have closed since.
            let victim = closed
                .or_else(|| self.victim(OPEN))
                .or_else(|| self.victim(CLOSED));
            match victim {
                Some(victim) => removed.push(victim),
                None => break,
            }
        }
        removed
    }

    fn move_changed(&mut self) {
        for number in self.changes.take() {
            self.count_check();
            if let Some(member) = self.remove(number) {
                if let Some(table_entry) = &member.shared.table_entry {
                    // Before the check of the state, so that later changes are noted.
                    table_entry.forget();
                }
                self.queues[member.queue()].insert(number, member);
            }
        }
    }

    fn check_forced(&mut self) {
        if let Some((number, member)) = self.queues[FORCED].pop_front() {
            self.count_check();
            self.queues[member.queue()].insert(number, member);
        }
    }

    fn remove_idle(
        &mut self,
        queue: usize,
        idle: Duration,
        now: u64,
        removed: &mut Vec<Member<K>>,
    ) {
        for _ in 0..IDLE_CHECKS {
            let Some((_, first)) = self.queues[queue].front() else {
                return;
            };
            if now.saturating_sub(first.seen) < nanos(idle) {
                // All circuits behind it are younger.
                return;
            }
            let is_idle = first.is_idle(idle, now);
            self.count_check();
            match self.queues[queue].pop_front() {
                Some((_, member)) if is_idle => removed.push(member),
                Some((number, member)) => self.pass_over(queue, number, member),
                None => return,
            }
        }
    }

    /// Gives a circuit a second chance: moves it to the end of its queue.
    fn pass_over(&mut self, queue: usize, number: u64, mut member: Member<K>) {
        member.seen = member.shared.last_used();
        self.queues[queue].insert(number, member);
    }

    /// Removes the next circuit to evict from this queue.
    fn victim(&mut self, queue: usize) -> Option<Member<K>> {
        let mut oldest: Option<(u64, u64)> = None;
        let mut chances = CHANCES;
        while chances > 0 {
            let Some((number, member)) = self.queues[queue].pop_front() else {
                break;
            };
            self.count_check();
            let belongs = member.queue();
            if belongs != queue {
                // It changed just now and has not been moved yet.
                self.queues[belongs].insert(number, member);
            } else if member.is_used_since() {
                chances -= 1;
                let used = member.shared.last_used();
                if oldest.is_none_or(|(_, least)| used < least) {
                    oldest = Some((number, used));
                }
                self.pass_over(queue, number, member);
            } else {
                return Some(member);
            }
        }
        oldest.and_then(|(number, _)| self.queues[queue].remove(&number))
    }
}

#[cfg(test)]
mod tests;
