use std::{fmt, hash::Hash, sync::Arc};

use super::keys::Keys;

/// Reaches what a [`DedupLayer`](super::DedupLayer) and its clones keep. Made by
/// [`DedupLayer::handle`](super::DedupLayer::handle).
pub struct DedupHandle<K> {
    keys: Arc<Keys<K>>,
}

impl<K> DedupHandle<K> {
    pub(super) fn new(keys: Arc<Keys<K>>) -> Self {
        Self { keys }
    }

    /// How many results are kept. One that is too old counts until it is replaced or makes room for another.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.keys.kept()
    }

    /// Drops every kept result. What is in flight still goes to those that wait for it and to those that join it, and
    /// is not kept.
    pub fn invalidate_all(&self) {
        self.keys.invalidate_all();
    }
}

impl<K: Clone + Eq + Hash> DedupHandle<K> {
    /// Drops the kept result of this key, as [`invalidate_all`](Self::invalidate_all) does; `false` if there was none.
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
