//! The calls in flight where a newer one takes the place of an older one.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Arc, PoisonError, Weak},
    task::Waker,
};

use hashbrown::{
    HashTable,
    hash_table::{Entry, OccupiedEntry},
};
use tokio::time::Instant;

use super::{
    super::{
        counts::DedupCounts,
        in_flight::{InFlight, Shown},
        mode::Debounce,
    },
    place::{Left, Place, Turn},
};
use crate::{
    event::{CancelReason, JobId},
    job::core::{By, Core},
    sync::{
        AtomicWaker, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Which rule a place has: the clones of a layer share their keys, but may differ in their modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rule {
    Latest,
    Debounce,
}

pub(crate) struct Places<K> {
    /// A leaf lock, but for the key's own `Eq`.
    table: Mutex<Table<K>>,
    hasher: RandomState,
    next: AtomicU64,
}

struct Table<K> {
    /// No place in it is free.
    places: HashTable<Keyed<K>>,
    executions: u64,
    replaced: u64,
}

struct Keyed<K> {
    key: K,
    rule: Rule,
    at: At,
    place: CallPlace<K>,
}

/// Where a place is in the table: a call that leaves compares no keys, as their `Eq` may panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    hash: u64,
    /// The call for which the place was made.
    first: u64,
}

impl<K> Table<K> {
    fn find(&mut self, at: At) -> Option<OccupiedEntry<'_, Keyed<K>>> {
        self.places.find_entry(at.hash, |keyed| keyed.at == at).ok()
    }
}

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self {
            table: Mutex::new(Table {
                places: HashTable::new(),
                executions: 0,
                replaced: 0,
            }),
            hasher: RandomState::new(),
            next: AtomicU64::new(0),
        }
    }
}

type CallPlace<K> = Place<Arc<Call<K>>, Instant>;

/// What other calls see of a call.
struct Call<K> {
    id: u64,
    turn: Turn,
    /// Wakes it when it is replaced, or when it can begin.
    waker: AtomicWaker,
    /// The job that it belongs to, once that is known.
    job: OnceLock<(JobId, Weak<Core>)>,
    /// The job that took its place; set before the turn says so.
    by: OnceLock<JobId>,
    shown: Option<Arc<Shown<K>>>,
}

impl<K> Call<K> {
    fn new(id: u64, job: Option<&Arc<Core>>, shown: Option<Arc<Shown<K>>>) -> Arc<Self> {
        let call = Self {
            id,
            turn: Turn::new(),
            waker: AtomicWaker::new(),
            job: OnceLock::new(),
            by: OnceLock::new(),
            shown,
        };
        if let Some(job) = job {
            call.set_job(job);
        }
        Arc::new(call)
    }

    fn set_job(&self, job: &Arc<Core>) {
        let _ = self.job.set((job.id(), Arc::downgrade(job)));
    }

    fn job_id(&self) -> Option<JobId> {
        self.job.get().map(|(id, _)| *id)
    }

    /// A job in this place that began after this one: a retry around the layer comes back with its older job, and must
    /// not take the place from it.
    fn newer(place: &CallPlace<K>, than: Option<JobId>) -> Option<JobId> {
        let than = than?;
        let mut jobs = place.calls().filter_map(|(call, _)| call.job_id());
        jobs.find(|job| *job > than)
    }

    /// A call of this job has its place now; `false` if it was over before.
    fn replace(&self, by: Option<JobId>) -> bool {
        if let Some(by) = by {
            let _ = self.by.set(by);
        }
        self.turn.replace()
    }

    /// Lets go of a call that has left its place, and wakes the next call. Without the lock.
    fn tell_left(left: Left<Arc<Self>>) {
        drop(left.gone);
        if let Some(next) = left.next {
            next.waker.wake();
        }
    }

    /// Tells a replaced call, and what works for its job. Without the lock.
    fn tell_replaced(&self) {
        if let Some((id, job)) = self.job.get() {
            // Two calls of one job, as a hedge around the layer makes them: the job goes on.
            if self.by.get() != Some(id) {
                if let Some(job) = job.upgrade() {
                    // It drops its share of a joined execution itself.
                    job.cancel(CancelReason::Replaced, By::Leaving);
                }
            }
        }
        self.waker.wake();
    }
}

