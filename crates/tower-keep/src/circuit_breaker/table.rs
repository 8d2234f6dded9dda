//! The table of the circuits by key.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    eviction::{Member, Queues},
    in_flight::nanos,
    listeners::Listeners,
    settings::Settings,
    shared::{Shared, SharedRef},
    table_entry::{Changes, TableEntry},
};
use crate::sharded::Shard;

/// The circuits of a layer.
///
/// Lock order: `circuits` before `template`, both before a circuit's own and the list of changes.
/// Of the user's code only the key's `Eq` and `Hash` run under a lock.
pub(super) struct Table<K> {
    circuits: RwLock<Circuits<K>>,
    template: Mutex<Template>,
    pub(super) listeners: Arc<Listeners>,
    changes: Arc<Changes>,
    born: Instant,
}

struct Circuits<K> {
    index: HashMap<Arc<K>, SharedRef>,
    queues: Queues<K>,
}

/// What a new circuit is made of, and how many there may be.
pub(super) struct Template {
    settings: Settings,
    pub(super) name: Option<Arc<str>>,
    seed: Seed,
    rng: fastrand::Rng,
    pub(super) max: NonZeroUsize,
    pub(super) idle: Duration,
    next_number: u64,
}

/// What the chance of the circuits comes from.
#[derive(Clone, Copy)]
pub(super) enum Seed {
    /// The user set it.
    Set(u64),
    Random,
}

impl Seed {
    fn rng(self) -> fastrand::Rng {
        match self {
            Self::Set(seed) => fastrand::Rng::with_seed(seed),
            Self::Random => fastrand::Rng::new(),
        }
    }
}

impl Template {
    pub(super) fn seed(&mut self, seed: u64) {
        self.seed = Seed::Set(seed);
        self.rng = self.seed.rng();
    }
}

impl<K> Table<K> {
    pub(super) fn new(
        settings: Settings,
        name: Option<Arc<str>>,
        seed: Seed,
        listeners: Arc<Listeners>,
    ) -> Self {
        let queues = Queues::new();
        Self {
            changes: queues.changes(),
            circuits: RwLock::new(Circuits {
                index: HashMap::new(),
                queues,
            }),
            template: Mutex::new(Template {
                settings,
                name,
                rng: seed.rng(),
                seed,
                max: NonZeroUsize::new(10_000).unwrap_or(NonZeroUsize::MAX),
                idle: Duration::from_secs(600),
                next_number: 0,
            }),
            listeners,
            born: Instant::now(),
        }
    }

    /// A table without circuits, for others with the same settings, name and listeners.
    pub(super) fn renewed(&self) -> Self {
        let listeners = self.listeners.copy();
        let old = self.template();
        let new = Self::new(old.settings, old.name.clone(), old.seed, listeners);
        {
            let mut template = new.template();
            (template.max, template.idle) = (old.max, old.idle);
        }
        new
    }

    fn read(&self) -> RwLockReadGuard<'_, Circuits<K>> {
        self.circuits.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Circuits<K>> {
        self.circuits
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn template(&self) -> MutexGuard<'_, Template> {
        self.template.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        nanos(Instant::now().saturating_duration_since(self.born))
    }

    pub(super) fn len(&self) -> usize {
        self.read().index.len()
    }

    pub(super) fn name(&self) -> Arc<str> {
        let name = self.template().name.clone();
        name.unwrap_or_else(|| "default".into())
    }

    pub(super) fn settings(&self) -> Settings {
        self.template().settings
    }

    pub(super) fn change_settings(&self, change: &dyn Fn(&mut Settings)) {
        // Within the lock of the circuits none is made meanwhile of the old ones.
        let circuits = self.write();
        change(&mut self.template().settings);
        for shared in circuits.index.values() {
            shared.circuit.change_settings(change, shared.now());
        }
    }
}

impl<K: Eq + Hash> Circuits<K> {
    fn remove(&mut self, key: &K) -> Option<Member<K>> {
        let shared = self.index.remove(key)?;
        let number = shared.table_entry.as_ref()?.number;
        // It holds the key and the circuit, so that nothing is dropped here.
        self.queues.remove(number)
    }

