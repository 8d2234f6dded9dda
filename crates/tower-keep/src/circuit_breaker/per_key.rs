//! Circuits by key.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    future::Counting,
    gate::{Ask, Entry, Ready, enter, sealed},
    handle::CircuitBreakerHandle,
    in_flight::nanos,
    settings::Settings,
    shared::Shared,
    state::{Mode, State},
};

/// A circuit for each key, made when the key first comes. Made by
/// [`CircuitBreakerLayer::per_key`](super::CircuitBreakerLayer::per_key).
pub struct PerKey<F, K> {
    by: F,
    pub(super) table: Arc<Table<K>>,
}

impl<F, K> PerKey<F, K> {
    pub(super) fn new(by: F, settings: Settings, name: Option<Arc<str>>, seed: u64) -> Self {
        Self {
            by,
            table: Arc::new(Table {
                circuits: RwLock::new(HashMap::new()),
                template: Mutex::new(Template {
                    settings,
                    name,
                    rng: fastrand::Rng::with_seed(seed),
                    most: NonZeroUsize::new(10_000).unwrap_or(NonZeroUsize::MAX),
                    idle: Duration::from_secs(600),
                    next_sweep: 0,
                }),
                born: Instant::now(),
            }),
        }
    }
}

/// The circuits of a layer.
///
/// Lock order: `circuits` before `template`, both before a circuit's own. Of the user's code only the key's `Eq` and
/// `Hash` run under a lock.
pub(super) struct Table<K> {
    circuits: RwLock<HashMap<Arc<K>, Arc<Shared>>>,
    template: Mutex<Template>,
    born: Instant,
}

/// What a new circuit is made of, and how many there may be.
pub(super) struct Template {
    settings: Settings,
    name: Option<Arc<str>>,
    rng: fastrand::Rng,
    pub(super) most: NonZeroUsize,
    pub(super) idle: Duration,
    next_sweep: u64,
}

type Removed<K> = Vec<(Arc<K>, Arc<Shared>)>;

impl<K> Table<K> {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Arc<K>, Arc<Shared>>> {
        self.circuits.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Arc<K>, Arc<Shared>>> {
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
}

impl<K: Eq + Hash> Table<K> {
    pub(super) fn find(&self, key: &K) -> Option<Arc<Shared>> {
        self.read().get(key).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.read().len()
    }

    pub(super) fn remove(&self, key: &K) -> bool {
        let removed = self.write().remove_entry(key);
        removed.is_some()
    }

    /// All of them, those that were idle for too long left out.
    pub(super) fn all(&self) -> Removed<K> {
        let removed = {
            let mut circuits = self.write();
            let idle = self.template().idle;
            sweep(&mut circuits, self.now(), idle)
        };
        drop(removed);
        let circuits = self.read();
        circuits
            .iter()
            .map(|(key, shared)| (Arc::clone(key), Arc::clone(shared)))
            .collect()
    }
}

impl<K: Eq + Hash + fmt::Display> Table<K> {
    fn get(&self, key: K) -> Arc<Shared> {
        let now = self.now();
        let known = self.find(&key);
        let shared = known.unwrap_or_else(|| self.insert(key, now));
        shared.touch(now);
        shared
    }

    #[cold]
    fn insert(&self, key: K, now: u64) -> Arc<Shared> {
        let (settings, name, seed) = {
            let mut template = self.template();
            let seed = template.rng.u64(..);
            (template.settings, template.name.clone(), seed)
        };
        let name: Arc<str> = match name {
            Some(name) => format!("{name}/{key}").into(),
            None => key.to_string().into(),
        };
        let made = Arc::new(Shared::new(settings, name, seed));
        made.touch(now);
        let key = Arc::new(key);
        let mut circuits = self.write();
        if let Some(known) = circuits.get(&key) {
            // Another call was faster.
            return Arc::clone(known);
        }
        let latest = self.settings();
        if latest != settings {
            made.circuit
                .change_settings(|old| *old = latest, Duration::ZERO);
        }
        let removed = self.make_room(&mut circuits, now);
        circuits.insert(key, Arc::clone(&made));
        drop(circuits);
        drop(removed);
        made
    }

