//! The handle of circuits by key: finds, lists and removes them, and changes their settings.

use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use super::{handle::CircuitBreakerHandle, settings::Settings, table::CircuitTable};

/// Finds, lists and forces the circuits of a layer with one circuit per key.
pub struct CircuitsHandle<K> {
    pub(super) table: Arc<CircuitTable<K>>,
}

impl<K: Eq + Hash> CircuitsHandle<K> {
    /// The circuit of this key, if it exists. A circuit is created at the first call with its key,
    /// and evicted when idle.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<CircuitBreakerHandle> {
        let shared = self.table.find(key)?;
        Some(CircuitBreakerHandle { shared })
    }

    /// All circuits, in no particular order. Evicts idle circuits first.
    ///
    /// A circuit is not idle while a handle of it exists.
    #[must_use]
    pub fn circuits(&self) -> Vec<(K, CircuitBreakerHandle)>
    where
        K: Clone,
    {
        let circuits = self.table.all();
        circuits
            .into_iter()
            .map(|(key, shared)| (K::clone(&key), CircuitBreakerHandle { shared }))
            .collect()
    }

    /// The number of circuits.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are no circuits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Opens the circuit of this key for this long, as [`CircuitBreakerHandle::force_open_for`]
    /// does.
    ///
    /// It creates the circuit if needed, so you can block a key before its first call. During this
    /// time the circuit is not evicted, and does not count for
    /// [`max_circuits`](super::CircuitBreakerLayer::max_circuits).
    pub fn force_open_for(&self, key: K, duration: Duration)
    where
        K: fmt::Display,
    {
        self.table.force_open_for(key, duration);
    }

    /// Makes the open circuit of this key half-open at once, as [`CircuitBreakerHandle::probe_now`]
    /// does. Returns whether the circuit exists and was open.
    pub fn probe_now(&self, key: &K) -> bool {
        (self.table.find(key)).is_some_and(|shared| shared.probe_now())
    }

    /// Removes the circuit of this key; `false` if there is none. Calls in flight no longer count.
    pub fn remove(&self, key: &K) -> bool {
        self.table.remove(key)
    }

    /// The settings of new circuits.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.table.settings()
    }

    /// Changes the settings of all circuits, existing and new, without losing counts.
    ///
    /// The closure receives the settings of new circuits. All circuits get its result. If another
    /// thread changes the settings at the same time, the closure runs again with those settings.
    pub fn update(&self, mut change: impl FnMut(&mut Settings)) {
        loop {
            // The closure is user code and runs without the lock.
            let old = self.settings();
            let mut new = old;
            change(&mut new);
            if self.table.replace_settings(old, new) {
                break;
            }
        }
    }
}

impl<K> Clone for CircuitsHandle<K> {
    fn clone(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
        }
    }
}

impl<K> fmt::Debug for CircuitsHandle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitsHandle")
            .field("name", &self.table.name())
            .field("circuits", &self.table.len())
            .field("settings", &self.table.settings().effective())
            .finish_non_exhaustive()
    }
}
