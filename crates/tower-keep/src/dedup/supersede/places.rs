//! The calls in flight where a newer one takes the place of an older one.

use std::{
    collections::HashMap,
    hash::Hash,
    mem,
    sync::{Arc, PoisonError, Weak},
    task::Waker,
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
    /// A leaf lock, but for the key's own `Eq` and `Hash`.
    table: Mutex<Table<K>>,
    next: AtomicU64,
}

struct Table<K> {
    /// No place in it is free.
    map: HashMap<(K, Rule), CallPlace<K>>,
    executions: u64,
    replaced: u64,
}

impl<K> Default for Places<K> {
    fn default() -> Self {
        Self {
            table: Mutex::new(Table {
                map: HashMap::new(),
                executions: 0,
                replaced: 0,
            }),
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
        self.table().map.len()
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
            let calls = table.map.values().flat_map(Place::calls);
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

impl<K: Clone + Eq + Hash> Places<K> {
    /// Forgets the calls that run: they go on for their callers, and no other call replaces or waits for them.
    pub(crate) fn invalidate_all(&self) {
        let (left, free) = {
            let mut table = self.table();
            let mut left = Vec::with_capacity(table.map.len());
            let places = mem::take(&mut table.map).into_iter();
            let (free, taken): (HashMap<_, _>, _) = places.partition(|(_, place)| {
                // Without a waiting call the place has only the running one.
                place.calls().all(|(_, waits)| !waits)
            });
            table.map = taken;
            left.extend(table.map.values_mut().map(Place::forget));
            (left, free)
        };
        drop(free);
        left.into_iter().for_each(Call::tell_left);
    }

    /// As [`invalidate_all`](Self::invalidate_all), for one key.
    pub(crate) fn invalidate(&self, key: &K) {
        for rule in [Rule::Latest, Rule::Debounce] {
            let key = (key.clone(), rule);
            let (left, free) = {
                let mut table = self.table();
                let Some(place) = table.map.get_mut(&key) else {
                    continue;
                };
                let left = place.forget();
                let free = place.is_free();
                (left, free.then(|| table.map.remove_entry(&key)))
            };
            drop(free);
            Call::tell_left(left);
        }
    }
}

/// A call's place, or that it waits for it. Others can have it when this is dropped.
pub(crate) struct Hold<K: Clone + Eq + Hash> {
    places: Arc<Places<K>>,
    key: (K, Rule),
    call: Arc<Call<K>>,
}

/// What a call does that lined up.
pub(crate) enum Turned {
    /// It has the place.
    Begins,
    /// Until then; `None` is never.
    Waits(Option<Instant>),
}

impl<K: Clone + Eq + Hash> Places<K> {
    /// The place of this key for a call of this job, which has it at once.
    pub(crate) fn take_place(
        self: &Arc<Self>,
        key: K,
        shown: Option<Arc<Shown<K>>>,
        job: Option<&Arc<Core>>,
    ) -> (Hold<K>, Turned) {
        self.enter((key, Rule::Latest), shown, job, |place, call| {
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
        self.enter((key, Rule::Debounce), shown, job, |place, call| {
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
        key: (K, Rule),
        shown: Option<Arc<Shown<K>>>,
        job: Option<&Arc<Core>>,
        take: impl FnOnce(&mut CallPlace<K>, Arc<Call<K>>) -> (Option<Arc<Call<K>>>, Turned),
    ) -> (Hold<K>, Turned) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let call = Call::new(id, job, shown);
        // The key's `Clone` and `Drop` are the user's: both run without the lock.
        let marked_key = key.clone();
        let hold = Hold {
            places: Arc::clone(self),
            key,
            call: Arc::clone(&call),
        };
        let (before, turned) = {
            let mut table = self.table();
            let by = hold.call.job_id();
            let place = table.map.get_mut(&hold.key);
            let newer = place.as_ref().and_then(|place| Call::newer(place, by));
            let (before, by, turned) = match (newer, place) {
                // It never comes into the place.
                (Some(newer), _) => (Some(call), Some(newer), Turned::Begins),
                (None, Some(place)) => {
                    let (before, turned) = take(place, call);
                    (before, by, turned)
                }
                (None, None) => {
                    let (before, turned) = take(table.map.entry(marked_key).or_default(), call);
                    (before, by, turned)
                }
            };
            let begins = newer.is_none() && matches!(turned, Turned::Begins);
            table.executions += u64::from(begins);
            let replaced = before.as_ref().is_some_and(|before| before.replace(by));
            table.replaced += u64::from(replaced);
            (before.map(|before| (before, replaced)), turned)
        };
        if let Some((before, true)) = before {
            before.tell_replaced();
        }
        (hold, turned)
    }
}

impl<K: Clone + Eq + Hash> Hold<K> {
    /// The waiting call is due: whether it has the place now. If not, it is woken once it can have it.
    pub(crate) fn start(&self) -> bool {
        let mut table = self.places.table();
        let begins = match table.map.get_mut(&self.key) {
            Some(place) => place.start(self.call.id),
            None => false,
        };
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
        self.key.1 == Rule::Latest
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

impl<K: Clone + Eq + Hash> Drop for Hold<K> {
    fn drop(&mut self) {
        let (left, free) = {
            let mut table = self.places.table();
            let Some(place) = table.map.get_mut(&self.key) else {
                return;
            };
            let left = place.leave(self.call.id);
            let free = place.is_free();
            (left, free.then(|| table.map.remove_entry(&self.key)))
        };
        // The key and the wakers are the user's: they go without the lock.
        drop(free);
        Call::tell_left(left);
    }
}
