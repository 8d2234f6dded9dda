//! What the handle sees of the keys, and does to what they cache.

use std::{hash::Hash, mem, sync::Arc};

use super::{counts::DedupCounts, in_flight::InFlight, keys::Keys};
use crate::sync::atomic::Ordering;

impl<K> Keys<K> {
    pub(super) fn kept(&self) -> usize {
        self.marked().cache.len()
    }

    /// From here on each execution is noted with its key and its beginning.
    pub(super) fn watch(&self) {
        self.watched.store(true, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> DedupCounts {
        let mut counts = {
            let marked = self.marked();
            DedupCounts {
                executions: marked.executions,
                ..marked.counts
            }
        };
        counts.joined = self.joined.load(Ordering::Relaxed);
        self.places.count(&mut counts);
        counts
    }

    /// The executions that began while there was a handle.
    pub(super) fn in_flight(&self) -> Vec<InFlight<K>>
    where
        K: Clone,
    {
        let noted: Vec<_> = {
            let marked = self.marked();
            let marks = marked.table.iter();
            marks
                .filter_map(|mark| {
                    let shown = Arc::clone(mark.shown.as_ref()?);
                    Some((shown, mark.job, mark.flight.clone()))
                })
                .collect()
        };
        let mut in_flight = self.places.in_flight();
        in_flight.extend(noted.into_iter().map(|(shown, job, flight)| {
            let followers = flight.map_or(0, |flight| flight.followers());
            shown.in_flight(job, followers, false)
        }));
        in_flight
    }
}

impl<K: Clone + Eq + Hash> Keys<K> {
    /// Drops all cached results, and the marks and places of all that runs: the executions go on for the callers that
    /// they have, and later calls do not find them.
    pub(super) fn invalidate_all(&self) {
        let gone = {
            let mut marked = self.marked();
            (mem::take(&mut marked.table), marked.cache.take())
        };
        drop(gone);
        self.places.invalidate_all();
    }

    /// As [`invalidate_all`](Self::invalidate_all), for one key; whether there was a cached result.
    pub(super) fn invalidate(&self, key: &K) -> bool {
        let hash = self.hash(key);
        let (results, marks) = {
            let mut marked = self.marked();
            (marked.cache.invalidate(hash, key), marked.forget(hash, key))
        };
        let any = !results.is_empty();
        drop((results, marks));
        self.places.invalidate(key);
        any
    }
}
