//! The counts of a layer. Pure.

use super::cache::Hit;

/// How many calls with a key there were, by what became of them. Got from [`DedupHandle::counts`](super::DedupHandle::counts).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DedupCounts {
    /// Executions that began, revalidations of cached results included.
    pub executions: u64,
    /// Joined an execution.
    pub joined: u64,
    /// Were executed no further, or not at all, as a newer call took their place.
    pub replaced: u64,
    /// Were rejected as duplicates.
    pub rejected: u64,
    /// Were answered from the cache, fresh or stale.
    pub hits: u64,
    /// Those of the hits that were stale.
    pub stale_hits: u64,
    /// Revalidations of a cached result that brought none to cache: they failed, panicked or took too long.
    pub failed_revalidations: u64,
}

impl DedupCounts {
    pub(super) fn answered(&mut self, hit: &Hit) {
        self.hits += 1;
        self.stale_hits += u64::from(hit.stale);
    }
}
