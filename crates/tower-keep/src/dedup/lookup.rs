//! Looks a key up: returns its cached result, joins its execution, or begins one.

use std::{
    hash::Hash,
    sync::{Arc, Weak},
};

use tokio::runtime::Handle;

use super::{
    cache::{CacheAccess, Hit},
    coalesce::flight::{AnyFlight, Caller, Flight, FlightFuture},
    key_table::{InFlightEntry, KeyGuard, KeyTable, TableState},
    typed_key::TypedKey,
};
use crate::{
    event::JobId,
    job::core::{Core, sharing::ExecutionId},
};

/// The role of a call in join mode.
pub(super) enum Joined<T> {
    Leader(Caller<T>),
    Follower {
        caller: Caller<T>,
        execution: ExecutionId,
        of: Option<JobId>,
        work: Option<Weak<Core>>,
    },
    /// A cached result. If it is stale and no execution is in flight, `revalidation` is the leader
    /// of a new one.
    Hit {
        hit: Hit,
        revalidation: Option<Caller<T>>,
    },
}

/// Why an execution begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A call waits for it.
    Call,
    /// It revalidates a cached result. Its caller already has the stale one.
    Revalidation,
}

/// The result of a lookup.
enum Lookup {
    Fresh(Hit),
    /// A stale result, to be revalidated by an execution that is in flight or begins now.
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

impl<K: Eq + Hash> TableState<K> {
    fn lookup(&mut self, hash: u64, key: &TypedKey<K>, access: Option<CacheAccess>) -> Lookup {
        let stale = match access.and_then(|access| self.cache.get(hash, key, access)) {
            Some(hit) if !hit.stale => return Lookup::Fresh(hit),
            stale => stale,
        };
        let running = self.in_flight.find(hash, |entry| entry.key == *key);
        match (stale, running) {
            (Some(hit), running) => Lookup::Stale {
                hit,
                running: running.is_some(),
            },
            (None, Some(entry)) => Lookup::Running {
                id: entry.id,
                of: entry.job,
                work: entry.work.clone(),
                flight: entry.flight.clone(),
            },
            (None, None) => Lookup::Vacant,
        }
    }
}

impl<K: Clone + Eq + Hash> KeyTable<K> {
    /// Returns the key's cached result, joins its flight, or begins a flight with the future that
    /// `begin` makes. That future holds the guard.
    pub(super) fn join_or_begin<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        key: K,
        job: Option<&Arc<Core>>,
        access: Option<CacheAccess>,
        begin: impl FnOnce(KeyGuard<K>, Option<Arc<Core>>, Purpose) -> FlightFuture<T>,
    ) -> Joined<T> {
        let listed = self.listed(&key);
        let hash = self.hash(&key);
        let key = TypedKey::of::<T>(key);
        loop {
            let mut state = self.state();
            let stale = match state.lookup(hash, &key, access) {
                Lookup::Vacant => None,
                // A task revalidates it, which needs a runtime.
                Lookup::Stale {
                    hit,
                    running: false,
                } if Handle::try_current().is_ok() => Some(hit),
                Lookup::Fresh(hit) | Lookup::Stale { hit, .. } => {
                    state.counts.count_hit(&hit);
                    drop(state);
                    return Joined::Hit {
                        hit,
                        revalidation: None,
                    };
                }
                Lookup::Running {
                    id,
                    of,
                    work,
                    flight,
                } => {
                    drop(state);
                    if let Some(caller) = flight.and_then(join) {
                        let execution = self.execution(id);
                        return Joined::Follower {
                            caller,
                            execution,
                            of,
                            work,
                        };
                    }
                    // The flight is over, but its entry is still there.
                    self.remove(hash, id);
                    continue;
                }
            };
            let purpose = match stale {
                Some(_) => Purpose::Revalidation,
                None => Purpose::Call,
            };
            // A revalidation belongs to no job: its caller has a result already.
            let job = if stale.is_none() { job } else { None };
            if let Some(hit) = &stale {
                state.counts.count_hit(hit);
            }
            let (flight, unusable) = state.flight();
            let leader = flight.leader();
            state.executions += 1;
            let id = state.executions;
            let entry = InFlightEntry {
                key,
                hash,
                id,
                job: job.map(|job| job.id()),
                work: job.map(Arc::downgrade),
                flight: Some(flight),
                listed,
                revalidates: stale.is_some(),
            };
            state
                .in_flight
                .insert_unique(hash, entry, |entry| entry.hash);
            drop(state);
            drop(unusable);
            // Without the lock, as it runs the service's `Clone`.
            let guard = self.guard(hash, id);
            leader.launch(|| begin(guard, job.cloned(), purpose));
            return match stale {
                Some(hit) => Joined::Hit {
                    hit,
                    revalidation: Some(leader),
                },
                None => Joined::Leader(leader),
            };
        }
    }
}

/// Returns `None` if the flight is over. Called without the table's lock.
fn join<T: Send + Sync + 'static>(flight: Arc<dyn AnyFlight>) -> Option<Caller<T>> {
    flight.any().downcast::<Flight<T>>().ok()?.join()
}
