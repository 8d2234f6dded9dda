use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::flight::{Caller, Flight};
use crate::{event::JobId, job::core::Core};

/// The keys in flight, shared by the layer's clones.
pub struct Keys<K> {
    /// A leaf lock, but for the key's own `Eq` and `Hash`. No flight's lock is taken while it is held.
    marked: Mutex<Marked<K>>,
}

struct Marked<K> {
    /// One layer may be put around services whose outcomes differ in type and cannot be shared.
    map: HashMap<(K, TypeId), Mark>,
    next: u64,
}

struct Mark {
    /// Tells this mark from a later one of the same key.
    id: u64,
    job: Option<JobId>,
    /// The first caller's job, in which an execution that calls join is made.
    work: Option<Weak<Core>>,
    /// What to join, where calls join.
    flight: Option<Arc<dyn Any + Send + Sync>>,
}

impl<K> Default for Keys<K> {
    fn default() -> Self {
        Self {
            marked: Mutex::new(Marked {
                map: HashMap::new(),
                next: 0,
            }),
        }
    }
}

impl<K> Keys<K> {
    fn marked(&self) -> MutexGuard<'_, Marked<K>> {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.marked().map.len()
    }
}

/// What a call that may join became.
pub(super) enum Joined<T> {
    First(Caller<T>),
    Another {
        caller: Caller<T>,
        of: Option<JobId>,
        work: Option<Weak<Core>>,
    },
}

impl<K: Clone + Eq + Hash> Keys<K> {
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
        let key = (key, TypeId::of::<()>());
        // The key's `Clone` and `Drop` are the user's: both run without the lock.
        let marked_key = key.clone();
        let mut marked = self.marked();
        if let Some(held) = marked.map.get(&key) {
            let job = held.job;
            drop(marked);
            return Err(job);
        }
        let id = marked.next;
        marked.next += 1;
        marked.map.insert(
            marked_key,
            Mark {
                id,
                job,
                work: None,
                flight: None,
            },
        );
        drop(marked);
        Ok(Lead {
            keys: Arc::clone(self),
            key,
            id,
        })
    }

    /// Joins the key's flight, or begins one with what `begin` makes, which holds the lead.
    pub(super) fn join_or_begin<F>(
        self: &Arc<Self>,
        key: K,
        job: Option<&Arc<Core>>,
        begin: impl FnOnce(Lead<K>) -> F,
    ) -> Joined<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + Sync + 'static,
    {
        let key = (key, TypeId::of::<F::Output>());
        if let Some(joined) = self.join(&key) {
            return joined;
        }
        // Built outside the lock, as that runs the service's `Clone`.
        let id = {
            let mut marked = self.marked();
            marked.next += 1;
            marked.next - 1
        };
        let (flight, first) = Flight::new(Box::pin(begin(Lead {
            keys: Arc::clone(self),
            key: key.clone(),
            id,
        })));
        let flight: Arc<dyn Any + Send + Sync> = flight;
        loop {
            let marked_key = key.clone();
            let in_the_way = {
                let mut marked = self.marked();
                match marked.map.get(&key) {
                    None => {
                        let mark = Mark {
                            id,
                            job: job.map(|job| job.id()),
                            work: job.map(Arc::downgrade),
                            flight: Some(flight),
                        };
                        marked.map.insert(marked_key, mark);
                        drop(marked);
                        return Joined::First(first);
                    }
                    Some(held) => (held.id, held.flight.clone(), held.job, held.work.clone()),
                }
            };
            // Somebody else was first meanwhile: join that one, and drop the flight made in vain.
            let (held, other, of, work) = in_the_way;
            if let Some(caller) =
                other.and_then(|other| other.downcast::<Flight<F::Output>>().ok()?.join())
            {
                return Joined::Another { caller, of, work };
            }
            self.unmark(&key, held);
        }
    }

    fn join<T>(&self, key: &(K, TypeId)) -> Option<Joined<T>>
    where
        T: Send + Sync + 'static,
    {
        let (id, flight, of, work) = {
            let marked = self.marked();
            let held = marked.map.get(key)?;
            (held.id, held.flight.clone(), held.job, held.work.clone())
        };
        match flight.and_then(|flight| flight.downcast::<Flight<T>>().ok()?.join()) {
            Some(caller) => Some(Joined::Another { caller, of, work }),
            None => {
                // Over, but its mark is not gone yet.
                self.unmark(key, id);
                None
            }
        }
    }

    fn unmark(&self, key: &(K, TypeId), id: u64) {
        let removed = {
            let mut marked = self.marked();
            if marked.map.get(key).is_some_and(|held| held.id == id) {
                marked.map.remove_entry(key)
            } else {
                None
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
