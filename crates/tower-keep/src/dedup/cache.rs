//! The result cache, with a time to live and least-recently-used eviction. No clock, no runtime, no
//! lock: the caller passes the time, and drops the evicted entries.

use std::{
    any::Any,
    fmt,
    hash::{Hash, RandomState},
    mem,
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use hashlink::{
    LinkedHashMap,
    linked_hash_map::{RawEntryMut, RawOccupiedEntryMut},
};
use tokio::time::Instant;

use super::typed_key::TypedKey;
use crate::event::JobId;

/// The lifetime and the number of cached results.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    pub(super) ttl: Duration,
    /// How long after `ttl` a stale result is returned while an execution revalidates it.
    pub(super) stale: Duration,
    pub(super) max_entries: NonZeroUsize,
}

impl CacheLimits {
    fn is_over(&self, age: Duration) -> bool {
        age >= self.ttl.saturating_add(self.stale)
    }
}

/// An access at this time, by a layer with these limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheAccess {
    pub(super) now: Instant,
    pub(super) limits: CacheLimits,
}

impl CacheAccess {
    pub(super) fn now(limits: CacheLimits) -> Self {
        Self {
            now: Instant::now(),
            limits,
        }
    }
}

/// A cached result that is fresh, or stale but still usable.
pub(super) struct Hit {
    pub(super) response: Arc<dyn Any + Send + Sync>,
    /// The job that executed it.
    pub(super) of: Option<JobId>,
    pub(super) age: Duration,
    pub(super) stale: bool,
}

pub(super) struct Cached {
    pub(super) response: Arc<dyn Any + Send + Sync>,
    pub(super) of: Option<JobId>,
    pub(super) at: Instant,
}

impl Cached {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

/// Evicted entries. They are dropped without the lock, as keys and responses are user code.
pub(super) type Evicted<K> = Vec<(TypedKey<K>, Cached)>;

/// Uses the standard hasher, as keys come from requests and must not be chosen to collide. Callers
/// pass each key's hash.
pub(super) struct ResultCache<K> {
    /// The least recently used entry comes first.
    map: LinkedHashMap<TypedKey<K>, Cached, RandomState>,
}

type Occupied<'a, K> = RawOccupiedEntryMut<'a, TypedKey<K>, Cached, RandomState>;

/// The number of oldest entries checked per new result. More than one, so that expired entries
/// become fewer.
const SWEEP: usize = 2;

impl<K> ResultCache<K> {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            map: LinkedHashMap::with_hasher(hasher),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// Takes all entries.
    pub(super) fn take(&mut self) -> Self {
        let none = Self::new(self.map.hasher().clone());
        mem::replace(self, none)
    }
}

impl<K: Eq + Hash> ResultCache<K> {
    fn find(&mut self, hash: u64, key: &TypedKey<K>) -> Option<Occupied<'_, K>> {
        let entry = self.map.raw_entry_mut();
        match entry.from_key_hashed_nocheck(hash, key) {
            RawEntryMut::Occupied(entry) => Some(entry),
            RawEntryMut::Vacant(_) => None,
        }
    }

    pub(super) fn get(&mut self, hash: u64, key: &TypedKey<K>, access: CacheAccess) -> Option<Hit> {
        let mut entry = self.find(hash, key)?;
        let age = entry.get().age(access.now);
        if access.limits.is_over(age) {
            return None;
        }
        entry.to_back();
        let entry = entry.get();
        Some(Hit {
            response: Arc::clone(&entry.response),
            of: entry.of,
            age,
            stale: age >= access.limits.ttl,
        })
    }

    #[must_use]
    pub(super) fn put(
        &mut self,
        hash: u64,
        key: TypedKey<K>,
        cached: Cached,
        access: CacheAccess,
    ) -> Evicted<K> {
        let mut gone = Evicted::new();
        // Removed first: an insert over it would drop one of the keys here.
        gone.extend(self.remove(hash, &key));
        let vacant = self.map.raw_entry_mut();
        if let RawEntryMut::Vacant(vacant) = vacant.from_key_hashed_nocheck(hash, &key) {
            vacant.insert_hashed_nocheck(hash, key, cached);
        }
        while self.map.len() > access.limits.max_entries.get() {
            gone.extend(self.map.pop_front());
        }
        for _ in 0..SWEEP {
            match self.map.front() {
                Some((_, entry)) if access.limits.is_over(entry.age(access.now)) => {
                    gone.extend(self.map.pop_front());
                }
                _ => break,
            }
        }
        gone
    }

    #[must_use]
    fn remove(&mut self, hash: u64, key: &TypedKey<K>) -> Option<(TypedKey<K>, Cached)> {
        self.find(hash, key).map(RawOccupiedEntryMut::remove_entry)
    }

    /// Takes out the results of this key, of every type.
    #[must_use]
    pub(super) fn invalidate(&mut self, hash: u64, key: &K) -> Evicted<K> {
        let mut gone = Evicted::new();
        while let RawEntryMut::Occupied(found) =
            (self.map.raw_entry_mut()).from_hash(hash, |known| known.key == *key)
        {
            gone.push(found.remove_entry());
        }
        gone
    }
}

impl<K> fmt::Debug for ResultCache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultCache")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
