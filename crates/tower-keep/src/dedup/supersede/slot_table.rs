//! The slots of all keys: which call runs, which waits, and which was replaced by which job.

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
    slot::{LeftSlot, Slot, SlotDecision},
};
use crate::{
    event::{CancelReason, JobId},
    job::core::{By, Core},
    sync::{
        AtomicWaker, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// The mode of a slot. A layer's clones share their keys, but may differ in their modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rule {
    Latest,
    Debounce,
}

pub(crate) struct SlotTable<K> {
    /// A leaf lock, except for the key's own `Eq`.
    table: Mutex<Table<K>>,
    hasher: RandomState,
    next: AtomicU64,
}

struct Table<K> {
    /// Contains no free slot.
    slots: HashTable<KeyedSlot<K>>,
    executions: u64,
    replaced: u64,
}

struct KeyedSlot<K> {
    key: K,
    rule: Rule,
    position: Position,
    slot: CallSlot<K>,
}

/// The position of a slot in the table. A call that leaves compares no keys, as their `Eq` may
/// panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    hash: u64,
    /// The id of the call that created the slot.
    first: u64,
}

impl<K> Table<K> {
    fn find(&mut self, position: Position) -> Option<OccupiedEntry<'_, KeyedSlot<K>>> {
        self.slots
            .find_entry(position.hash, |keyed| keyed.position == position)
            .ok()
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

/// The part of a call that other calls see.
struct Call<K> {
    id: u64,
    decision: SlotDecision,
    /// Wakes the call when it is replaced, or when it can begin.
    waker: AtomicWaker,
    /// The call's job, once it is known.
    job: OnceLock<(JobId, Weak<Core>)>,
    /// The job that took the slot. Set before `decision`.
    by: OnceLock<JobId>,
    listed: Option<Arc<ListedKey<K>>>,
}

impl<K> Call<K> {
    fn new(id: u64, job: Option<&Arc<Core>>, listed: Option<Arc<ListedKey<K>>>) -> Arc<Self> {
        let call = Self {
            id,
            decision: SlotDecision::new(),
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

    /// Returns a job in this slot that began after `than`. A retry around the layer may call again
    /// for the older job, which must not take the slot from the newer one.
    fn newer(slot: &CallSlot<K>, than: Option<JobId>) -> Option<JobId> {
        let than = than?;
        let mut jobs = slot.calls().filter_map(|(call, _)| call.job_id());
        jobs.find(|job| *job > than)
    }

    /// A call of the job `by` takes this call's slot. Returns `false` if this call was over before.
    fn replace(&self, by: Option<JobId>) -> bool {
        if let Some(by) = by {
            let _ = self.by.set(by);
        }
        self.decision.replace()
    }

    /// Drops a call that has left its slot, and wakes the next call. Not under the lock.
    fn release(left: LeftSlot<Arc<Self>>) {
        drop(left.gone);
        if let Some(next) = left.next {
            next.waker.wake();
        }
    }

    /// Cancels the job of a replaced call, and wakes the call. Not under the lock.
    fn notify_replaced(&self) {
        if let Some((id, job)) = self.job.get() {
            // If both calls belong to one job, as with a hedge around the layer, the job continues.
            if self.by.get() != Some(id) {
                if let Some(job) = job.upgrade() {
                    // The job drops its share of a joined execution itself.
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

    /// Adds the counts of this table.
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
    /// Forgets the running calls. They continue for their callers, and no other call replaces them
    /// or waits for them.
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
        left.into_iter().for_each(Call::release);
    }

    /// As [`invalidate_all`](Self::invalidate_all), for one key.
    pub(crate) fn invalidate(&self, key: &K) {
        let hash = self.hasher.hash_one(key);
        for rule in [Rule::Latest, Rule::Debounce] {
            let (left, free) = {
                let mut table = self.table();
                let has_key = |keyed: &KeyedSlot<K>| keyed.rule == rule && keyed.key == *key;
                let Ok(mut entry) = table.slots.find_entry(hash, has_key) else {
                    continue;
                };
                let left = entry.get_mut().slot.forget();
                (left, remove_free(entry))
            };
            drop(free);
            Call::release(left);
        }
    }
}

/// Removes the slot if it is free. The caller drops it without the lock.
#[must_use]
fn remove_free<K>(entry: OccupiedEntry<'_, KeyedSlot<K>>) -> Option<KeyedSlot<K>> {
    let is_free = entry.get().slot.is_free();
    is_free.then(|| entry.remove().0)
}

/// Holds a call's slot, or its wait for the slot, and releases it on drop.
pub(crate) struct SlotGuard<K> {
    slots: Arc<SlotTable<K>>,
    rule: Rule,
    position: Position,
    call: Arc<Call<K>>,
}

/// How a call starts.
pub(crate) enum SlotAdmission {
    /// It has the slot.
    Begins,
    /// It waits until this time; `None` is forever.
    Waits(Option<Instant>),
}

impl<K: Eq + Hash> SlotTable<K> {
    /// Takes the slot of this key at once, for a call of this job.
    pub(crate) fn take_slot(
        self: &Arc<Self>,
        key: K,
        listed: Option<Arc<ListedKey<K>>>,
        job: Option<&Arc<Core>>,
    ) -> (SlotGuard<K>, SlotAdmission) {
        self.enter(key, Rule::Latest, listed, job, |slot, call| {
            (slot.take(call.id, call), SlotAdmission::Begins)
        })
    }

    /// Waits for the slot of this key, or takes it if there is nothing to wait for.
    pub(crate) fn queue(
        self: &Arc<Self>,
        key: K,
        listed: Option<Arc<ListedKey<K>>>,
        job: Option<&Arc<Core>>,
        mode: &Debounce,
    ) -> (SlotGuard<K>, SlotAdmission) {
        let now = Instant::now();
        self.enter(key, Rule::Debounce, listed, job, |slot, call| {
            let id = call.id;
            let queued = slot.queue(id, call, now);
            let due = mode.due(queued.since, now);
            let admission = if due.is_some_and(|due| due <= now) && slot.start(id) {
                SlotAdmission::Begins
            } else {
                SlotAdmission::Waits(due)
            };
            (queued.replaced, admission)
        })
    }

    /// Registers a call with `take`, and notifies the call that it replaced.
    fn enter(
        self: &Arc<Self>,
        key: K,
        rule: Rule,
        listed: Option<Arc<ListedKey<K>>>,
        job: Option<&Arc<Core>>,
        take: impl FnOnce(&mut CallSlot<K>, Arc<Call<K>>) -> (Option<Arc<Call<K>>>, SlotAdmission),
    ) -> (SlotGuard<K>, SlotAdmission) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let call = Call::new(id, job, listed);
        let hash = self.hasher.hash_one(&key);
        // If the table has the key already, this copy is dropped without the lock.
        let mut key = Some(key);
        let own_call = Arc::clone(&call);
        let by = call.job_id();
        let (before, admission, position) = {
            let mut table = self.table();
            let has_key =
                |keyed: &KeyedSlot<K>| keyed.rule == rule && Some(&keyed.key) == key.as_ref();
            let mut entry = match table
                .slots
                .entry(hash, has_key, |keyed| keyed.position.hash)
            {
                Entry::Occupied(entry) => entry,
                Entry::Vacant(vacant) => {
                    let Some(key) = key.take() else {
                        unreachable!("it is taken once")
                    };
                    vacant.insert(KeyedSlot {
                        key,
                        rule,
                        position: Position { hash, first: id },
                        slot: Slot::default(),
                    })
                }
            };
            let KeyedSlot { position, slot, .. } = entry.get_mut();
            let position = *position;
            let newer = Call::newer(slot, by);
            let (before, by, admission) = match newer {
                // A newer job has the slot: this call never gets it.
                Some(newer) => (Some(call), Some(newer), SlotAdmission::Begins),
                None => {
                    let (before, admission) = take(slot, call);
                    (before, by, admission)
                }
            };
            let begins = newer.is_none() && matches!(admission, SlotAdmission::Begins);
            table.executions += u64::from(begins);
            let replaced = before.as_ref().is_some_and(|before| before.replace(by));
            table.replaced += u64::from(replaced);
            (before.map(|before| (before, replaced)), admission, position)
        };
        let guard = SlotGuard {
            slots: Arc::clone(self),
            rule,
            position,
            call: own_call,
        };
        if let Some((before, true)) = before {
            before.notify_replaced();
        }
        (guard, admission)
    }
}

impl<K> SlotGuard<K> {
    /// The waiting call is due. Returns whether it has the slot now. If not, it is woken once it
    /// can have it.
    pub(crate) fn start(&self) -> bool {
        let mut table = self.slots.table();
        let begins = table
            .find(self.position)
            .is_some_and(|mut entry| entry.get_mut().slot.start(self.call.id));
        table.executions += u64::from(begins);
        begins
    }

    /// The call has its result. Returns `false` if it was replaced before.
    pub(crate) fn finish(&self) -> bool {
        self.call.decision.finish()
    }

    pub(crate) fn is_replaced(&self) -> bool {
        self.call.decision.is_replaced()
    }

    /// The job that took its slot, if it is known.
    pub(crate) fn replaced_by(&self) -> Option<JobId> {
        self.call.by.get().copied()
    }

    /// Whether a newer call may take the slot while this call runs.
    pub(crate) fn is_replaceable(&self) -> bool {
        self.rule == Rule::Latest
    }

    /// Registers the call's waker. Check the state again afterwards.
    pub(crate) fn register(&self, waker: &Waker) {
        self.call.waker.register(waker);
    }

    /// Sets the call's job, if the job began after the call came.
    pub(crate) fn set_job(&self, job: &Arc<Core>) {
        self.call.set_job(job);
    }
}

impl<K> Drop for SlotGuard<K> {
    fn drop(&mut self) {
        let (left, free) = {
            let mut table = self.slots.table();
            let Some(mut entry) = table.find(self.position) else {
                return;
            };
            let left = entry.get_mut().slot.leave(self.call.id);
            (left, remove_free(entry))
        };
        // Dropping the key and the wakers runs user code: not under the lock.
        drop(free);
        Call::release(left);
    }
}
