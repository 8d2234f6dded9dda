//! The ledger of a retry budget: counts first attempts and retries. No clock: callers say what time it is, as a duration
//! since the budget was made.
//!
//! The window is cut into buckets, and what counts are the current one and those before it that make up the window.
//! They lie in a ring that is never swept: each bucket knows of which cut of time it is, so that after an idle hour
//! there is no more to do than after a busy second.
//!
//! # Invariants
//!
//! 1. A bucket of first attempts is one word, its cut and its count, and changes by compare-and-swap only. So counting
//!    a call takes no lock, and no count is ever put down to another cut. There is a ring of buckets for each shard, so
//!    that threads do not count in the same cache line; only their sum means anything.
//! 2. Retries are withdrawn and counted under the lock. There the time never goes back: who comes with an older one,
//!    or with the clock of another core, is taken to come now. So no two withdrawals can both take the last retry.
//! 3. Whenever one is withdrawn, the retries in the window, this one included, are at most
//!    `max(floor, ratio * first attempts in the window)`.

use std::{array, sync::PoisonError, time::Duration};

use crate::{
    ratio::Ratio,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

/// How many a window is cut into.
const BUCKETS: u64 = 10;

/// The low bits of a bucket's word are its count, which stops at the most they hold; the others are the number of the
/// ring's round that its cut belongs to.
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const ROUND: u64 = u64::MAX >> COUNT_BITS;

/// The first attempts and the retries of a window, and how many retries it grants.
#[derive(Debug)]
pub(super) struct Ledger {
    ratio: Ratio,
    floor: u64,
    /// How long one cut of time is, in nanoseconds.
    cut: u64,
    firsts: Box<[Firsts]>,
    retries: Mutex<Retries>,
}

/// The first attempts that the calls of one shard count, in a cache line of their own.
#[derive(Debug)]
#[repr(align(128))]
struct Firsts([AtomicU64; BUCKETS as usize]);

#[derive(Debug, Default)]
struct Retries {
    /// The cut of the latest withdrawal.
    latest: u64,
    /// Of which cut, and how many.
    buckets: [(u64, u64); BUCKETS as usize],
}

/// How many retries a [`RetryBudget`](super::RetryBudget) granted and has left, from
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

    /// How many calls were made within the window, by all the layers that share the budget.
    #[must_use]
    pub fn first_attempts(&self) -> u64 {
        self.first_attempts
    }

    /// How many retries were granted within the window.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries
    }

    /// How many more would be granted now.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.available
    }
}

impl Ledger {
    /// The shortest window. The ring goes round once in it, and half of the rounds that a bucket can tell apart take
    /// 174 years.
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

    /// Counts a first attempt. Calls that name the same shard meet in one cache line.
    #[inline]
    pub(super) fn deposit(&self, now: Duration, shard: usize) {
        let cut = self.cut_at(now);
        let bucket = &self.firsts[shard % self.firsts.len()].0[index(cut)];
        let mut word = bucket.load(Ordering::Relaxed);
        loop {
            let next = match round(cut).wrapping_sub(word >> COUNT_BITS) & ROUND {
                0 if word & COUNT == COUNT => return,
                0 => word + 1,
                // The bucket has gone on to a later cut: this call was held up for a whole window.
                late if late > ROUND / 2 => return,
                _ => (round(cut) << COUNT_BITS) | 1,
            };
            match bucket.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => word = found,
            }
        }
    }

    /// Takes one retry out; `false` if there is none.
    pub(super) fn withdraw(&self, now: Duration) -> bool {
        let mut retries = self.retries();
        let cut = retries.come(self.cut_at(now));
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

    // No user code runs under this lock, so a poisoned one holds sound books.
    fn retries(&self) -> MutexGuard<'_, Retries> {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Retries {
    fn come(&mut self, cut: u64) -> u64 {
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
