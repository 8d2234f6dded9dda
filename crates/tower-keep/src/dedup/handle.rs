use std::{fmt, hash::Hash, sync::Arc};

use tokio::time::Instant;

use super::{kept::Hit, keys::Keys};
use crate::event::JobId;

/// Shows what a [`DedupLayer`](super::DedupLayer) and its clones do, and removes what they keep. Made by
/// [`DedupLayer::handle`](super::DedupLayer::handle).
pub struct DedupHandle<K> {
    keys: Arc<Keys<K>>,
}

impl<K> DedupHandle<K> {
    pub(super) fn new(keys: Arc<Keys<K>>) -> Self {
        keys.watch();
        Self { keys }
    }

    /// What became of the calls so far.
    #[must_use]
    pub fn counts(&self) -> DedupCounts {
        self.keys.counts()
    }

    /// How many results are kept. One that is too old counts until it is replaced or makes room for another.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.keys.kept()
    }
}

impl<K: Clone + Eq + Hash> DedupHandle<K> {
    /// Drops every kept result and forgets every execution that runs, in every mode.
    ///
    /// A call that begins after this neither gets nor waits for work that began before: it finds the key free. The
    /// older execution goes on for the callers that it has. No other call joins it, is rejected for it, waits for it or
    /// replaces it; its result is not kept, and [`in_flight`](Self::in_flight) does not show it. A key may have two
    /// executions at a time that way.
    ///
    /// A call that waits in [`debounce`](super::DedupLayer::debounce) has not begun its work. It keeps its place, and
    /// waits for quiet only.
    pub fn invalidate_all(&self) {
        self.keys.invalidate_all();
    }

    /// The keys in flight that were marked since the first handle was made, in no order. A key's `Clone` must not call
    /// this in turn.
    #[must_use]
    pub fn in_flight(&self) -> Vec<InFlight<K>> {
        self.keys.in_flight()
    }

    /// Drops the kept result of this key and forgets its execution, as [`invalidate_all`](Self::invalidate_all) does
    /// for all keys; `false` if no result was kept.
    pub fn invalidate(&self, key: &K) -> bool {
        self.keys.invalidate(key)
    }
}

/// A key in flight, as it was when it was asked for. Got from [`DedupHandle::in_flight`].
#[derive(Clone, Debug)]
pub struct InFlight<K> {
    key: K,
    job: Option<JobId>,
    followers: usize,
    since: Instant,
    waiting: bool,
}

impl<K> InFlight<K> {
    pub(super) fn new(
        key: K,
        job: Option<JobId>,
        followers: usize,
        since: Instant,
        waiting: bool,
    ) -> Self {
        Self {
            key,
            job,
            followers,
            since,
            waiting,
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The job that executes it; `None` if no layer of its stack tracks it.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        self.job
    }

    /// How many joined and wait for the result, not counting the one that was first.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.followers
    }

    /// Since when, on tokio's clock.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether it waits for quiet, or for the one that runs, as [`debounce`](super::DedupLayer::debounce) has it. Beside
    /// it there may be one with the same key that runs.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting
    }
}

/// How many calls with a key there were, by what became of them. Got from [`DedupHandle::counts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DedupCounts {
    /// Were begun, those that renew a kept result included.
    pub executions: u64,
    /// Joined an execution.
    pub joined: u64,
    /// Were executed no further, or not at all, as a newer call took their place.
    pub replaced: u64,
    /// Were rejected as duplicates.
    pub rejected: u64,
    /// Were answered from a kept result, fresh or stale.
    pub hits: u64,
    /// Those of the hits that were stale.
    pub stale_hits: u64,
    /// Executions that were to renew a kept result and came to none that may be kept: they failed, panicked or took too
    /// long.
    pub failed_renewals: u64,
}

impl DedupCounts {
    pub(super) fn answered(&mut self, hit: &Hit) {
        self.hits += 1;
        self.stale_hits += u64::from(hit.stale);
    }
}

impl<K> Clone for DedupHandle<K> {
    fn clone(&self) -> Self {
        Self {
            keys: Arc::clone(&self.keys),
        }
    }
}

impl<K> fmt::Debug for DedupHandle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupHandle")
            .field("keys", &self.keys)
            .finish()
    }
}
