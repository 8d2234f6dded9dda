//! The table of the keys in flight and of the kept results.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, PoisonError, Weak},
};

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

/// The keys in flight and the results that are kept, shared by the layer's clones.
pub struct Keys<K> {
    /// A leaf lock, but for the key's own `Eq` and `Hash`. No flight's lock is taken while it is held.
    marked: Mutex<Marked<K>>,
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
    pub(super) map: HashMap<(K, TypeId), Mark<K>>,
    next: u64,
    /// Under the same lock, so that a key is free only once its result can be found.
    pub(super) kept: Kept<K>,
    /// The types of the outcomes that calls join: as many as there are kinds of service around which the layer is.
    pub(super) types: Vec<TypeId>,
    pub(super) counts: DedupCounts,
}

pub(super) struct Mark<K> {
    /// Tells this mark from a later one of the same key.
    pub(super) id: u64,
    pub(super) job: Option<JobId>,
    /// The first caller's job, in which an execution that calls join is made.
    work: Option<Weak<Core>>,
    /// What to join, where calls join.
    pub(super) flight: Option<Arc<dyn AnyFlight>>,
    /// What the handle tells of it, if there is one: the key once more, as `Clone` must not run under the lock.
    pub(super) shown: Option<Arc<Shown<K>>>,
    /// A stale result is there, and what comes out of this has not taken its place yet.
    pub(super) renews: bool,
}

impl<K> Mark<K> {
    fn execution(&self) -> Execution {
        Execution {
            mark: self.id,
            flight: self.flight.clone(),
            of: self.job,
            work: self.work.clone(),
        }
    }
}

/// One that is in flight, as it was found under the lock.
struct Execution {
    mark: u64,
    flight: Option<Arc<dyn AnyFlight>>,
    of: Option<JobId>,
    work: Option<Weak<Core>>,
}

impl Execution {
    /// `None` if it is over. Without the lock of the keys.
    fn join<T: Send + Sync + 'static>(self, table: usize) -> Option<Joined<T>> {
        let flight = self.flight?.any().downcast::<Flight<T>>().ok()?;
        Some(Joined::Another {
            caller: flight.join()?,
            execution: ExecutionId {
                table,
                number: self.mark,
            },
            of: self.of,
            work: self.work,
        })
    }
}

impl<K> Default for Keys<K> {
    fn default() -> Self {
        Self {
            marked: Mutex::new(Marked {
                map: HashMap::new(),
                next: 0,
                kept: Kept::default(),
                types: Vec::new(),
                counts: DedupCounts::default(),
            }),
            joined: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            places: Arc::default(),
        }
    }
}

impl<K> Keys<K> {
    pub(super) fn marked(&self) -> MutexGuard<'_, Marked<K>> {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.marked().map.len() + self.places.len()
    }
}

/// What a call that may join became.
pub(super) enum Joined<T> {
    First {
        caller: Caller<T>,
        execution: ExecutionId,
    },
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

enum Found<T> {
    Joined(Joined<T>),
    /// A stale result, and nobody executes the key.
    Stale(Hit),
    Nothing,
}

impl<K: Clone + Eq + Hash> Keys<K> {
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
        let key = (key, rejected());
        // The key's `Clone` and `Drop` are the user's: both run without the lock.
        let marked_key = key.clone();
        let shown = self.shown(&key.0);
        let mut marked = self.marked();
        if let Some(held) = marked.map.get(&key) {
            let job = held.job;
            marked.counts.rejected += 1;
            drop(marked);
            return Err(job);
        }
        let id = marked.next;
        marked.next += 1;
        marked.counts.executions += 1;
        marked.map.insert(
            marked_key,
            Mark {
                id,
                job,
                work: None,
                flight: None,
                shown,
                renews: false,
            },
        );
        drop(marked);
        Ok(Lead {
            keys: Arc::clone(self),
            key,
            id,
        })
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
        let key = (key, TypeId::of::<F::Output>());
        let stale = match self.find(&key, asked) {
            Found::Joined(joined) => return joined,
            Found::Stale(hit) => Some(hit),
            Found::Nothing => None,
        };
        // Nobody's job is to renew a result: its caller has it already.
        let job = if stale.is_none() { job } else { None };
        // Built outside the lock, as that runs the service's `Clone`.
        let id = {
            let mut marked = self.marked();
            marked.next += 1;
            marked.next - 1
        };
        let lead = Lead {
            keys: Arc::clone(self),
            key: key.clone(),
            id,
        };
        let (flight, first) = Flight::new(Box::pin(begin(lead, job.cloned())));
        let flight: Arc<dyn AnyFlight> = flight;
        let shown = self.shown(&key.0);
        loop {
            let marked_key = key.clone();
            let in_the_way = {
                let mut marked = self.marked();
                // One that was in flight a moment ago may be over now.
                let hit = asked.and_then(|asked| marked.kept.get(&key, asked));
                if let Some(hit) = hit.filter(|hit| stale.is_none() || !hit.stale) {
                    marked.counts.answered(&hit);
                    drop(marked);
                    return Joined::Kept { hit, renewal: None };
                }
                match marked.map.get(&key) {
                    None => {
                        let mark = Mark {
                            id,
                            job: job.map(|job| job.id()),
                            work: job.map(Arc::downgrade),
                            flight: Some(flight),
                            shown,
                            renews: stale.is_some(),
                        };
                        if !marked.types.contains(&key.1) {
                            marked.types.push(key.1);
                        }
                        marked.map.insert(marked_key, mark);
                        marked.counts.executions += 1;
                        if let Some(hit) = &stale {
                            marked.counts.answered(hit);
                        }
                        drop(marked);
                        return match stale {
                            Some(hit) => Joined::Kept {
                                hit,
                                renewal: Some(first),
                            },
                            None => Joined::First {
                                caller: first,
                                execution: ExecutionId {
                                    table: self.table(),
                                    number: id,
                                },
                            },
                        };
                    }
                    Some(held) => held.execution(),
                }
            };
            // Somebody else was first meanwhile: join that one, and drop the flight made in vain.
            if let Some(hit) = stale {
                self.marked().counts.answered(&hit);
                return Joined::Kept { hit, renewal: None };
            }
            let mark = in_the_way.mark;
            if let Some(joined) = in_the_way.join(self.table()) {
                self.joined.fetch_add(1, Ordering::Relaxed);
                return joined;
            }
            self.unmark(&key, mark);
        }
    }

