//! The table of the keys in flight and of the cached results.

use std::{
    any::Any,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, PoisonError, Weak},
};

use hashbrown::{HashTable, hash_table};
use tokio::time::Instant;

use super::{
    cache::{CacheAccess, Cached, ResultCache},
    coalesce::flight::{AnyFlight, Flight},
    counts::DedupCounts,
    in_flight::ListedKey,
    supersede::slot_table::SlotTable,
    typed_key::TypedKey,
};
use crate::{
    event::JobId,
    job::core::{Core, sharing::ExecutionId},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// The keys in flight and the cached results, shared by the layer's clones.
pub(super) struct KeyTable<K> {
    /// A leaf lock, except for the key's own `Eq` and `Hash`. No flight's lock is taken while it is
    /// held.
    state: Mutex<TableState<K>>,
    hasher: RandomState,
    /// Unique among all tables, past and future.
    number: u64,
    /// Counted without the lock, as a join happens outside it.
    pub(super) joined: AtomicU64,
    /// A handle exists, which may list the keys and their starts.
    pub(super) has_handle: AtomicBool,
    /// The slots of the superseding modes.
    pub(super) slots: Arc<SlotTable<K>>,
}

/// The state that a table's lock guards.
pub(super) struct TableState<K> {
    pub(super) in_flight: HashTable<InFlightEntry<K>>,
    /// The number of executions so far, which is the id of the last one.
    pub(super) executions: u64,
    /// Under the same lock, so that a key is free only once its result can be found.
    pub(super) cache: ResultCache<K>,
    pub(super) counts: DedupCounts,
    /// Flights of keys that are free. The next execution reuses the memory of such a flight, if the
    /// table has the only reference.
    spare: Vec<Arc<dyn AnyFlight>>,
}

/// The maximum number of spare flights: enough for keys that come and go in turn.
const SPARE: usize = 32;

/// A key in flight.
pub(super) struct InFlightEntry<K> {
    pub(super) key: TypedKey<K>,
    pub(super) hash: u64,
    /// Distinguishes this entry from a later one with the same key.
    pub(super) id: u64,
    pub(super) job: Option<JobId>,
    /// The leader's job, in which a joined execution runs.
    pub(super) work: Option<Weak<Core>>,
    /// The flight to join, in join mode.
    pub(super) flight: Option<Arc<dyn AnyFlight>>,
    /// The entry of the handle's list, if there is a handle. It has a second copy of the key, as
    /// `Clone` must not run under the lock.
    pub(super) listed: Option<Arc<ListedKey<K>>>,
    /// This execution revalidates a stale result, and has not replaced it yet.
    pub(super) revalidates: bool,
}

impl<K> KeyTable<K> {
    pub(super) fn state(&self) -> MutexGuard<'_, TableState<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        let in_flight = self.state().in_flight.len();
        in_flight + self.slots.len()
    }

    pub(super) fn execution(&self, number: u64) -> ExecutionId {
        ExecutionId {
            table: self.number,
            number,
        }
    }

    /// Counts a call that joined an execution, or that was rejected as it would have waited for
    /// itself.
    pub(super) fn count_joined(&self, waits: bool) {
        if waits {
            self.joined.fetch_add(1, Ordering::Relaxed);
        } else {
            self.state().counts.rejected += 1;
        }
    }

    /// Frees the key of this entry.
    pub(super) fn remove(&self, hash: u64, id: u64) {
        // Dropping the key and the flight runs user code: not under the lock.
        let removed = self.state().remove(hash, id);
        drop(removed);
    }
}

impl<K> TableState<K> {
    fn remove(&mut self, hash: u64, id: u64) -> Option<InFlightEntry<K>> {
        let entry = self
            .in_flight
            .find_entry(hash, |entry| entry.id == id)
            .ok()?;
        let (mut entry, _) = entry.remove();
        self.counts.failed_revalidations += u64::from(entry.revalidates);
        if self.spare.len() < SPARE {
            self.spare.extend(entry.flight.take());
        }
        Some(entry)
    }

    /// Returns a flight for a new execution, and a spare that cannot be reused, to be dropped
    /// without the lock.
    pub(super) fn flight<T: Send + Sync + 'static>(
        &mut self,
    ) -> (Arc<Flight<T>>, Option<Arc<dyn Any + Send + Sync>>) {
        match self.spare.pop().map(Flight::reuse) {
            Some(Ok(flight)) => (flight, None),
            Some(Err(unusable)) => (Flight::new(), Some(unusable)),
            None => (Flight::new(), None),
        }
    }
}

