//! The handle of the layer.

use std::{fmt, hash::Hash, sync::Arc};

use super::{counts::DedupCounts, in_flight::InFlight, keys::Keys};

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

    /// How many results are cached. An expired result counts until a newer result replaces it or needs its room.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.keys.kept()
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
