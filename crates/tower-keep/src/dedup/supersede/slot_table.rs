//! The calls in flight where a newer one takes the slot of an older one.

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
        in_flight::{InFlight, ListedKey},
        mode::Debounce,
    },
    slot::{Decision, Left, Slot},
};
use crate::{
    event::{CancelReason, JobId},
    job::core::{By, Core},
    sync::{
        AtomicWaker, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Which rule a slot has: the clones of a layer share their keys, but may differ in their modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rule {
    Latest,
    Debounce,
}

pub(crate) struct SlotTable<K> {
    /// A leaf lock, but for the key's own `Eq`.
    table: Mutex<Table<K>>,
    hasher: RandomState,
    next: AtomicU64,
}

struct Table<K> {
    /// No slot in it is free.
    slots: HashTable<Keyed<K>>,
    executions: u64,
    replaced: u64,
}

struct Keyed<K> {
    key: K,
    rule: Rule,
    at: At,
    slot: CallSlot<K>,
}

/// Where a slot is in the table: a call that leaves compares no keys, as their `Eq` may panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    hash: u64,
    /// The call for which the slot was made.
    first: u64,
}

impl<K> Table<K> {
    fn find(&mut self, at: At) -> Option<OccupiedEntry<'_, Keyed<K>>> {
        self.slots.find_entry(at.hash, |keyed| keyed.at == at).ok()
    }
}

impl<K> Default for SlotTable<K> {
    fn default() -> Self {
        Self {
            table: Mutex::new(Table {
                slots: HashTable::new(),
                executions: 0,
                replaced: 0,
            }),
            hasher: RandomState::new(),
            next: AtomicU64::new(0),
        }
    }
}

type CallSlot<K> = Slot<Arc<Call<K>>, Instant>;

/// What other calls see of a call.
struct Call<K> {
    id: u64,
    decision: Decision,
    /// Wakes it when it is replaced, or when it can begin.
    waker: AtomicWaker,
    /// The job that it belongs to, once that is known.
    job: OnceLock<(JobId, Weak<Core>)>,
    /// The job that took its slot; set before the decision says so.
    by: OnceLock<JobId>,
    listed: Option<Arc<ListedKey<K>>>,
}

impl<K> Call<K> {
    fn new(id: u64, job: Option<&Arc<Core>>, listed: Option<Arc<ListedKey<K>>>) -> Arc<Self> {
        let call = Self {
            id,
            decision: Decision::new(),
            waker: AtomicWaker::new(),
            job: OnceLock::new(),
            by: OnceLock::new(),
            listed,
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

    /// A job in this slot that began after this one: a retry around the layer comes back with its older job, and must
    /// not take the slot from it.
    fn newer(slot: &CallSlot<K>, than: Option<JobId>) -> Option<JobId> {
        let than = than?;
        let mut jobs = slot.calls().filter_map(|(call, _)| call.job_id());
        jobs.find(|job| *job > than)
    }

    /// A call of this job has its slot now; `false` if it was over before.
    fn replace(&self, by: Option<JobId>) -> bool {
        if let Some(by) = by {
            let _ = self.by.set(by);
        }
        self.decision.replace()
    }

    /// Lets go of a call that has left its slot, and wakes the next call. Without the lock.
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

impl<K> SlotTable<K> {
    fn table(&self) -> MutexGuard<'_, Table<K>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.table().slots.len()
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
            let calls = table.slots.iter().flat_map(|keyed| keyed.slot.calls());
            calls
                .map(|(call, waits)| (Arc::clone(call), waits))
                .collect()
        };
        let listed = calls.iter().filter_map(|(call, waits)| {
            let listed = call.listed.as_ref()?;
            Some(listed.in_flight(call.job_id(), 0, *waits))
        });
        listed.collect()
    }
}

impl<K: Eq + Hash> SlotTable<K> {
    /// Forgets the calls that run: they go on for their callers, and no other call replaces or waits for them.
    pub(crate) fn invalidate_all(&self) {
        let mut left = Vec::new();
        let free: Vec<_> = {
            let mut table = self.table();
            let forgotten = table.slots.iter_mut().map(|keyed| keyed.slot.forget());
            left.extend(forgotten);
            let free = table.slots.extract_if(|keyed| keyed.slot.is_free());
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
                let Ok(mut entry) = table.slots.find_entry(hash, has_key) else {
                    continue;
                };
                let left = entry.get_mut().slot.forget();
                (left, remove_free(entry))
            };
            drop(free);
            Call::tell_left(left);
        }
    }
}

/// Takes the slot out of the table if it is free. It goes without the lock.
#[must_use]
fn remove_free<K>(entry: OccupiedEntry<'_, Keyed<K>>) -> Option<Keyed<K>> {
    let is_free = entry.get().slot.is_free();
    is_free.then(|| entry.remove().0)
}

/// A call's slot, or that it waits for it. Others can have it when this is dropped.
pub(crate) struct SlotGuard<K> {
    slots: Arc<SlotTable<K>>,
    rule: Rule,
    at: At,
    call: Arc<Call<K>>,
}