    /// Removes what is idle, now and then, and whatever else it takes to keep within the limit.
    fn make_room(&self, circuits: &mut HashMap<Arc<K>, Arc<Shared>>, now: u64) -> Removed<K> {
        let mut template = self.template();
        let most = template.most.get();
        if now < template.next_sweep && circuits.len() < most {
            return Vec::new();
        }
        template.next_sweep = now.saturating_add(nanos(template.idle) / 4);
        let mut removed = sweep(circuits, now, template.idle);
        if circuits.len() >= most {
            // Some more than needed, so that the next few keys need not look at all of them again.
            let surplus = circuits.len() - most + 1 + most / 16;
            removed.extend(remove_oldest(circuits, surplus));
        }
        removed
    }
}

/// Removes the circuits that nobody used for so long, and that have nothing to say.
fn sweep<K: Eq + Hash>(
    circuits: &mut HashMap<Arc<K>, Arc<Shared>>,
    now: u64,
    idle: Duration,
) -> Removed<K> {
    let idle = nanos(idle);
    let keys: Vec<Arc<K>> = circuits
        .iter()
        .filter(|(_, shared)| {
            now.saturating_sub(shared.last_used()) >= idle
                && Arc::strong_count(shared) == 1
                && !shared.circuit.matters(shared.now())
        })
        .map(|(key, _)| Arc::clone(key))
        .collect();
    keys.iter()
        .filter_map(|key| circuits.remove_entry(key))
        .collect()
}

/// Removes so many, the closed ones first, and of those the ones that were not used for the longest time. What was told
/// by hand what to do stays.
fn remove_oldest<K: Eq + Hash>(
    circuits: &mut HashMap<Arc<K>, Arc<Shared>>,
    surplus: usize,
) -> Removed<K> {
    let mut keys: Vec<(bool, u64, Arc<K>)> = circuits
        .iter()
        .filter(|(_, shared)| shared.circuit.mode() == Mode::Automatic)
        .map(|(key, shared)| {
            let open = shared.circuit.state() != State::Closed;
            (open, shared.last_used(), Arc::clone(key))
        })
        .collect();
    let surplus = surplus.min(keys.len());
    if surplus < keys.len() {
        keys.select_nth_unstable_by_key(surplus, |(open, used, _)| (*open, *used));
    }
    keys[..surplus]
        .iter()
        .filter_map(|(_, _, key)| circuits.remove_entry(key))
        .collect()
}

impl<F, K: Eq + Hash> sealed::Circuits for PerKey<F, K> {
    fn settings(&self) -> Settings {
        self.table.template().settings
    }

    fn change_settings(&self, change: &dyn Fn(&mut Settings)) {
        self.table.change_settings(change);
    }

    fn name(&self) -> Arc<str> {
        self.table.name()
    }

    fn rename(&self, name: Arc<str>) {
        self.table.template().name = Some(name);
    }

    fn seed(&self, seed: u64) {
        self.table.template().rng = fastrand::Rng::with_seed(seed);
    }
}

impl<K> Table<K> {
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
        for shared in circuits.values() {
            shared.circuit.change_settings(change, shared.now());
        }
    }
}

#[allow(private_interfaces, reason = "the trait is sealed")]
impl<F, K, Request> sealed::Admits<Request> for PerKey<F, K>
where
    F: Fn(&Request) -> K + Clone,
    K: Eq + Hash + fmt::Display,
{
    #[inline(always)]
    fn poll_ready(&self, _: &mut Ready, _: Counting, _: &mut Context<'_>) -> Poll<Ask> {
        // The key is not known yet.
        Poll::Ready(Ask::Inner)
    }

    #[inline(always)]
    fn admit(&self, _: &mut Ready, counting: Counting, request: &Request) -> Entry {
        enter(self.table.get((self.by)(request)), counting)
    }
}

/// Reads, watches and forces the circuits of a layer that has one for each key.
pub struct CircuitsHandle<K> {
    pub(super) table: Arc<Table<K>>,
}

impl<K: Eq + Hash> CircuitsHandle<K> {
    /// The circuit of this key, if there is one: it is made when the key first comes, and goes when it is idle.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<CircuitBreakerHandle> {
        let shared = self.table.find(key)?;
        Some(CircuitBreakerHandle { shared })
    }

    /// All circuits that there are, in no order. As long as a handle of a circuit is kept, the circuit is not idle.
    #[must_use]
    pub fn circuits(&self) -> Vec<(K, CircuitBreakerHandle)>
    where
        K: Clone,
    {
        let circuits = self.table.all();
        circuits
            .into_iter()
            .map(|(key, shared)| (K::clone(&key), CircuitBreakerHandle { shared }))
            .collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the circuit of this key: `false` if there was none. Calls in flight no longer count for anything.
    pub fn remove(&self, key: &K) -> bool {
        self.table.remove(key)
    }

    /// The settings of new circuits.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.table.settings()
    }

    /// Replaces the settings of all circuits, those to come included. What they counted stays.
    pub fn replace(&self, settings: Settings) {
        self.table.change_settings(&|old| settings.replace(old));
    }
}

impl<K> Clone for CircuitsHandle<K> {
    fn clone(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
        }
    }
}

impl<F: Clone, K> Clone for PerKey<F, K> {
    fn clone(&self) -> Self {
        Self {
            by: self.by.clone(),
            table: Arc::clone(&self.table),
        }
    }
}

impl<F, K> fmt::Debug for PerKey<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerKey")
            .field("circuits", &self.table.read().len())
            .finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for CircuitsHandle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitsHandle")
            .field("circuits", &self.table.read().len())
            .finish_non_exhaustive()
    }
}
