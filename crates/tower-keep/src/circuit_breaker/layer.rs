//! `CircuitBreakerLayer`: its construction, keys, backpressure, classification and errors. The
//! settings of the circuit itself are in `opening.rs` and `recovery.rs`.

mod opening;
mod recovery;

use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use super::{
    admitted::Counting,
    backpressure::Backpressure,
    circuit_kind::{Circuits, Spread},
    circuits_handle::CircuitsHandle,
    error::Open,
    handle::CircuitBreakerHandle,
    one_circuit::OneCircuit,
    per_key::PerKey,
    settings::Settings,
    shared_circuit::SharedCircuit,
    table::Seed,
    transition::Transition,
};
use crate::{
    classify::{Classify, ErrorsAsFailures, WithRetryAfter},
    reject::{Fail, FailWith, RespondWith},
    sharded::Sharded,
    unshare::Unshare,
};

/// Rejects calls while the service behind it fails.
///
/// Clones of the layer and its services share one circuit and its settings. For several circuits,
/// use several layers or [`per_key`](Self::per_key). Configure first, then take handles: a setter
/// on a layer with a clone, a handle or a service returns a layer with a new circuit.
///
/// To store a layer in a struct: with the defaults its type is `CircuitBreakerLayer`. With a
/// closure, `backpressure` or `per_key`, use a type parameter, `impl Layer<S>`, or a boxed service
/// such as tower's `BoxCloneSyncService`. Handles have no type parameters, except for the key.
///
/// `C` is the classifier, `B` the kind of circuit, `O` the error or response for the caller.
#[derive(Clone)]
pub struct CircuitBreakerLayer<C = ErrorsAsFailures, B = OneCircuit, O = Fail> {
    pub(crate) circuits: B,
    pub(super) classify: C,
    pub(super) counting: Counting,
    pub(super) on_reject: O,
}

const DEFAULT_NAME: &str = "default";

impl CircuitBreakerLayer {
    /// A circuit that opens after more than 5 failures in a row, for 30 s, and then admits one
    /// probe at a time.
    #[must_use]
    pub fn new() -> Self {
        let shared =
            SharedCircuit::new(Settings::default(), DEFAULT_NAME.into(), fastrand::u64(..));
        Self {
            circuits: OneCircuit {
                shared: Sharded::new(shared),
            },
            classify: ErrorsAsFailures,
            counting: Counting::default(),
            on_reject: Fail,
        }
    }
}

impl Default for CircuitBreakerLayer {
    fn default() -> Self {
        Self::new()
    }
}

/// What counts as a failure; name, listeners, errors.
impl<C, B: Circuits, O> CircuitBreakerLayer<C, B, O> {
    fn set(self, change: impl Fn(&mut Settings)) -> Self {
        let layer = self.unshared();
        layer.circuits.change_settings(&change);
        layer
    }

