//! Results that outlive their execution. No clock, no runtime, no lock: whoever asks says what time it is, and drops
//! what comes out.

use std::{
    any::{Any, TypeId},
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

use crate::event::JobId;

/// How long results are kept, and how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) fresh: Duration,
    /// After that, how long it is answered while another execution is under way.
    pub(super) stale: Duration,
    pub(super) most: NonZeroUsize,
}

impl Limits {
    fn is_over(&self, age: Duration) -> bool {
        age >= self.fresh.saturating_add(self.stale)
    }
}

/// A question that comes at this time, from a layer with these limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) now: Instant,
    pub(super) limits: Limits,
}

impl Asked {
    pub(super) fn now(limits: Limits) -> Self {
        Self {
            now: Instant::now(),
            limits,
        }
    }
}

/// A kept result that is recent enough.
pub(super) struct Hit {
    pub(super) response: Arc<dyn Any + Send + Sync>,
    /// The job that executed it.
    pub(super) of: Option<JobId>,
    pub(super) age: Duration,
    pub(super) stale: bool,
}

pub(super) struct Entry {
    pub(super) response: Arc<dyn Any + Send + Sync>,
    pub(super) of: Option<JobId>,
    pub(super) at: Instant,
}

impl Entry {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

/// What was pushed out: the user's keys and responses, which go without the lock.
pub(super) type Gone<K> = Vec<((K, TypeId), Entry)>;

/// The hasher is the standard one: keys come from requests, and must not be chosen to collide. Each key comes with its hash.
pub(super) struct Kept<K> {
    /// The one that was asked for the longest time ago comes first.
    map: LinkedHashMap<(K, TypeId), Entry, RandomState>,
}

type Occupied<'a, K> = RawOccupiedEntryMut<'a, (K, TypeId), Entry, RandomState>;

/// How many of the oldest are looked at for each that is added: more than one, so that those that are too old get fewer.
const SWEEP: usize = 2;

impl<K> Kept<K> {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            map: LinkedHashMap::with_hasher(hasher),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// All of them.
    pub(super) fn take(&mut self) -> Self {
        let none = Self::new(self.map.hasher().clone());
        mem::replace(self, none)
    }
}

impl<K: Eq + Hash> Kept<K> {
    fn find(&mut self, hash: u64, key: &(K, TypeId)) -> Option<Occupied<'_, K>> {
        let entry = self.map.raw_entry_mut();
        match entry.from_key_hashed_nocheck(hash, key) {
            RawEntryMut::Occupied(entry) => Some(entry),
            RawEntryMut::Vacant(_) => None,
        }
    }

    pub(super) fn get(&mut self, hash: u64, key: &(K, TypeId), asked: Asked) -> Option<Hit> {
        let mut entry = self.find(hash, key)?;
        let age = entry.get().age(asked.now);
        if asked.limits.is_over(age) {
            return None;
        }
        entry.to_back();
        let entry = entry.get();
        Some(Hit {
            response: Arc::clone(&entry.response),
            of: entry.of,
            age,
            stale: age >= asked.limits.fresh,
        })
    }

    #[must_use]
    pub(super) fn put(
        &mut self,
        hash: u64,
        key: (K, TypeId),
        entry: Entry,
        asked: Asked,
    ) -> Gone<K> {
        let mut gone = Gone::new();
        // An insert in its place would drop one of the keys.
        gone.extend(self.remove(hash, &key));
        let vacant = self.map.raw_entry_mut();
        if let RawEntryMut::Vacant(vacant) = vacant.from_key_hashed_nocheck(hash, &key) {
            vacant.insert_hashed_nocheck(hash, key, entry);
        }
        while self.map.len() > asked.limits.most.get() {
            gone.extend(self.map.pop_front());
        }
        for _ in 0..SWEEP {
            match self.map.front() {
                Some((_, entry)) if asked.limits.is_over(entry.age(asked.now)) => {
                    gone.extend(self.map.pop_front());
                }
                _ => break,
            }
        }
        gone
    }

    #[must_use]
    pub(super) fn remove(&mut self, hash: u64, key: &(K, TypeId)) -> Option<((K, TypeId), Entry)> {
        self.find(hash, key).map(RawOccupiedEntryMut::remove_entry)
    }
}

impl<K> fmt::Debug for Kept<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