impl<K> Places<K> {
    fn table(&self) -> MutexGuard<'_, Table<K>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.table().places.len()
    }

    /// Adds what was counted here.
    pub(crate) fn count(&self, counts: &mut DedupCounts) {
        let table = self.table();
        counts.executions += table.executions;
        counts.replaced += table.replaced;
    }

    /// The calls that came while there was a handle.
    pub(crate) fn in_flight(&self) -> Vec<InFlight<K>>
    where
        K: Clone,
    {
        let calls: Vec<_> = {
            let table = self.table();
            let calls = table.places.iter().flat_map(|keyed| keyed.place.calls());
            calls
                .map(|(call, waits)| (Arc::clone(call), waits))
                .collect()
        };
        let shown = calls.iter().filter_map(|(call, waits)| {
            let shown = call.shown.as_ref()?;
            Some(shown.in_flight(call.job_id(), 0, *waits))
        });
        shown.collect()
    }
}

impl<K: Eq + Hash> Places<K> {
    /// Forgets the calls that run: they go on for their callers, and no other call replaces or waits for them.
    pub(crate) fn invalidate_all(&self) {
        let mut left = Vec::new();
        let free: Vec<_> = {
            let mut table = self.table();
            let forgotten = table.places.iter_mut().map(|keyed| keyed.place.forget());
            left.extend(forgotten);
            let free = table.places.extract_if(|keyed| keyed.place.is_free());
            free.collect()
        };
        drop(free);
        left.into_iter().for_each(Call::tell_left);
    }

    /// As [`invalidate_all`](Self::invalidate_all), for one key.
    pub(crate) fn invalidate(&self, key: &K) {
        let hash = self.hasher.hash_one(key);
        for rule in [Rule::Latest, Rule::Debounce] {
            let (left, free) = {
                let mut table = self.table();
                let has_key = |keyed: &Keyed<K>| keyed.rule == rule && keyed.key == *key;
                let Ok(mut entry) = table.places.find_entry(hash, has_key) else {
                    continue;
                };
                let left = entry.get_mut().place.forget();
                (left, remove_free(entry))
            };
            drop(free);
            Call::tell_left(left);
        }
    }
}

/// Takes the place out of the table if it is free. It goes without the lock.
#[must_use]
fn remove_free<K>(entry: OccupiedEntry<'_, Keyed<K>>) -> Option<Keyed<K>> {
    let is_free = entry.get().place.is_free();
    is_free.then(|| entry.remove().0)
}

/// A call's place, or that it waits for it. Others can have it when this is dropped.
pub(crate) struct Hold<K> {
    places: Arc<Places<K>>,
    rule: Rule,
    at: At,
    call: Arc<Call<K>>,
}

/// What a call does that lined up.
pub(crate) enum Turned {
    /// It has the place.
    Begins,
    /// Until then; `None` is never.
    Waits(Option<Instant>),
}

impl<K: Eq + Hash> Places<K> {
    /// The place of this key for a call of this job, which has it at once.
    pub(crate) fn take_place(
        self: &Arc<Self>,
        key: K,
        shown: Option<Arc<Shown<K>>>,
        job: Option<&Arc<Core>>,
    ) -> (Hold<K>, Turned) {
        self.enter(key, Rule::Latest, shown, job, |place, call| {
            (place.take(call.id, call), Turned::Begins)
        })
    }

    /// A wait for the place of this key, which the call has at once if there is nothing to wait for.
    pub(crate) fn line_up(
        self: &Arc<Self>,
        key: K,
        shown: Option<Arc<Shown<K>>>,
        job: Option<&Arc<Core>>,
        mode: &Debounce,
    ) -> (Hold<K>, Turned) {
        let now = Instant::now();
        self.enter(key, Rule::Debounce, shown, job, |place, call| {
            let id = call.id;
            let lined_up = place.line_up(id, call, now);
            let due = mode.due(lined_up.since, now);
            let turned = if due.is_some_and(|due| due <= now) && place.start(id) {
                Turned::Begins
            } else {
                Turned::Waits(due)
            };
            (lined_up.replaced, turned)
        })
    }

