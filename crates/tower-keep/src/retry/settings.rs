//! `RetryLayer` settings that do not depend on the request and result types, and the jitter seeds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;

use super::{backoff::Backoff, budget::RetryBudget};
use crate::unshare::{Unshare, has_others};

/// The settings that do not depend on the request and result types.
#[derive(Clone, Debug)]
pub(crate) struct RetrySettings {
    pub(super) max_retries: u32,
    pub(super) backoff: Backoff,
    pub(super) max_total_time: Option<Duration>,
    pub(super) max_requested_delay: Duration,
    /// Shorten a longer requested delay, instead of giving up.
    pub(super) clamps_requested_delay: bool,
    /// Outer retries give up together with this retry.
    pub(super) stops_outer_retries: bool,
    pub(crate) budget: Option<RetryBudget>,
    /// `None`: the operating system seeds the jitter.
    pub(super) seeds: Option<Arc<Seeds>>,
}

impl RetrySettings {
    pub(super) const fn new(max_retries: u32, backoff: Backoff) -> Self {
        Self {
            max_retries,
            backoff,
            max_total_time: None,
            max_requested_delay: Duration::from_secs(60),
            clamps_requested_delay: false,
            stops_outer_retries: false,
            budget: None,
            seeds: None,
        }
    }

    /// The longest possible sum of all waits.
    pub(crate) fn total_delay(&self) -> Duration {
        self.backoff.total(self.max_retries)
    }

    /// The number of retries whose waits sum up to less than `limit`.
    #[cfg(feature = "pipeline")]
    pub(crate) fn fitting_retries(&self, limit: Duration) -> u32 {
        self.backoff.fitting(self.max_retries, limit)
    }

    /// The random generator for one call.
    pub(super) fn rng(&self) -> Rng {
        // Without a seed: forked from the generator of the thread, which the operating system
        // seeded.
        self.seeds
            .as_ref()
            .map_or_else(Rng::new, |seeds| seeds.next())
    }
}

impl Unshare for RetrySettings {
    /// Whether another owner uses the same seeds. A budget does not count: sharing it is its
    /// purpose.
    fn is_shared(&self) -> bool {
        self.seeds.as_ref().is_some_and(has_others)
    }

    /// Restarts the sequence of seeds.
    fn renew(&mut self) {
        if let Some(seeds) = &mut self.seeds {
            *seeds = Arc::new(Seeds::new(seeds.seed));
        }
    }
}

/// A sequence of random generators, one per call.
#[derive(Debug)]
pub(super) struct Seeds {
    seed: u64,
    calls: AtomicU64,
}

impl Seeds {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            calls: AtomicU64::new(0),
        }
    }

    fn next(&self) -> Rng {
        // The fraction of the golden ratio: it spreads the seeds of consecutive calls.
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        Rng::with_seed(self.seed.wrapping_add(call.wrapping_mul(STEP))).fork()
    }
}
