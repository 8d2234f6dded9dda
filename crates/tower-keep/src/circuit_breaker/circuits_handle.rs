//! The handle of circuits by key: finds, lists and removes them, and changes their settings.

use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use super::{handle::CircuitBreakerHandle, settings::Settings, table::Table};

/// Finds, lists and forces the circuits of a layer that has one for each key.
pub struct CircuitsHandle<K> {
    pub(super) table: Arc<Table<K>>,
}

impl<K: Eq + Hash> CircuitsHandle<K> {
    /// The circuit of this key, if there is one: it is made when the key first comes, and goes when
    /// it is idle.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<CircuitBreakerHandle> {
        let shared = self.table.find(key)?;
        Some(CircuitBreakerHandle { shared })
    }

    /// All circuits that there are, in no order. As long as a handle of a circuit is kept, the
    /// circuit is not idle.
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

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Opens the circuit of this key for this long, as [`CircuitBreakerHandle::force_open_for`]
    /// does.
    ///
    /// The circuit is made if there is none, so that you can block a key before its first call.
    /// Until the time is over it does not count towards
    /// [`max_circuits`](super::CircuitBreakerLayer::max_circuits), and is not evicted.
    pub fn force_open_for(&self, key: K, duration: Duration)
    where
        K: fmt::Display,
    {
        self.table.force_open_for(key, duration);
    }

    /// Turns the open circuit of this key half-open at once, as [`CircuitBreakerHandle::probe_now`]
    /// does. Returns whether there is one and it was open.
    pub fn probe_now(&self, key: &K) -> bool {
        (self.table.find(key)).is_some_and(|shared| shared.probe_now())
    }

    /// Forgets the circuit of this key: `false` if there was none. Calls in flight no longer count
    /// for anything.
    pub fn remove(&self, key: &K) -> bool {
        self.table.remove(key)
    }

    /// The settings of new circuits.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.table.settings()
    }

    /// Changes the settings of all circuits, present and future. What they counted stays.
    ///
    /// The closure gets the settings of new circuits, and every circuit gets what it makes of them. If another thread
    /// changes the settings meanwhile, the closure is called again with those.
    pub fn update(&self, mut change: impl FnMut(&mut Settings)) {
        loop {
            // The closure is the user's and runs without the lock.
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
