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

/// The keys in flight and the results that are cached, shared by the layer's clones.
pub(super) struct KeyTable<K> {
    /// A leaf lock, but for the key's own `Eq` and `Hash`. No flight's lock is taken while it is held.
    state: Mutex<TableState<K>>,
    hasher: RandomState,
    /// Tells this table from every other, now and later.
    number: u64,
    /// Joining is no matter of the lock above.
    pub(super) joined: AtomicU64,
    /// There is a handle, which may ask for the keys and since when they are in flight.
    pub(super) has_handle: AtomicBool,
    /// Where a newer call takes the place of an older one.
    pub(super) slots: Arc<SlotTable<K>>,
}

/// What the lock of a table guards.
pub(super) struct TableState<K> {
    pub(super) in_flight: HashTable<InFlightEntry<K>>,
    /// How many there were so far: the number of the last one.
    pub(super) executions: u64,
    /// Under the same lock, so that a key is free only once its result can be found.
    pub(super) cache: ResultCache<K>,
    pub(super) counts: DedupCounts,
    /// Flights of keys that are free. The next execution takes the memory of such a flight, if nobody else has it any more.
    spare: Vec<Arc<dyn AnyFlight>>,
}

/// How many flights are kept for that: enough for keys that come and go in turn.
const SPARE: usize = 32;

/// A key in flight.
pub(super) struct InFlightEntry<K> {
    pub(super) key: TypedKey<K>,
    pub(super) hash: u64,
    /// Tells this entry from a later one of the same key.
    pub(super) id: u64,
    pub(super) job: Option<JobId>,
    /// The leader's job, in which an execution that calls join is made.
    pub(super) work: Option<Weak<Core>>,
    /// What to join, where calls join.
    pub(super) flight: Option<Arc<dyn AnyFlight>>,
    /// What the handle lists, if there is a handle: the key once more, as `Clone` must not run under the lock.
    pub(super) listed: Option<Arc<ListedKey<K>>>,
    /// A stale result is there, and what comes out of this has not taken its place yet.
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

    /// A call joined an execution, or would have waited for itself.
    pub(super) fn count_joined(&self, waits: bool) {
        if waits {
            self.joined.fetch_add(1, Ordering::Relaxed);
        } else {
            self.state().counts.rejected += 1;
        }
    }

    /// Frees the key of this entry.
    pub(super) fn remove(&self, hash: u64, id: u64) {
        // The key and the flight are the user's: they go without the lock.
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

    /// A flight, and what turned out not to be spare, which goes without the lock.
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

impl<K: Eq + Hash> TableState<K> {
    /// Takes the entries of this key out, of every type.
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
    /// Runs the key's own `Hash`, so that it goes before the lock.
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

    /// Inserts the key of a call that is executed.
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

/// Holds a key; it is free when this is dropped.
pub(super) struct KeyGuard<K: Clone + Eq + Hash> {
    keys: Arc<KeyTable<K>>,
    hash: u64,
    id: u64,
}

impl<K: Clone + Eq + Hash> KeyGuard<K> {
    pub(super) fn execution(&self) -> ExecutionId {
        self.keys.execution(self.id)
    }

    /// Caches what came out, unless the key was invalidated meanwhile, and frees the key.
    pub(super) fn cache(self, response: Arc<dyn Any + Send + Sync>, access: CacheAccess) {
        let mut state = self.keys.state();
        let entry = state
            .in_flight
            .find_mut(self.hash, |entry| entry.id == self.id);
        entry
            .into_iter()
            .for_each(|entry| entry.revalidates = false);
        let Some(entry) = state.remove(self.hash, self.id) else {
            // The response is the user's: it goes without the lock.
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

    /// Names the job that executes the key, where it was begun after the key was inserted.
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