    /// Makes a call known by what `take` does with its place, and tells the call that `take` found in it.
    fn enter(
        self: &Arc<Self>,
        key: K,
        rule: Rule,
        shown: Option<Arc<Shown<K>>>,
        job: Option<&Arc<Core>>,
        take: impl FnOnce(&mut CallPlace<K>, Arc<Call<K>>) -> (Option<Arc<Call<K>>>, Turned),
    ) -> (Hold<K>, Turned) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let call = Call::new(id, job, shown);
        let hash = self.hasher.hash_one(&key);
        // Where the table has the key already, this one goes without the lock.
        let mut key = Some(key);
        let hold_call = Arc::clone(&call);
        let by = call.job_id();
        let (before, turned, at) = {
            let mut table = self.table();
            let has_key = |keyed: &Keyed<K>| keyed.rule == rule && Some(&keyed.key) == key.as_ref();
            let mut entry = match table.places.entry(hash, has_key, |keyed| keyed.at.hash) {
                Entry::Occupied(entry) => entry,
                Entry::Vacant(vacant) => {
                    let Some(key) = key.take() else {
                        unreachable!("it is taken once")
                    };
                    vacant.insert(Keyed {
                        key,
                        rule,
                        at: At { hash, first: id },
                        place: Place::default(),
                    })
                }
            };
            let Keyed { at, place, .. } = entry.get_mut();
            let at = *at;
            let newer = Call::newer(place, by);
            let (before, by, turned) = match newer {
                // It never comes into the place.
                Some(newer) => (Some(call), Some(newer), Turned::Begins),
                None => {
                    let (before, turned) = take(place, call);
                    (before, by, turned)
                }
            };
            let begins = newer.is_none() && matches!(turned, Turned::Begins);
            table.executions += u64::from(begins);
            let replaced = before.as_ref().is_some_and(|before| before.replace(by));
            table.replaced += u64::from(replaced);
            (before.map(|before| (before, replaced)), turned, at)
        };
        let hold = Hold {
            places: Arc::clone(self),
            rule,
            at,
            call: hold_call,
        };
        if let Some((before, true)) = before {
            before.tell_replaced();
        }
        (hold, turned)
    }
}

impl<K> Hold<K> {
    /// The waiting call is due: whether it has the place now. If not, it is woken once it can have it.
    pub(crate) fn start(&self) -> bool {
        let mut table = self.places.table();
        let begins = table
            .find(self.at)
            .is_some_and(|mut entry| entry.get_mut().place.start(self.call.id));
        table.executions += u64::from(begins);
        begins
    }

    /// The call has its result; `false` if it was replaced before.
    pub(crate) fn finish(&self) -> bool {
        self.call.turn.finish()
    }

    pub(crate) fn is_replaced(&self) -> bool {
        self.call.turn.is_replaced()
    }

    /// The job that took its place, if that is known.
    pub(crate) fn replaced_by(&self) -> Option<JobId> {
        self.call.by.get().copied()
    }

    /// Whether a newer call may take the place of this one while it runs.
    pub(crate) fn is_replaceable(&self) -> bool {
        self.rule == Rule::Latest
    }

    /// Where it waits. Ask once more afterwards.
    pub(crate) fn register(&self, waker: &Waker) {
        self.call.waker.register(waker);
    }

    /// Names the job, where it was begun after the call came.
    pub(crate) fn set_job(&self, job: &Arc<Core>) {
        self.call.set_job(job);
    }
}

impl<K> Drop for Hold<K> {
    fn drop(&mut self) {
        let (left, free) = {
            let mut table = self.places.table();
            let Some(mut entry) = table.find(self.at) else {
                return;
            };
            let left = entry.get_mut().place.leave(self.call.id);
            (left, remove_free(entry))
        };
        // The key and the wakers are the user's: they go without the lock.
        drop(free);
        Call::tell_left(left);
    }
}
