//! The handle of the layer.

use std::{fmt, hash::Hash, mem, sync::Arc};

use super::{counts::DedupCounts, in_flight::InFlight, key_table::KeyTable};
use crate::sync::atomic::Ordering;

/// Shows what a [`DedupLayer`](super::DedupLayer) and its clones do, and removes cached results. Made by
/// [`DedupLayer::handle`](super::DedupLayer::handle).
pub struct DedupHandle<K> {
    keys: Arc<KeyTable<K>>,
}

impl<K> DedupHandle<K> {
    pub(super) fn new(keys: Arc<KeyTable<K>>) -> Self {
        keys.note_handle();
        Self { keys }
    }

    /// What became of the calls so far.
    #[must_use]
    pub fn counts(&self) -> DedupCounts {
        self.keys.counts()
    }

    /// How many results are cached. An expired result counts until a newer result replaces it or needs its room.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.keys.cached()
    }
}

impl<K: Clone + Eq + Hash> DedupHandle<K> {
    /// Drops every cached result and forgets every execution that runs, in every mode.
    ///
    /// A call that begins after this neither gets nor waits for work that began before: it finds the key free. The
    /// older execution goes on for the callers that it has. No other call joins it, is rejected for it, waits for it or
    /// replaces it; its result is not cached, and [`in_flight`](Self::in_flight) does not show it. A key may have two
    /// executions at a time that way.
    ///
    /// A call that waits in [`debounce`](super::DedupLayer::debounce) has not begun its work. It keeps its slot, and
    /// waits for quiet only.
    pub fn invalidate_all(&self) {
        self.keys.invalidate_all();
    }

    /// The keys in flight that came since the first handle was made, in no order. A key's `Clone` must not call
    /// this in turn.
    #[must_use]
    pub fn in_flight(&self) -> Vec<InFlight<K>> {
        self.keys.in_flight()
    }

    /// Drops the cached result of this key and forgets its execution, as [`invalidate_all`](Self::invalidate_all) does
    /// for all keys; `false` if no result was cached.
    pub fn invalidate(&self, key: &K) -> bool {
        self.keys.invalidate(key)
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

impl<K> KeyTable<K> {
    pub(super) fn cached(&self) -> usize {
        self.state().cache.len()
    }

    /// From here on each execution is listed with its key and its beginning.
    pub(super) fn note_handle(&self) {
        self.has_handle.store(true, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> DedupCounts {
        let mut counts = {
            let state = self.state();
            DedupCounts {
                executions: state.executions,
                ..state.counts
            }
        };
        counts.joined = self.joined.load(Ordering::Relaxed);
        self.slots.count(&mut counts);
        counts
    }

    /// The executions that began while there was a handle.
    pub(super) fn in_flight(&self) -> Vec<InFlight<K>>
    where
        K: Clone,
    {
        let entries: Vec<_> = {
            let state = self.state();
            (state.in_flight.iter())
                .filter_map(|entry| {
                    let listed = Arc::clone(entry.listed.as_ref()?);
                    Some((listed, entry.job, entry.flight.clone()))
                })
                .collect()
        };
        let mut in_flight = self.slots.in_flight();
        in_flight.extend(entries.into_iter().map(|(listed, job, flight)| {
            let followers = flight.map_or(0, |flight| flight.followers());
            listed.in_flight(job, followers, false)
        }));
        in_flight
    }
}

impl<K: Clone + Eq + Hash> KeyTable<K> {
    /// Drops all cached results, and the entries and slots of all that runs: the executions go on for the callers that
    /// they have, and later calls do not find them.
    pub(super) fn invalidate_all(&self) {
        let gone = {
            let mut state = self.state();
            (mem::take(&mut state.in_flight), state.cache.take())
        };
        drop(gone);
        self.slots.invalidate_all();
    }

    /// As [`invalidate_all`](Self::invalidate_all), for one key; whether there was a cached result.
    pub(super) fn invalidate(&self, key: &K) -> bool {
        let hash = self.hash(key);
        let (results, entries) = {
            let mut state = self.state();
            (state.cache.invalidate(hash, key), state.forget(hash, key))
        };
        let any = !results.is_empty();
        drop((results, entries));
        self.slots.invalidate(key);
        any
    }
}