    /// Forgets circuits that are in their queues no longer.
    fn forget(&mut self, members: &[Member<K>]) {
        for member in members {
            // The member holds both the key and the circuit: nothing is dropped here.
            self.index.remove(&member.key);
        }
    }
}

impl<K: Eq + Hash> Table<K> {
    pub(super) fn find(&self, key: &K) -> Option<SharedRef> {
        self.read().index.get(key).cloned()
    }

    pub(super) fn remove(&self, key: &K) -> bool {
        let removed = self.write().remove(key);
        removed.is_some()
    }

    /// All circuits, without those idle for too long.
    pub(super) fn all(&self) -> Vec<(Arc<K>, SharedRef)> {
        let removed = {
            let mut circuits = self.write();
            let idle = self.template().idle;
            let idle = circuits.queues.all_idle(idle, self.now());
            let removed: Vec<_> = idle
                .into_iter()
                .filter_map(|number| circuits.queues.remove(number))
                .collect();
            circuits.forget(&removed);
            removed
        };
        drop(removed);
        let circuits = self.read();
        circuits
            .queues
            .members()
            .map(|member| (Arc::clone(&member.key), Arc::clone(&member.shared)))
            .collect()
    }
}

impl<K: Eq + Hash + fmt::Display> Table<K> {
    /// The circuit of this key, made if there is none.
    pub(super) fn get(&self, key: K) -> SharedRef {
        let now = self.now();
        let known = self.find(&key);
        let shared = known.unwrap_or_else(|| match self.insert(Arc::new(key), now, None) {
            Inserted::Made(shared) | Inserted::Known(shared) => shared,
        });
        shared.touch(now);
        shared
    }

    /// Opens the circuit of this key for this long. A circuit that has to be made enters the table
    /// open, so that no other key takes its place before.
    pub(super) fn force_open_for(&self, key: K, duration: Duration) {
        let key = Arc::new(key);
        loop {
            let now = self.now();
            let known = match self.find(&key) {
                Some(known) => known,
                None => match self.insert(Arc::clone(&key), now, Some(duration)) {
                    Inserted::Made(_) => return,
                    Inserted::Known(known) => known,
                },
            };
            known.touch(now);
            known.force_open_for(duration);
            let found = self.find(&key);
            if found.is_some_and(|found| Arc::ptr_eq(&found, &known)) {
                return;
            }
            // It was evicted in between, while it was closed.
        }
    }

    #[cold]
    fn insert(&self, key: Arc<K>, now: u64, forced: Option<Duration>) -> Inserted {
        let (settings, name, seed, number) = {
            let mut template = self.template();
            let seed = template.rng.u64(..);
            let number = template.next_number;
            template.next_number += 1;
            (template.settings, template.name.clone(), seed, number)
        };
        let name: Arc<str> = match name {
            Some(name) => format!("{name}/{key}").into(),
            None => key.to_string().into(),
        };
        let table_entry = TableEntry::new(number, Arc::clone(&self.changes));
        let listeners = Arc::clone(&self.listeners);
        let made = Shared::with(settings, name, seed, listeners, Some(table_entry));
        let made = Shard::single(made);
        made.touch(now);
        let mut circuits = self.write();
        if let Some(known) = circuits.index.get(&key) {
            // Another call was faster.
            return Inserted::Known(Arc::clone(known));
        }
        let (latest, max, idle) = {
            let template = self.template();
            (template.settings, template.max.get(), template.idle)
        };
        if latest != settings {
            made.circuit
                .change_settings(|old| *old = latest, Duration::ZERO);
        }
        let removed = match forced {
            None => circuits.queues.make_room(max, idle, now),
            // A forced circuit takes nobody's place.
            Some(_) => Vec::new(),
        };
        circuits.forget(&removed);
        let transition =
            forced.and_then(|duration| made.circuit.force_open_for(duration, made.now()));
        // The index first: it runs the key's code, which may panic.
        circuits.index.insert(Arc::clone(&key), Arc::clone(&made));
        circuits.queues.insert(number, key, Arc::clone(&made), now);
        drop(circuits);
        drop(removed);
        if let Some(transition) = transition {
            made.publish(&transition);
        }
        Inserted::Made(made)
    }
}

/// The circuit of a key for which there was none a moment ago.
enum Inserted {
    Made(SharedRef),
    Known(SharedRef),
}
