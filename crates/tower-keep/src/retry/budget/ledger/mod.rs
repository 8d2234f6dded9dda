//! The sliding-window counter of a retry budget: counts first attempts and retries.
//!
//! It has no clock: callers pass the time since the budget was made.
//!
//! Time is divided into cuts. The window is the current cut and the nine before it. A ring holds
//! one bucket for each cut of the window. Each bucket stores its cut, so the ring needs no sweep:
//! an idle hour costs no more than a busy second.
//!
//! # Invariants
//! 1. A bucket of first attempts is one word, with its cut and its count. It changes by
//!    compare-and-swap only. Counting a call thus takes no lock, and no count goes to a wrong cut.
//!    Each shard has its own ring, so that threads do not share a cache line. Only the sum over the
//!    shards is meaningful.
//! 2. Retries are withdrawn and counted under the lock. There, time never goes back: an older time
//!    of a caller is replaced by the latest. Two withdrawals can thus not take the same last retry.
//! 3. After each withdrawal, the retries in the window are at most `max(floor, ratio * first
//!    attempts in the window)`.

use std::{array, sync::PoisonError, time::Duration};

use crate::{
    ratio::Ratio,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

/// The number of cuts in a window.
const BUCKETS: u64 = 10;

/// The low bits of a bucket's word are its count, which saturates. The high bits are the round of
/// the ring that its cut belongs to.
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const ROUND: u64 = u64::MAX >> COUNT_BITS;

/// Counts the first attempts and retries of a window, and grants retries.
#[derive(Debug)]
pub(super) struct Ledger {
    ratio: Ratio,
    floor: u64,
    /// The length of a cut, in nanoseconds.
    cut: u64,
    firsts: Box<[Firsts]>,
    retries: Mutex<Retries>,
}

/// The first attempts of one shard, in its own cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Firsts([AtomicU64; BUCKETS as usize]);

#[derive(Debug, Default)]
struct Retries {
    /// The cut of the latest withdrawal.
    latest: u64,
    /// The cut and its count.
    buckets: [(u64, u64); BUCKETS as usize],
}

/// The counts of a [`RetryBudget`](super::RetryBudget) in the current window, from
/// [`balance`](super::RetryBudget::balance).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    first_attempts: u64,
    retries: u64,
    available: u64,
}

impl Balance {
    pub(crate) fn of(first_attempts: u64, retries: u64, available: u64) -> Self {
        Self {
            first_attempts,
            retries,
            available,
        }
    }

    /// The number of first attempts in the window, by all layers that share the budget.
    #[must_use]
    pub fn first_attempts(&self) -> u64 {
        self.first_attempts
    }

    /// The number of retries granted in the window.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries
    }

    /// The number of retries that the budget would grant now.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.available
    }
}

impl Ledger {
    /// The shortest window. One round of the ring takes one window. Even with this window, a bucket
    /// tells rounds apart for 174 years.
    pub(super) const SHORTEST: Duration = Duration::from_millis(10);

    pub(super) fn new(ratio: Ratio, floor: u64, window: Duration, shards: usize) -> Self {
        let cut = window.max(Self::SHORTEST) / BUCKETS as u32;
        let firsts = |_| Firsts(array::from_fn(|_| AtomicU64::new(0)));
        Self {
            ratio,
            floor,
            cut: u64::try_from(cut.as_nanos()).unwrap_or(u64::MAX),
            firsts: (0..shards.max(1)).map(firsts).collect(),
            retries: Mutex::new(Retries::default()),
        }
    }

    /// Counts a first attempt. Calls with the same shard share a cache line.
    #[inline]
    pub(super) fn deposit(&self, now: Duration, shard: usize) {
        let cut = self.cut_at(now);
        let bucket = &self.firsts[shard % self.firsts.len()].0[index(cut)];
        let mut word = bucket.load(Ordering::Relaxed);
        loop {
            let next = match round(cut).wrapping_sub(word >> COUNT_BITS) & ROUND {
                0 if word & COUNT == COUNT => return,
                0 => word + 1,
                // The bucket belongs to a later cut: this call was delayed by a whole window.
                late if late > ROUND / 2 => return,
                _ => (round(cut) << COUNT_BITS) | 1,
            };
            match bucket.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => word = found,
            }
        }
    }

    /// Withdraws one retry; `false` if none is left.
    pub(super) fn withdraw(&self, now: Duration) -> bool {
        let mut retries = self.retries();
        let cut = retries.advance_to(self.cut_at(now));
        if self.balance(&retries, cut).available == 0 {
            return false;
        }
        let bucket = &mut retries.buckets[index(cut)];
        if bucket.0 != cut {
            *bucket = (cut, 0);
        }
        bucket.1 += 1;
        true
    }

    pub(super) fn balance_at(&self, now: Duration) -> Balance {
        let retries = self.retries();
        let cut = self.cut_at(now).max(retries.latest);
        self.balance(&retries, cut)
    }

    fn balance(&self, retries: &Retries, cut: u64) -> Balance {
        let window = cut.saturating_sub(BUCKETS - 1)..=cut;
        let counted = |cut| {
            let words =
                (self.firsts.iter()).map(|firsts| firsts.0[index(cut)].load(Ordering::Relaxed));
            words
                .filter(|word| word >> COUNT_BITS == round(cut))
                .map(|word| word & COUNT)
                .sum::<u64>()
        };
        let first_attempts = window.clone().map(counted).sum();
        let retries = retries
            .buckets
            .iter()
            .filter(|(cut, _)| window.contains(cut))
            .map(|(_, count)| count)
            .sum();
        let allowed = self.ratio.of(first_attempts).max(self.floor);
        Balance::of(first_attempts, retries, allowed.saturating_sub(retries))
    }

    fn cut_at(&self, now: Duration) -> u64 {
        match u64::try_from(now.as_nanos()) {
            Ok(nanos) => nanos / self.cut,
            Err(_) => u64::try_from(now.as_nanos() / u128::from(self.cut)).unwrap_or(u64::MAX),
        }
    }

    // No user code runs under this lock, so a poisoned lock still holds consistent counts.
    fn retries(&self) -> MutexGuard<'_, Retries> {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Retries {
    fn advance_to(&mut self, cut: u64) -> u64 {
        self.latest = self.latest.max(cut);
        self.latest
    }
}

fn index(cut: u64) -> usize {
    (cut % BUCKETS) as usize
}

fn round(cut: u64) -> u64 {
    (cut / BUCKETS) & ROUND
}

#[cfg(test)]
mod tests;
