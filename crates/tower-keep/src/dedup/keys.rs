//! The table of the keys in flight and of the cached results.

use std::{
    any::Any,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, PoisonError, Weak},
};

use hashbrown::{HashTable, hash_table};
use tokio::{runtime::Handle, time::Instant};

use super::{
    cache::{Asked, Cache, Cached, Hit},
    coalesce::flight::{self, AnyFlight, Caller, Flight},
    counts::DedupCounts,
    in_flight::Shown,
    key::Key,
    supersede::places::Places,
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
pub struct Keys<K> {
    /// A leaf lock, but for the key's own `Eq` and `Hash`. No flight's lock is taken while it is held.
    marked: Mutex<Marked<K>>,
    hasher: RandomState,
    /// Tells this table from every other, now and later.
    number: u64,
    /// Joining is no matter of the lock above.
    pub(super) joined: AtomicU64,
    /// There is a handle, which may ask for the keys and since when they are in flight.
    pub(super) watched: AtomicBool,
    /// Where a newer call takes the place of an older one.
    pub(super) places: Arc<Places<K>>,
}

pub(super) struct Marked<K> {
    pub(super) table: HashTable<Mark<K>>,
    /// How many there were so far: the number of the last one.
    pub(super) executions: u64,
    /// Under the same lock, so that a key is free only once its result can be found.
    pub(super) cache: Cache<K>,
    pub(super) counts: DedupCounts,
    /// Flights of keys that are free. The next execution takes the memory of such a flight, if nobody else has it any more.
    spare: Vec<Arc<dyn AnyFlight>>,
}

/// How many flights are kept for that: enough for keys that come and go in turn.
const SPARE: usize = 32;

pub(super) struct Mark<K> {
    pub(super) key: Key<K>,
    hash: u64,
    /// Tells this mark from a later one of the same key.
    id: u64,
    pub(super) job: Option<JobId>,
    /// The leader's job, in which an execution that calls join is made.
    work: Option<Weak<Core>>,
    /// What to join, where calls join.
    pub(super) flight: Option<Arc<dyn AnyFlight>>,
    /// What the handle tells of it, if there is one: the key once more, as `Clone` must not run under the lock.
    pub(super) shown: Option<Arc<Shown<K>>>,
    /// A stale result is there, and what comes out of this has not taken its place yet.
    renews: bool,
}

/// What a call that may join became.
pub(super) enum Joined<T> {
    Leader(Caller<T>),
    Follower {
        caller: Caller<T>,
        execution: ExecutionId,
        of: Option<JobId>,
        work: Option<Weak<Core>>,
    },
    /// A cached result. Where it is stale and nobody executes the key, there is the leader of an execution that renews it.
    Hit {
        hit: Hit,
        renewal: Option<Caller<T>>,
    },
}

/// For what an execution begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A call waits for it.
    Call,
    /// It renews a cached result, and its caller has the stale one.
    Renewal,
}

/// What there is of a key.
enum Lookup {
    Fresh(Hit),
    /// A result that is to be renewed, by an execution that is in flight or that begins now.
    Stale {
        hit: Hit,
        running: bool,
    },
    Running {
        id: u64,
        of: Option<JobId>,
        work: Option<Weak<Core>>,
        flight: Option<Arc<dyn AnyFlight>>,
    },
    Vacant,
}

impl<K> Keys<K> {
    pub(super) fn marked(&self) -> MutexGuard<'_, Marked<K>> {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        let marked = self.marked().table.len();
        marked + self.places.len()
    }

    fn execution(&self, number: u64) -> ExecutionId {
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
            self.marked().counts.rejected += 1;
        }
    }

    /// Frees the key of this mark.
    fn unmark(&self, hash: u64, id: u64) {
        // The key and the flight are the user's: they go without the lock.
        let removed = self.marked().remove(hash, id);
        drop(removed);
    }
}

impl<K> Marked<K> {
    fn remove(&mut self, hash: u64, id: u64) -> Option<Mark<K>> {
        let mark = self.table.find_entry(hash, |mark| mark.id == id).ok()?;
        let (mut mark, _) = mark.remove();
        self.counts.failed_renewals += u64::from(mark.renews);
        if self.spare.len() < SPARE {
            self.spare.extend(mark.flight.take());
        }
        Some(mark)
    }

