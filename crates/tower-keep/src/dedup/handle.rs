//! `DedupHandle`: lists the keys in flight, counts calls, invalidates cached results.

use std::{fmt, hash::Hash, mem, sync::Arc};

use super::{counts::DedupCounts, in_flight::InFlight, key_table::KeyTable};
use crate::sync::atomic::Ordering;

/// Lists the keys in flight of a [`DedupLayer`](super::DedupLayer) and its clones, counts calls,
/// and invalidates cached results.
///
/// Made by [`DedupLayer::handle`](super::DedupLayer::handle).
pub struct DedupHandle<K> {
    keys: Arc<KeyTable<K>>,
}

impl<K> DedupHandle<K> {
    pub(super) fn new(keys: Arc<KeyTable<K>>) -> Self {
        keys.note_handle();
        Self { keys }
    }

    /// Counts the calls so far by their outcome.
    #[must_use]
    pub fn counts(&self) -> DedupCounts {
        self.keys.counts()
    }

    /// The number of cached results. An expired result counts until a newer result replaces or
    /// evicts it.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.keys.cached()
    }
}

impl<K: Clone + Eq + Hash> DedupHandle<K> {
    /// Removes every cached result and forgets every running execution, in every mode.
    ///
    /// A call that begins after this neither gets nor waits for work that began before: it finds
    /// the key free.
    ///
    /// The older execution continues for its callers. No other call joins it, waits for it,
    /// replaces it or is rejected because of it. Its result is not cached, and
    /// [`in_flight`](Self::in_flight) does not list it. So a key may have two executions at a time.
    ///
    /// A call that waits in [`debounce`](super::DedupLayer::debounce) has not begun its work. It
    /// keeps its slot, and waits for quiet only.
    pub fn invalidate_all(&self) {
        self.keys.invalidate_all();
    }

    /// Lists the keys in flight, in no order, for calls since the first handle was made.
    ///
    /// A key's `Clone` must not call this method.
    #[must_use]
    pub fn in_flight(&self) -> Vec<InFlight<K>> {
        self.keys.in_flight()
    }

    /// Removes the cached result of this key and forgets its execution, as
    /// [`invalidate_all`](Self::invalidate_all) does for all keys. Returns `false` if no result was
    /// cached.
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

    /// From now on, executions are listed with their key and their start.
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
    /// Removes all cached results, and the entries and slots of all executions. The executions
    /// continue for their callers, and later calls do not find them.
    pub(super) fn invalidate_all(&self) {
        let gone = {
            let mut state = self.state();
            (mem::take(&mut state.in_flight), state.cache.take())
        };
        drop(gone);
        self.slots.invalidate_all();
    }

    /// As [`invalidate_all`](Self::invalidate_all), for one key. Returns whether a result was
    /// cached.
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
