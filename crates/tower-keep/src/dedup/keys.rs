//! The table of the keys in flight and of the cached results.

use std::{
    any::{Any, TypeId},
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, PoisonError, Weak},
};

use hashbrown::HashTable;
use tokio::{runtime::Handle, time::Instant};

use super::{
    counts::DedupCounts,
    flight::{AnyFlight, Caller, Flight},
    in_flight::Shown,
    kept::{Asked, Entry, Hit, Kept},
    places::Places,
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

/// Stands for the outcome's type where calls are rejected, and nothing is shared.
pub(super) fn rejected() -> TypeId {
    TypeId::of::<()>()
}

pub(super) struct Marked<K> {
    /// One layer may be put around services whose outcomes differ in type and cannot be shared.
    pub(super) table: HashTable<Mark<K>>,
    next: u64,
    /// Under the same lock, so that a key is free only once its result can be found.
    pub(super) kept: Kept<K>,
    /// The types of the outcomes that calls join: as many as there are kinds of service around which the layer is.
    pub(super) types: Vec<TypeId>,
    pub(super) counts: DedupCounts,
}

pub(super) struct Mark<K> {
    key: (K, TypeId),
    hash: u64,
    /// Tells this mark from a later one of the same key.
    id: u64,
    pub(super) job: Option<JobId>,
    /// The first caller's job, in which an execution that calls join is made.
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
    First(Caller<T>),
    Another {
        caller: Caller<T>,
        execution: ExecutionId,
        of: Option<JobId>,
        work: Option<Weak<Core>>,
    },
    /// A result that is there. Where it is stale and nobody executes the key, there is the caller of an execution that
    /// renews it.
    Kept {
        hit: Hit,
        renewal: Option<Caller<T>>,
    },
}

/// What there is of a key.
enum Lookup {
    Fresh(Hit),
    /// A result that is to be renewed, by an execution that is in flight or that begins now.
    Stale {
        hit: Hit,
        running: bool,
    },
    Running,
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
        let (mark, _) = mark.remove();
        self.counts.failed_renewals += u64::from(mark.renews);
        Some(mark)
    }

    /// Marks the key for a new execution.
    fn insert(&mut self, mut mark: Mark<K>) -> u64 {
        let id = self.next;
        self.next += 1;
        self.counts.executions += 1;
        mark.id = id;
        self.table.insert_unique(mark.hash, mark, |mark| mark.hash);
        id
    }
}

impl<K: Eq + Hash> Marked<K> {
    fn find(&self, hash: u64, key: &(K, TypeId)) -> Option<&Mark<K>> {
        self.table.find(hash, |mark| mark.key == *key)
    }

    fn lookup(&mut self, hash: u64, key: &(K, TypeId), asked: Option<Asked>) -> Lookup {
        let hit = asked.and_then(|asked| self.kept.get(hash, key, asked));
        match hit {
            Some(hit) if !hit.stale => Lookup::Fresh(hit),
            Some(hit) => Lookup::Stale {
                hit,
                running: self.find(hash, key).is_some(),
            },
            None if self.find(hash, key).is_some() => Lookup::Running,
            None => Lookup::Vacant,
        }
    }

    #[must_use]
    pub(super) fn forget(&mut self, hash: u64, key: &(K, TypeId)) -> Option<Mark<K>> {
        let mark = self.table.find_entry(hash, |mark| mark.key == *key).ok()?;
        Some(mark.remove().0)
    }
}

impl<K: Clone + Eq + Hash> Keys<K> {
    /// Runs the key's own `Hash`, so that it goes before the lock.
    pub(super) fn hash(&self, key: &(K, TypeId)) -> u64 {
        self.hasher.hash_one(key)
    }

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
        let key = (key, rejected());
        let hash = self.hash(&key);
        let mut marked = self.marked();
        if let Some(held) = marked.find(hash, &key) {
            let job = held.job;
            marked.counts.rejected += 1;
            drop(marked);
            return Err(job);
        }
        let id = marked.insert(Mark {
            key,
            hash,
            id: 0,
            job,
            work: None,
            flight: None,
            shown,
            renews: false,
        });
        drop(marked);
        Ok(self.lead(hash, id))
    }

    fn lead(self: &Arc<Self>, hash: u64, id: u64) -> Lead<K> {
        Lead {
            keys: Arc::clone(self),
            hash,
            id,
        }
    }

    /// Finds the key's result, joins its flight, or begins one with what `begin` makes, which holds the lead.
    pub(super) fn join_or_begin<F>(
        self: &Arc<Self>,
        key: K,
        job: Option<&Arc<Core>>,
        asked: Option<Asked>,
        begin: impl FnOnce(Lead<K>, Option<Arc<Core>>) -> F,
    ) -> Joined<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + Sync + 'static,
    {
        let shown = self.shown(&key);
        let key = (key, TypeId::of::<F::Output>());
        let hash = self.hash(&key);
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
                    return Joined::Kept { hit, renewal: None };
                }
                Lookup::Running => {
                    let Some(held) = marked.find(hash, &key) else {
                        unreachable!("it was found under the same lock")
                    };
                    let (id, of, work) = (held.id, held.job, held.work.clone());
                    let flight = held.flight.clone();
                    drop(marked);
                    if let Some(caller) = flight.and_then(join) {
                        let execution = self.execution(id);
                        return Joined::Another {
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
            // Nobody's job is to renew a result: its caller has it already.
            let job = if stale.is_none() { job } else { None };
            let (flight, caller) = Flight::new();
            if let Some(hit) = &stale {
                marked.counts.answered(hit);
            }
            if !marked.types.contains(&key.1) {
                marked.types.push(key.1);
            }
            let id = marked.insert(Mark {
                key,
                hash,
                id: 0,
                job: job.map(|job| job.id()),
                work: job.map(Arc::downgrade),
                flight: Some(flight),
                shown,
                renews: stale.is_some(),
            });
            drop(marked);
            // Without the lock, as it runs the service's `Clone`.
            let lead = self.lead(hash, id);
            caller.launch(|| Box::pin(begin(lead, job.cloned())));
            return match stale {
                Some(hit) => Joined::Kept {
                    hit,
                    renewal: Some(caller),
                },
                None => Joined::First(caller),
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

    /// Keeps what came out, unless the key was invalidated meanwhile, and frees the key.
    pub(super) fn keep(self, response: Arc<dyn Any + Send + Sync>, asked: Asked) {
        let mut marked = self.keys.marked();
        let mark = marked.table.find_mut(self.hash, |mark| mark.id == self.id);
        mark.into_iter().for_each(|mark| mark.renews = false);
        let gone = marked.remove(self.hash, self.id).map(|mark| {
            let entry = Entry {
                response,
                of: mark.job,
                at: asked.now,
            };
            let gone = marked.kept.put(self.hash, mark.key, entry, asked);
            (gone, mark.flight, mark.shown)
        });
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
                next: 0,
                kept: Kept::new(hasher.clone()),
                types: Vec::new(),
                counts: DedupCounts::default(),
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