    fn find<T>(&self, key: &(K, TypeId), asked: Option<Asked>) -> Found<T>
    where
        T: Send + Sync + 'static,
    {
        let execution = {
            let mut marked = self.marked();
            if let Some(hit) = asked.and_then(|asked| marked.kept.get(key, asked)) {
                // It is renewed by a task, for which there has to be a runtime.
                if hit.stale && !marked.map.contains_key(key) && Handle::try_current().is_ok() {
                    return Found::Stale(hit);
                }
                marked.counts.answered(&hit);
                return Found::Joined(Joined::Kept { hit, renewal: None });
            }
            let Some(held) = marked.map.get(key) else {
                return Found::Nothing;
            };
            held.execution()
        };
        let mark = execution.mark;
        match execution.join(self.table()) {
            Some(joined) => {
                self.joined.fetch_add(1, Ordering::Relaxed);
                Found::Joined(joined)
            }
            None => {
                // Over, but its mark is not gone yet.
                self.unmark(key, mark);
                Found::Nothing
            }
        }
    }

    /// Tells this table from every other.
    fn table(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn unmark(&self, key: &(K, TypeId), id: u64) {
        let removed = {
            let mut marked = self.marked();
            match marked.map.get(key).filter(|held| held.id == id) {
                Some(held) => {
                    marked.counts.failed_renewals += u64::from(held.renews);
                    marked.map.remove_entry(key)
                }
                None => None,
            }
        };
        // The key and the flight are the user's: they go without the lock.
        drop(removed);
    }
}

/// Holds a key; it is free when this is dropped.
pub(super) struct Lead<K: Clone + Eq + Hash> {
    keys: Arc<Keys<K>>,
    key: (K, TypeId),
    id: u64,
}

impl<K: Clone + Eq + Hash> Lead<K> {
    /// Keeps what came out, unless the key was invalidated meanwhile.
    pub(super) fn keep(&self, response: Arc<dyn Any + Send + Sync>, asked: Asked) {
        let key = self.key.clone();
        let gone = {
            let mut marked = self.keys.marked();
            let of = match marked.map.get_mut(&self.key) {
                Some(mark) if mark.id == self.id => {
                    mark.renews = false;
                    mark.job
                }
                _ => return,
            };
            let entry = Entry {
                response,
                of,
                at: asked.now,
            };
            marked.kept.put(key, entry, asked)
        };
        drop(gone);
    }

    pub(super) fn execution(&self) -> ExecutionId {
        ExecutionId {
            table: self.keys.table(),
            number: self.id,
        }
    }

    /// Names the job that executes the key, where it was begun after the key was marked.
    pub(super) fn set_job(&self, job: JobId) {
        let mut marked = self.keys.marked();
        if let Some(mark) = marked
            .map
            .get_mut(&self.key)
            .filter(|mark| mark.id == self.id)
        {
            mark.job = Some(job);
        }
    }
}

impl<K: Clone + Eq + Hash> Drop for Lead<K> {
    fn drop(&mut self) {
        self.keys.unmark(&self.key, self.id);
    }
}

impl<K> fmt::Debug for Keys<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