    /// Replaces all settings, for example with settings from a configuration file.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Self {
        self.set(|old| settings.replace(old))
    }

    /// The circuit's name, for errors and events. Default: `"default"`.
    ///
    /// With [`per_key`](CircuitBreakerLayer::per_key), the name of a circuit is its key. If this
    /// name is set too, the circuit's name is `name/key`.
    #[must_use]
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        let layer = self.unshared();
        layer.circuits.rename(name.into());
        layer
    }

    /// Calls the closure at each change of a circuit's state, for metrics, alerts and logs.
    ///
    /// It needs no tracked job. A layer can have several closures, and calls them in the order of
    /// registration.
    ///
    /// | change | does the closure run? |
    /// |---|---|
    /// | by an outcome, by the first call after the cooldown, or by a handle | yes |
    /// | new settings | no: they take effect with the next outcome |
    /// | a handle's method that leaves the state unchanged | no |
    /// | a circuit by key is evicted or removed, even if it is open | no |
    /// | a call still in flight changes a circuit that was evicted or removed | yes |
    ///
    /// The closure runs on the thread that caused the transition, before that call or method
    /// continues. It runs outside every lock, so it may use the handle. Keep it short. A panic of
    /// the closure is caught.
    ///
    /// If several threads change a circuit at the same time, their closures can run concurrently or
    /// in the wrong order. The later transition has the higher [`sequence`](Transition::sequence).
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use tower_keep::{CircuitBreakerLayer, circuit_breaker::State};
    ///
    /// let seen = Arc::new(Mutex::new(Vec::new()));
    /// let log = Arc::clone(&seen);
    /// let breaker = CircuitBreakerLayer::new().on_transition(move |transition| {
    ///     log.lock().unwrap().push((transition.from, transition.to));
    /// });
    /// breaker.handle().force_open();
    /// assert_eq!(*seen.lock().unwrap(), [(State::Closed, State::Open)]);
    /// ```
    #[must_use]
    pub fn on_transition<F>(self, listener: F) -> Self
    where
        F: Fn(&Transition) + Send + Sync + 'static,
    {
        let layer = self.unshared();
        layer.circuits.listeners().add(Arc::new(listener));
        layer
    }

    /// Ignores calls that an overall time limit ends. Default: such calls count as failures.
    #[must_use]
    pub fn ignore_timeouts(mut self) -> Self {
        self.unshare();
        self.counting.ignore_timeouts = true;
        self
    }

    /// Counts a dropped call as a failure, for example if a foreign time limit outside this layer
    /// drops it. Default: a dropped call is ignored.
    ///
    /// For calls that a layer of this library drops, see the [table](super#what-counts).
    #[must_use]
    pub fn count_dropped(mut self) -> Self {
        self.unshare();
        self.counting.count_dropped = true;
        self
    }

    /// Classifies each result as success, failure or ignored. Default: errors are failures.
    #[must_use]
    pub fn classify<D, Response, Error>(self, classify: D) -> CircuitBreakerLayer<D, B, O>
    where
        D: Classify<Response, Error>,
    {
        self.with_classify(|_| classify)
    }

    /// Reads the cooldown from the failure that opens the circuit, as with HTTP's `Retry-After`.
    ///
    /// `None` falls back to the classifier's [hint](Classify::retry_after), then to the
    /// [`cooldown`](Self::cooldown), as in [`RetryLayer`](crate::retry).
    /// [`max_cooldown`](Self::max_cooldown) limits the time. Call this method after
    /// [`classify`](Self::classify): a later `classify` removes this closure.
    #[must_use]
    pub fn retry_after<F, Response, Error>(
        self,
        retry_after: F,
    ) -> CircuitBreakerLayer<WithRetryAfter<C, F>, B, O>
    where
        F: Fn(&Result<Response, Error>) -> Option<Duration>,
    {
        self.with_classify(|classify| WithRetryAfter {
            classify,
            retry_after,
        })
    }

    pub(crate) fn with_classify<D>(
        self,
        make: impl FnOnce(C) -> D,
    ) -> CircuitBreakerLayer<D, B, O> {
        CircuitBreakerLayer {
            circuits: self.circuits.unshared(),
            classify: make(self.classify),
            counting: self.counting,
            on_reject: self.on_reject,
        }
    }

    /// Fails with your own error instead of a [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn fail_with<F, E>(self, fail: F) -> CircuitBreakerLayer<C, B, FailWith<F>>
    where
        F: Fn(Open) -> E,
    {
        self.on_reject(FailWith(fail))
    }

    /// Returns a response instead of an error, and keeps the inner error type.
    #[must_use]
    pub fn respond_with<F, Response>(self, respond: F) -> CircuitBreakerLayer<C, B, RespondWith<F>>
    where
        F: Fn(Open) -> Response,
    {
        self.on_reject(RespondWith(respond))
    }

    fn on_reject<R>(self, on_reject: R) -> CircuitBreakerLayer<C, B, R> {
        CircuitBreakerLayer {
            circuits: self.circuits.unshared(),
            classify: self.classify,
            counting: self.counting,
            on_reject,
        }
    }
}

impl<C, B: Unshare, O> Unshare for CircuitBreakerLayer<C, B, O> {
    fn is_shared(&self) -> bool {
        self.circuits.is_shared()
    }

    fn renew(&mut self) {
        self.circuits.renew();
    }
}

impl<C, B: Unshare, O> CircuitBreakerLayer<C, B, O> {
    fn with_circuits<D>(self, make: impl FnOnce(B) -> D) -> CircuitBreakerLayer<C, D, O> {
        CircuitBreakerLayer {
            circuits: make(self.circuits.unshared()),
            classify: self.classify,
            counting: self.counting,
            on_reject: self.on_reject,
        }
    }
}

impl<C: Clone, B: Spread, O: Clone> CircuitBreakerLayer<C, B, O> {
    /// The layer for a clone of a service.
    pub(super) fn spread(&self) -> Self {
        Self {
            circuits: self.circuits.spread(),
            classify: self.classify.clone(),
            counting: self.counting,
            on_reject: self.on_reject.clone(),
        }
    }
}