#[cfg(feature = "http")]
impl<K> KeyTable<K> {
    /// Forgets the executions of these keys, as an invalidation does. `concerns` runs under the lock:
    /// it is not user code.
    pub(super) fn forget_where(&self, concerns: impl Fn(&K) -> bool) {
        let gone: Vec<_> = {
            let mut state = self.state();
            let concerned = state.in_flight.extract_if(|entry| concerns(&entry.key.key));
            concerned.collect()
        };
        drop(gone);
    }
}

impl<K: Eq + Hash> TableState<K> {
    /// Takes out the entries of this key, of every type.
    #[must_use]
    pub(super) fn forget(&mut self, hash: u64, key: &K) -> Vec<InFlightEntry<K>> {
        let mut gone = Vec::new();
        while let Ok(entry) = self
            .in_flight
            .find_entry(hash, |entry| entry.key.key == *key)
        {
            gone.push(entry.remove().0);
        }
        gone
    }
}

impl<K: Clone + Eq + Hash> KeyTable<K> {
    /// Runs the key's own `Hash`: call it before taking the lock.
    pub(super) fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline]
    pub(super) fn listed(&self, key: &K) -> Option<Arc<ListedKey<K>>> {
        self.has_handle.load(Ordering::Relaxed).then(|| {
            Arc::new(ListedKey {
                key: Mutex::new(key.clone()),
                since: Instant::now(),
            })
        })
    }

    /// Inserts the key of a call to execute.
    ///
    /// # Errors
    ///
    /// The job that has the key already, if it is known.
    pub(super) fn insert(
        self: &Arc<Self>,
        key: K,
        job: Option<JobId>,
    ) -> Result<KeyGuard<K>, Option<JobId>> {
        let listed = self.listed(&key);
        let hash = self.hash(&key);
        let key = TypedKey::rejected(key);
        let mut state = self.state();
        let TableState {
            in_flight,
            counts,
            executions,
            ..
        } = &mut *state;
        match in_flight.entry(hash, |entry| entry.key == key, |entry| entry.hash) {
            hash_table::Entry::Occupied(held) => {
                counts.rejected += 1;
                let of = held.get().job;
                drop(state);
                Err(of)
            }
            hash_table::Entry::Vacant(vacant) => {
                *executions += 1;
                let id = *executions;
                vacant.insert(InFlightEntry {
                    key,
                    hash,
                    id,
                    job,
                    work: None,
                    flight: None,
                    listed,
                    revalidates: false,
                });
                drop(state);
                Ok(self.guard(hash, id))
            }
        }
    }

    pub(super) fn guard(self: &Arc<Self>, hash: u64, id: u64) -> KeyGuard<K> {
        KeyGuard {
            keys: Arc::clone(self),
            hash,
            id,
        }
    }
}

/// Holds a key, and frees it on drop.
pub(super) struct KeyGuard<K: Clone + Eq + Hash> {
    keys: Arc<KeyTable<K>>,
    hash: u64,
    id: u64,
}

impl<K: Clone + Eq + Hash> KeyGuard<K> {
    pub(super) fn execution(&self) -> ExecutionId {
        self.keys.execution(self.id)
    }

    /// Caches the response, unless the key was invalidated meanwhile, and frees the key.
    pub(super) fn cache(self, response: Arc<dyn Any + Send + Sync>, access: CacheAccess) {
        let mut state = self.keys.state();
        let entry = state
            .in_flight
            .find_mut(self.hash, |entry| entry.id == self.id);
        entry
            .into_iter()
            .for_each(|entry| entry.revalidates = false);
        let Some(entry) = state.remove(self.hash, self.id) else {
            // Dropping the response runs user code: not under the lock.
            drop(state);
            return;
        };
        let cached = Cached {
            response,
            of: entry.job,
            at: access.now,
        };
        let gone = state.cache.put(self.hash, entry.key, cached, access);
        drop(state);
        drop(gone);
    }

    /// Sets the job that executes the key, if the job began after the key was inserted.
    pub(super) fn set_job(&self, job: JobId) {
        let mut state = self.keys.state();
        if let Some(entry) = state
            .in_flight
            .find_mut(self.hash, |entry| entry.id == self.id)
        {
            entry.job = Some(job);
        }
    }
}

impl<K: Clone + Eq + Hash> Drop for KeyGuard<K> {
    fn drop(&mut self) {
        self.keys.remove(self.hash, self.id);
    }
}

impl<K> Default for KeyTable<K> {
    fn default() -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let hasher = RandomState::new();
        Self {
            state: Mutex::new(TableState {
                in_flight: HashTable::new(),
                executions: 0,
                cache: ResultCache::new(hasher.clone()),
                counts: DedupCounts::default(),
                spare: Vec::new(),
            }),
            hasher,
            number: NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            joined: AtomicU64::new(0),
            has_handle: AtomicBool::new(false),
            slots: Arc::default(),
        }
    }
}

impl<K> fmt::Debug for KeyTable<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTable")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