/// What a call does that lined up.
pub(crate) enum Admission {
    /// It has the slot.
    Begins,
    /// Until then; `None` is never.
    Waits(Option<Instant>),
}

impl<K: Eq + Hash> SlotTable<K> {
    /// The slot of this key for a call of this job, which has it at once.
    pub(crate) fn take_slot(
        self: &Arc<Self>,
        key: K,
        listed: Option<Arc<ListedKey<K>>>,
        job: Option<&Arc<Core>>,
    ) -> (SlotGuard<K>, Admission) {
        self.enter(key, Rule::Latest, listed, job, |slot, call| {
            (slot.take(call.id, call), Admission::Begins)
        })
    }

    /// A wait for the slot of this key, which the call has at once if there is nothing to wait for.
    pub(crate) fn queue(
        self: &Arc<Self>,
        key: K,
        listed: Option<Arc<ListedKey<K>>>,
        job: Option<&Arc<Core>>,
        mode: &Debounce,
    ) -> (SlotGuard<K>, Admission) {
        let now = Instant::now();
        self.enter(key, Rule::Debounce, listed, job, |slot, call| {
            let id = call.id;
            let queued = slot.queue(id, call, now);
            let due = mode.due(queued.since, now);
            let admission = if due.is_some_and(|due| due <= now) && slot.start(id) {
                Admission::Begins
            } else {
                Admission::Waits(due)
            };
            (queued.replaced, admission)
        })
    }

    /// Makes a call known by what `take` does with its slot, and tells the call that `take` found in it.
    fn enter(
        self: &Arc<Self>,
        key: K,
        rule: Rule,
        listed: Option<Arc<ListedKey<K>>>,
        job: Option<&Arc<Core>>,
        take: impl FnOnce(&mut CallSlot<K>, Arc<Call<K>>) -> (Option<Arc<Call<K>>>, Admission),
    ) -> (SlotGuard<K>, Admission) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let call = Call::new(id, job, listed);
        let hash = self.hasher.hash_one(&key);
        // Where the table has the key already, this one goes without the lock.
        let mut key = Some(key);
        let own_call = Arc::clone(&call);
        let by = call.job_id();
        let (before, admission, at) = {
            let mut table = self.table();
            let has_key = |keyed: &Keyed<K>| keyed.rule == rule && Some(&keyed.key) == key.as_ref();
            let mut entry = match table.slots.entry(hash, has_key, |keyed| keyed.at.hash) {
                Entry::Occupied(entry) => entry,
                Entry::Vacant(vacant) => {
                    let Some(key) = key.take() else {
                        unreachable!("it is taken once")
                    };
                    vacant.insert(Keyed {
                        key,
                        rule,
                        at: At { hash, first: id },
                        slot: Slot::default(),
                    })
                }
            };
            let Keyed { at, slot, .. } = entry.get_mut();
            let at = *at;
            let newer = Call::newer(slot, by);
            let (before, by, admission) = match newer {
                // It never comes into the slot.
                Some(newer) => (Some(call), Some(newer), Admission::Begins),
                None => {
                    let (before, admission) = take(slot, call);
                    (before, by, admission)
                }
            };
            let begins = newer.is_none() && matches!(admission, Admission::Begins);
            table.executions += u64::from(begins);
            let replaced = before.as_ref().is_some_and(|before| before.replace(by));
            table.replaced += u64::from(replaced);
            (before.map(|before| (before, replaced)), admission, at)
        };
        let guard = SlotGuard {
            slots: Arc::clone(self),
            rule,
            at,
            call: own_call,
        };
        if let Some((before, true)) = before {
            before.tell_replaced();
        }
        (guard, admission)
    }
}

impl<K> SlotGuard<K> {
    /// The waiting call is due: whether it has the slot now. If not, it is woken once it can have it.
    pub(crate) fn start(&self) -> bool {
        let mut table = self.slots.table();
        let begins = table
            .find(self.at)
            .is_some_and(|mut entry| entry.get_mut().slot.start(self.call.id));
        table.executions += u64::from(begins);
        begins
    }

    /// The call has its result; `false` if it was replaced before.
    pub(crate) fn finish(&self) -> bool {
        self.call.decision.finish()
    }

    pub(crate) fn is_replaced(&self) -> bool {
        self.call.decision.is_replaced()
    }

    /// The job that took its slot, if that is known.
    pub(crate) fn replaced_by(&self) -> Option<JobId> {
        self.call.by.get().copied()
    }

    /// Whether a newer call may take the slot of this one while it runs.
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

impl<K> Drop for SlotGuard<K> {
    fn drop(&mut self) {
        let (left, free) = {
            let mut table = self.slots.table();
            let Some(mut entry) = table.find(self.at) else {
                return;
            };
            let left = entry.get_mut().slot.leave(self.call.id);
            (left, remove_free(entry))
        };
        // The key and the wakers are the user's: they go without the lock.
        drop(free);
        Call::tell_left(left);
    }
}