    /// A flight, and what turned out not to be spare, which goes without the lock.
    fn flight<T: Send + Sync + 'static>(
        &mut self,
    ) -> (Arc<Flight<T>>, Option<Arc<dyn Any + Send + Sync>>) {
        match self.spare.pop().map(Flight::reuse) {
            Some(Ok(flight)) => (flight, None),
            Some(Err(unusable)) => (Flight::new(), Some(unusable)),
            None => (Flight::new(), None),
        }
    }
}

impl<K: Eq + Hash> Marked<K> {
    fn lookup(&mut self, hash: u64, key: &Key<K>, asked: Option<Asked>) -> Lookup {
        let stale = match asked.and_then(|asked| self.cache.get(hash, key, asked)) {
            Some(hit) if !hit.stale => return Lookup::Fresh(hit),
            stale => stale,
        };
        let running = self.table.find(hash, |mark| mark.key == *key);
        match (stale, running) {
            (Some(hit), running) => Lookup::Stale {
                hit,
                running: running.is_some(),
            },
            (None, Some(mark)) => Lookup::Running {
                id: mark.id,
                of: mark.job,
                work: mark.work.clone(),
                flight: mark.flight.clone(),
            },
            (None, None) => Lookup::Vacant,
        }
    }

    /// Takes the marks of this key out, of every type.
    #[must_use]
    pub(super) fn forget(&mut self, hash: u64, key: &K) -> Vec<Mark<K>> {
        let mut gone = Vec::new();
        while let Ok(mark) = self.table.find_entry(hash, |mark| mark.key.key == *key) {
            gone.push(mark.remove().0);
        }
        gone
    }
}

impl<K: Clone + Eq + Hash> Keys<K> {
    /// Runs the key's own `Hash`, so that it goes before the lock.
    pub(super) fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline]
    pub(super) fn shown(&self, key: &K) -> Option<Arc<Shown<K>>> {
        self.watched.load(Ordering::Relaxed).then(|| {
            Arc::new(Shown {
                key: Mutex::new(key.clone()),
                since: Instant::now(),
            })
        })
    }

    /// Marks the key for a call that is executed.
    ///
    /// # Errors
    ///
    /// The job that has the key already, if it is known.
    pub(super) fn mark(
        self: &Arc<Self>,
        key: K,
        job: Option<JobId>,
    ) -> Result<Lead<K>, Option<JobId>> {
        let shown = self.shown(&key);
        let hash = self.hash(&key);
        let key = Key::rejected(key);
        let mut marked = self.marked();
        let Marked {
            table,
            counts,
            executions,
            ..
        } = &mut *marked;
        match table.entry(hash, |mark| mark.key == key, |mark| mark.hash) {
            hash_table::Entry::Occupied(held) => {
                counts.rejected += 1;
                let of = held.get().job;
                drop(marked);
                Err(of)
            }
            hash_table::Entry::Vacant(vacant) => {
                *executions += 1;
                let id = *executions;
                vacant.insert(Mark {
                    key,
                    hash,
                    id,
                    job,
                    work: None,
                    flight: None,
                    shown,
                    renews: false,
                });
                drop(marked);
                Ok(self.lead(hash, id))
            }
        }
    }

    fn lead(self: &Arc<Self>, hash: u64, id: u64) -> Lead<K> {
        Lead {
            keys: Arc::clone(self),
            hash,
            id,
        }
    }

    /// Finds the key's result, joins its flight, or begins one with what `begin` makes, which holds the lead.
    pub(super) fn join_or_begin<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        key: K,
        job: Option<&Arc<Core>>,
        asked: Option<Asked>,
        begin: impl FnOnce(Lead<K>, Option<Arc<Core>>, Purpose) -> flight::Execution<T>,
    ) -> Joined<T> {
        let shown = self.shown(&key);
        let hash = self.hash(&key);
        let key = Key::of::<T>(key);
        loop {
            let mut marked = self.marked();
            let stale = match marked.lookup(hash, &key, asked) {
                Lookup::Vacant => None,
                // It is renewed by a task, for which there has to be a runtime.
                Lookup::Stale {
                    hit,
                    running: false,
                } if Handle::try_current().is_ok() => Some(hit),
                Lookup::Fresh(hit) | Lookup::Stale { hit, .. } => {
                    marked.counts.answered(&hit);
                    drop(marked);
                    return Joined::Hit { hit, renewal: None };
                }
                Lookup::Running {
                    id,
                    of,
                    work,
                    flight,
                } => {
                    drop(marked);
                    if let Some(caller) = flight.and_then(join) {
                        let execution = self.execution(id);
                        return Joined::Follower {
                            caller,
                            execution,
                            of,
                            work,
                        };
                    }
                    // Over, but its mark is not gone yet.
                    self.unmark(hash, id);
                    continue;
                }
            };
            let purpose = match stale {
                Some(_) => Purpose::Renewal,
                None => Purpose::Call,
            };
            // Nobody's job is to renew a result: its caller has it already.
            let job = if stale.is_none() { job } else { None };
            if let Some(hit) = &stale {
                marked.counts.answered(hit);
            }
            let (flight, unusable) = marked.flight();
            let leader = flight.leader();
            marked.executions += 1;
            let id = marked.executions;
            let mark = Mark {
                key,
                hash,
                id,
                job: job.map(|job| job.id()),
                work: job.map(Arc::downgrade),
                flight: Some(flight),
                shown,
                renews: stale.is_some(),
            };
            marked.table.insert_unique(hash, mark, |mark| mark.hash);
            drop(marked);
            drop(unusable);
            // Without the lock, as it runs the service's `Clone`.
            let lead = self.lead(hash, id);
            leader.launch(|| begin(lead, job.cloned(), purpose));
            return match stale {
                Some(hit) => Joined::Hit {
                    hit,
                    renewal: Some(leader),
                },
                None => Joined::Leader(leader),
            };
        }
    }
}

