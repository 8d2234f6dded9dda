//! `DedupCounts`: executions, joined, replaced and rejected calls, and cache hits. Pure.

use super::cache::Hit;

/// Counts of a layer's calls with a key, by their outcome.
///
/// Returned by [`DedupHandle::counts`](super::DedupHandle::counts).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DedupCounts {
    /// Executions that began, including revalidations of cached results.
    pub executions: u64,
    /// Calls that joined an execution.
    pub joined: u64,
    /// Calls that a newer call replaced, before or during their execution.
    pub replaced: u64,
    /// Calls rejected as duplicates.
    pub rejected: u64,
    /// Calls answered from the cache, fresh or stale.
    pub hits: u64,
    /// The stale part of `hits`.
    pub stale_hits: u64,
    /// Revalidations that cached no result: they failed, panicked or took too long.
    pub failed_revalidations: u64,
}

impl DedupCounts {
    pub(super) fn count_hit(&mut self, hit: &Hit) {
        self.hits += 1;
        self.stale_hits += u64::from(hit.stale);
    }
}