impl<C, O> CircuitBreakerLayer<C, OneCircuit, O> {
    /// The handle of the circuit: reads, watches and forces its state.
    ///
    /// Configure first, then take handles: a setter on a layer with a handle returns a layer with a
    /// new circuit, which this handle does not see.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(&self.circuits.shared)
    }

    /// Makes the service not ready while the circuit is open, so that a balancer picks another
    /// service. Default: the service is ready, and the call is rejected.
    ///
    /// A ready service has a reserved slot, which no clone shares. Its call always goes through,
    /// unless the circuit was opened manually. So do not keep a ready service: call it or drop it.
    /// A reserved probe slot expires after the [`probe_timeout`](Self::probe_timeout).
    ///
    /// Waiters are woken first come, first served, but a new call may overtake the one being woken.
    /// A waiter that is kept but no longer polled can delay the waiters behind it. The delay lasts
    /// at most until the cooldown or the timeout of the awaited probe ends.
    ///
    /// Transitions during a wait for readiness belong to no job:
    /// [watch](CircuitBreakerHandle::watch) the state, or use
    /// [`on_transition`](Self::on_transition).
    ///
    /// Call this setter before [`handle`](Self::handle): an earlier handle does not see this
    /// circuit.
    #[must_use]
    pub fn backpressure(self) -> CircuitBreakerLayer<C, Backpressure, O> {
        self.with_circuits(Backpressure)
    }

    /// Gives each key its own circuit, such as each host. A circuit is created at the first call
    /// with its key.
    ///
    /// All circuits have this layer's settings, including later changes. An earlier handle sees
    /// none of these circuits.
    ///
    /// The closure runs once per call. Prefer keys without allocation: a number, an `Arc<str>`, an
    /// HTTP authority. The key is known only in `call`, so the inner service is polled for
    /// readiness even if the call is then rejected.
    #[must_use]
    pub fn per_key<F, K, Request>(self, key: F) -> CircuitBreakerLayer<C, PerKey<F, K>, O>
    where
        F: Fn(&Request) -> K,
        K: Eq + std::hash::Hash + fmt::Display,
    {
        self.keyed_by(key)
    }

    pub(crate) fn keyed_by<F, K, R>(self, key: F) -> CircuitBreakerLayer<C, PerKey<F, K, R>, O> {
        self.with_circuits(|single| {
            let name = Some(single.name()).filter(|name| &**name != DEFAULT_NAME);
            let circuit = &single.shared.circuit;
            let seed = circuit
                .seeded()
                .map_or(Seed::Random, |_| Seed::Set(circuit.next_seed()));
            let listeners = single.shared.listeners.copy();
            PerKey::new(key, single.settings(), name, seed, listeners)
        })
    }
}

impl<C, O> CircuitBreakerLayer<C, Backpressure, O> {
    /// The handle of the circuit: reads, watches and forces its state.
    ///
    /// Configure first, then take handles: a setter on a layer with a handle returns a layer with a
    /// new circuit, which this handle does not see.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(&self.circuits.0.shared)
    }
}

impl<C, F, K, R, O> CircuitBreakerLayer<C, PerKey<F, K, R>, O> {
    /// The handle of the circuits: finds, lists and forces them.
    ///
    /// Configure first, then take handles: a setter on a layer with a handle returns a layer with
    /// new circuits, which this handle does not see.
    #[must_use]
    pub fn handle(&self) -> CircuitsHandle<K> {
        CircuitsHandle {
            table: Arc::clone(&self.circuits.table),
        }
    }

    /// The maximum number of circuits, not counting forced circuits. Default: 10 000.
    ///
    /// At the maximum, a new key evicts a circuit: a closed circuit, or an open or half-open
    /// circuit if none is closed. Eviction approximates least recently used: it compares at most
    /// eight circuits, so its cost does not grow with the number of circuits.
    ///
    /// Forced circuits are never evicted. A circuit is forced while its [mode](super::Mode) is not
    /// `Automatic`, or while it is manually [open for a
    /// time](CircuitBreakerHandle::force_open_for).
    #[must_use]
    pub fn max_circuits(self, circuits: NonZeroUsize) -> Self {
        let layer = self.unshared();
        layer.circuits.table.template().max = circuits;
        layer
    }

    /// Evicts circuits that had no call for this long. Default: 10 minutes.
    ///
    /// A circuit is not evicted while it would reject a call or is forced. Nor is it evicted while
    /// a handle or a call in flight holds it. New keys evict a few idle circuits at a time.
    /// [`CircuitsHandle::circuits`] evicts all idle circuits.
    #[must_use]
    pub fn evict_idle_after(self, idle: Duration) -> Self {
        let layer = self.unshared();
        layer.circuits.table.template().idle = idle;
        layer
    }
}

impl<C, B: Circuits, O> fmt::Debug for CircuitBreakerLayer<C, B, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer")
            .field("name", &self.circuits.name())
            .field("settings", &self.circuits.settings().effective())
            .finish_non_exhaustive()
    }
}