/// `None` if it is over. Without the lock of the keys.
fn join<T: Send + Sync + 'static>(flight: Arc<dyn AnyFlight>) -> Option<Caller<T>> {
    flight.any().downcast::<Flight<T>>().ok()?.join()
}

/// Holds a key; it is free when this is dropped.
pub(super) struct Lead<K: Clone + Eq + Hash> {
    keys: Arc<Keys<K>>,
    hash: u64,
    id: u64,
}

impl<K: Clone + Eq + Hash> Lead<K> {
    pub(super) fn execution(&self) -> ExecutionId {
        self.keys.execution(self.id)
    }

    /// Caches what came out, unless the key was invalidated meanwhile, and frees the key.
    pub(super) fn cache(self, response: Arc<dyn Any + Send + Sync>, asked: Asked) {
        let mut marked = self.keys.marked();
        let mark = marked.table.find_mut(self.hash, |mark| mark.id == self.id);
        mark.into_iter().for_each(|mark| mark.renews = false);
        let Some(mark) = marked.remove(self.hash, self.id) else {
            // The response is the user's: it goes without the lock.
            drop(marked);
            return;
        };
        let cached = Cached {
            response,
            of: mark.job,
            at: asked.now,
        };
        let gone = marked.cache.put(self.hash, mark.key, cached, asked);
        drop(marked);
        drop(gone);
    }

    /// Names the job that executes the key, where it was begun after the key was marked.
    pub(super) fn set_job(&self, job: JobId) {
        let mut marked = self.keys.marked();
        if let Some(mark) = marked.table.find_mut(self.hash, |mark| mark.id == self.id) {
            mark.job = Some(job);
        }
    }
}

impl<K: Clone + Eq + Hash> Drop for Lead<K> {
    fn drop(&mut self) {
        self.keys.unmark(self.hash, self.id);
    }
}

impl<K> Default for Keys<K> {
    fn default() -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let hasher = RandomState::new();
        Self {
            marked: Mutex::new(Marked {
                table: HashTable::new(),
                executions: 0,
                cache: Cache::new(hasher.clone()),
                counts: DedupCounts::default(),
                spare: Vec::new(),
            }),
            hasher,
            number: NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            joined: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            places: Arc::default(),
        }
    }
}

impl<K> fmt::Debug for Keys<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
