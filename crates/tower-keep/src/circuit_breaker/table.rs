//! The table of circuits by key: lookup, creation and removal.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use hashlink::DefaultHashBuilder;
use tokio::time::Instant;

use super::{
    eviction::{Member, Queues},
    settings::Settings,
    shared_circuit::{CircuitRef, SharedCircuit},
    slow_in_flight::nanos,
    table_entry::{ChangedCircuits, TableEntry},
    transition_listeners::TransitionListeners,
};
use crate::sharded::Shard;

/// The circuits of a layer.
///
/// Lock order: `circuits` before `template`, both before a circuit's own and the list of changes.
/// The only user code under a lock is the key's `Eq` and `Hash`.
pub(super) struct CircuitTable<K> {
    circuits: RwLock<Members<K>>,
    template: Mutex<Template>,
    pub(super) listeners: Arc<TransitionListeners>,
    changes: Arc<ChangedCircuits>,
    born: Instant,
}

struct Members<K> {
    index: HashMap<Arc<K>, CircuitRef, DefaultHashBuilder>,
    queues: Queues<K>,
}

/// The settings of new circuits, and the limits of the table.
pub(super) struct Template {
    settings: Settings,
    pub(super) name: Option<Arc<str>>,
    seed: Seed,
    rng: fastrand::Rng,
    pub(super) max: NonZeroUsize,
    pub(super) idle: Duration,
    next_number: u64,
}

/// The seed of the circuits' random generators.
#[derive(Clone, Copy)]
pub(super) enum Seed {
    /// Set by the user.
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

impl<K> CircuitTable<K> {
    pub(super) fn new(
        settings: Settings,
        name: Option<Arc<str>>,
        seed: Seed,
        listeners: Arc<TransitionListeners>,
    ) -> Self {
        let queues = Queues::new();
        Self {
            changes: queues.changes(),
            circuits: RwLock::new(Members {
                index: HashMap::default(),
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

    /// An empty table with the same settings, name and listeners.
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

    fn read(&self) -> RwLockReadGuard<'_, Members<K>> {
        self.circuits.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Members<K>> {
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
        // The lock prevents new circuits with the old settings.
        let circuits = self.write();
        change(&mut self.template().settings);
        circuits.change_settings(change);
    }

    /// Replaces the settings of all circuits, if they are still `old`. Returns whether it did.
    pub(super) fn replace_settings(&self, old: Settings, new: Settings) -> bool {
        let circuits = self.write();
        {
            let mut template = self.template();
            if template.settings != old {
                return false;
            }
            new.replace(&mut template.settings);
        }
        circuits.change_settings(&|settings| new.replace(settings));
        true
    }
}

impl<K> Members<K> {
    fn change_settings(&self, change: &dyn Fn(&mut Settings)) {
        for shared in self.index.values() {
            shared.circuit.change_settings(change, shared.now());
        }
    }
}

impl<K: Eq + Hash> Members<K> {
    fn remove(&mut self, key: &K) -> Option<Member<K>> {
        let shared = self.index.remove(key)?;
        let number = shared.table_entry.as_ref()?.number;
        // The member holds the key and the circuit, so nothing is dropped under the lock.
        self.queues.remove(number)
    }

    /// Removes circuits that have left their queues from the index.
    fn forget(&mut self, members: &[Member<K>]) {
        for member in members {
            // The member holds the key and the circuit, so nothing is dropped under the lock.
            self.index.remove(&member.key);
        }
    }
}

impl<K: Eq + Hash> CircuitTable<K> {
    pub(super) fn find(&self, key: &K) -> Option<CircuitRef> {
        self.read().index.get(key).cloned()
    }

    pub(super) fn remove(&self, key: &K) -> bool {
        let removed = self.write().remove(key);
        removed.is_some()
    }

    /// Evicts idle circuits and returns the others.
    pub(super) fn all(&self) -> Vec<(Arc<K>, CircuitRef)> {
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

impl<K: Eq + Hash + fmt::Display> CircuitTable<K> {
    /// The circuit of this key, created if needed.
    pub(super) fn get(&self, key: K) -> CircuitRef {
        let now = self.now();
        let known = self.find(&key);
        let shared = known.unwrap_or_else(|| match self.insert(Arc::new(key), now, None) {
            Inserted::Made(shared) | Inserted::Known(shared) => shared,
        });
        shared.touch(now);
        shared
    }

    /// Opens the circuit of this key for this long. A new circuit enters the table open, so that no
    /// other key can evict it before.
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
            // The circuit was closed and evicted in between.
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
        let made = SharedCircuit::with(settings, name, seed, listeners, Some(table_entry));
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
            // A forced circuit does not count for the maximum.
            Some(_) => Vec::new(),
        };
        circuits.forget(&removed);
        let transition =
            forced.and_then(|duration| made.circuit.force_open_for(duration, made.now()));
        // The index first: the key's code may panic.
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

/// The result of an insertion: a new circuit, or the circuit of a faster call.
enum Inserted {
    Made(CircuitRef),
    Known(CircuitRef),
}
