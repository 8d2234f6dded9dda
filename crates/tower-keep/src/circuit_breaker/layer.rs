//! The layer: its settings, and what its circuits share.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use super::{
    admitted::Counting,
    backpressure::Backpressure,
    circuit_kind::{Circuits, Spread},
    circuits_handle::CircuitsHandle,
    error::Open,
    handle::CircuitBreakerHandle,
    one_circuit::OneCircuit,
    per_key::PerKey,
    settings::{Settings, Window},
    shared_circuit::SharedCircuit,
    table::Seed,
    transition::Transition,
};
use crate::{
    classify::{Classify, ErrorsAsFailures, WithRetryAfter},
    ratio::Ratio,
    reject::{Fail, FailWith, RespondWith},
    sharded::Sharded,
    unshare::Unshare,
};

/// Stops calling a service that fails.
///
/// Its clones, and all services that it makes, share one circuit and its settings; two circuits take two layers, or
/// [`per_key`](Self::per_key). A setter on a layer that is in use, as by a clone, a handle or a service, gives a layer
/// with a circuit of its own: configure first, then take handles.
///
/// To keep a layer in a struct: `CircuitBreakerLayer` alone is its type with the defaults. With a closure,
/// `backpressure` or `per_key` use a type parameter, `impl Layer<S>`, or a boxed service such as tower's
/// `BoxCloneSyncService`. Handles have plain types.
///
/// `C` is the classifier, `B` the kind of circuit, `O` what the caller sees.
#[derive(Clone)]
pub struct CircuitBreakerLayer<C = ErrorsAsFailures, B = OneCircuit, O = Fail> {
    pub(crate) circuits: B,
    pub(super) classify: C,
    pub(super) counting: Counting,
    pub(super) on_reject: O,
}

const DEFAULT_NAME: &str = "default";

impl CircuitBreakerLayer {
    /// Opens after more than 5 failures in a row, for 30 s, and then lets one probe through at a time.
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

/// When the circuit opens.
impl<C, B: Circuits, O> CircuitBreakerLayer<C, B, O> {
    /// How many failures in a row are put up with: one more opens. A success starts the count again. Default: 5, unless
    /// a rate is set: then only what is set opens.
    #[must_use]
    pub fn failure_threshold(self, failures: u32) -> Self {
        self.set(|settings| settings.failure_threshold = Some(failures))
    }

    /// Opens when at least this share of the calls in the [`window`](Self::window) failed. Default: no such condition.
    #[must_use]
    pub fn failure_rate(self, rate: Ratio) -> Self {
        self.set(|settings| settings.failure_rate = Some(rate))
    }

    /// Opens when at least this share of the calls in the [`window`](Self::window) took
    /// [`slow_call_duration`](Self::slow_call_duration) or longer, whatever became of them. A slow probe then counts as
    /// a failed one. Default: no such condition.
    #[must_use]
    pub fn slow_call_rate(self, rate: Ratio) -> Self {
        self.set(|settings| settings.slow_call_rate = Some(rate))
    }

    /// From which duration on a call is slow, if there is a [`slow_call_rate`](Self::slow_call_rate). Default: 10 s.
    #[must_use]
    pub fn slow_call_duration(self, duration: Duration) -> Self {
        self.set(|settings| settings.slow_call_duration = duration)
    }

    /// Counts calls in flight as slow as soon as they are, at the latest an eighth of the slow duration later, rather
    /// than when they end. Looked at whenever a call begins or ends. Without a [`slow_call_rate`](Self::slow_call_rate)
    /// it has no effect.
    #[must_use]
    pub fn count_in_flight(self) -> Self {
        self.set(|settings| settings.count_in_flight = true)
    }

    /// What the rates are rates of. Default: the last 100 calls.
    #[must_use]
    pub fn window(self, window: Window) -> Self {
        self.set(|settings| settings.window = window)
    }

    /// The rates mean nothing with fewer calls in the window. Default: 20. A count window that is full is always judged,
    /// so that a minimum beyond its size is its size.
    #[must_use]
    pub fn minimum_calls(self, calls: NonZeroU32) -> Self {
        self.set(|settings| settings.minimum_calls = calls)
    }
}

/// How it recovers.
impl<C, B: Circuits, O> CircuitBreakerLayer<C, B, O> {
    /// How long an open circuit rejects every call. Default: 30 s.
    #[must_use]
    pub fn cooldown(self, cooldown: Duration) -> Self {
        self.set(|settings| settings.cooldown = cooldown)
    }

    /// Doubles the cooldown with each trip, up to [`max_cooldown`](Self::max_cooldown), until the circuit has stayed
    /// closed for as long as it was open last.
    #[must_use]
    pub fn growing_cooldown(self) -> Self {
        self.set(|settings| settings.growing = true)
    }

    /// No cooldown that has grown, or that the service [asked for](Self::retry_after), is longer than this, unless the
    /// [`cooldown`](Self::cooldown) itself is. Default: 5 minutes, as Envoy's longest ejection.
    #[must_use]
    pub fn max_cooldown(self, max_cooldown: Duration) -> Self {
        self.set(|settings| settings.max_cooldown = max_cooldown)
    }

    /// Shortens each cooldown at random by up to this share, so that not all clients of a service come back at once.
    /// Default: not at all.
    #[must_use]
    pub fn cooldown_jitter(self, share: Ratio) -> Self {
        self.set(|settings| settings.cooldown_jitter = Some(share))
    }

    /// Makes the randomness repeatable. Default: another one each time.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        let layer = self.unshared();
        layer.circuits.seed(seed);
        layer
    }

    /// How many calls a half-open circuit lets through at a time. Default: 1.
    #[must_use]
    pub fn half_open_probes(self, probes: NonZeroU32) -> Self {
        self.set(|settings| settings.half_open_probes = probes)
    }

    /// How many probes have to succeed for the circuit to close. Default: 1. The last of them closes it.
    #[must_use]
    pub fn half_open_successes(self, successes: NonZeroU32) -> Self {
        self.set(|settings| settings.half_open_successes = successes)
    }

    /// How many probes have to fail for the circuit to open again. Default: 1. The last of them opens it.
    #[must_use]
    pub fn half_open_failures(self, failures: NonZeroU32) -> Self {
        self.set(|settings| settings.half_open_failures = failures)
    }

    /// How long a probe keeps its place: after that another may go, whether or not the first one comes back. Default:
    /// as long as the cooldown, and at least a second. If it is shorter than a call may take, more probes than wanted are
    /// under way at once. When the places were lost three times over without any answer, the circuit opens again.
    #[must_use]
    pub fn probe_timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.probe_timeout = Some(timeout))
    }

    /// After probes have closed it, lets a share of the calls through that grows from a tenth to all within this time,
    /// and rejects the rest. With [`backpressure`](CircuitBreakerLayer::backpressure) it has no effect. Default: all at
    /// once.
    #[must_use]
    pub fn ramp(self, ramp: Duration) -> Self {
        self.set(|settings| settings.ramp = Some(ramp))
    }
}

/// What counts, and all the rest.
impl<C, B: Circuits, O> CircuitBreakerLayer<C, B, O> {
    fn set(self, change: impl Fn(&mut Settings)) -> Self {
        let layer = self.unshared();
        layer.circuits.change_settings(&change);
        layer
    }

    /// Replaces all settings at once, as by a configuration that was read.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Self {
        self.set(|old| settings.replace(old))
    }

    /// The circuit's name, for errors and events. Default: `"default"`. With
    /// [`per_key`](CircuitBreakerLayer::per_key) a circuit is called by its key, after this name and a slash if one is set.
    #[must_use]
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        let layer = self.unshared();
        layer.circuits.rename(name.into());
        layer
    }

    /// Calls the closure at each change of a circuit's state: for metrics, alerts and logs, whether
    /// or not a job is tracked. A layer can have several closures; it calls them in the order in
    /// which they were added.
    ///
    /// The closure gets every transition with its [counts](Transition), whether an outcome
    /// caused it, the first call after the cooldown, or an order by hand. New settings change no
    /// state: they decide with the next outcome. An order by hand that leaves the state as it is
    /// causes no transition.
    ///
    /// A circuit by key that is evicted or removed causes none either, even if it is open. Its key
    /// begins with a new, closed circuit. A call that is still in flight can then change the old
    /// circuit, and the closure gets that.
    ///
    /// The closure runs on the thread that caused the transition, before the call or the order goes
    /// on. It runs outside every lock, so it may use the handle; keep it short. A panic of the
    /// closure harms nothing.
    ///
    /// Several threads can change one circuit at the same time. Their transitions can then come at
    /// once or in the wrong order: the later transition has the greater
    /// [`sequence`](Transition::sequence).
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

    /// Does not count an overall time limit as a failure.
    #[must_use]
    pub fn ignore_timeouts(mut self) -> Self {
        self.unshare();
        self.counting.ignore_timeouts = true;
        self
    }

    /// Counts a call that is dropped unfinished as a failure, as by a time limit of a foreign layer around this one.
    /// Default: a call that is dropped says nothing about the service. What a layer of ours drops counts as the table says.
    #[must_use]
    pub fn count_dropped(mut self) -> Self {
        self.unshare();
        self.counting.count_dropped = true;
        self
    }

    /// What counts as a failure, and what not at all. Default: errors are failures.
    #[must_use]
    pub fn classify<D, Response, Error>(self, classify: D) -> CircuitBreakerLayer<D, B, O>
    where
        D: Classify<Response, Error>,
    {
        self.with_classify(|_| classify)
    }

    /// How long the service asks to be left alone: the cooldown, where the failure that opens the circuit says so.
    /// Limited by [`max_cooldown`](Self::max_cooldown).
    ///
    /// `None` leaves it to the classifier's own [hint](Classify::retry_after), and then to the
    /// cooldown, as in [`RetryLayer`](crate::retry). Call it after [`classify`](Self::classify), which
    /// replaces it.
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

    fn with_classify<D>(self, make: impl FnOnce(C) -> D) -> CircuitBreakerLayer<D, B, O> {
        CircuitBreakerLayer {
            circuits: self.circuits.unshared(),
            classify: make(self.classify),
            counting: self.counting,
            on_reject: self.on_reject,
        }
    }

    /// Fails with the user's own error instead of a [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn fail_with<F, E>(self, fail: F) -> CircuitBreakerLayer<C, B, FailWith<F>>
    where
        F: Fn(Open) -> E,
    {
        self.on_reject(FailWith(fail))
    }

    /// Answers with a response instead of an error, and leaves the inner error type untouched.
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
    /// The same, for a clone of a service.
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
    /// Reads and forces the state.
    ///
    /// Configure first, then take handles: a setter on a layer that has a handle gives a layer with state of its own,
    /// which this handle does not see.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(&self.circuits.shared)
    }

    /// Makes a service that is not ready while the circuit is open, for balancers that pick another one then. By default
    /// it is ready and the call is rejected, so that the caller learns of it.
    ///
    /// A service that becomes ready has a place reserved, which no clone shares, so that its call always goes through:
    /// call it, or drop it. Only a circuit that is opened by hand rejects it all the same. A reserved probe that is not
    /// called within the [`probe_timeout`](Self::probe_timeout) loses its place.
    ///
    /// Those who wait are woken in their turn, when there is a place; another call in that moment may be faster. An instance
    /// that waits for its readiness, and then is kept but no longer polled, holds up those who wait behind it until the end
    /// of the cooldown, or of the time of the probe that they wait for, and no longer. What the circuit does when it is
    /// asked for readiness is seen by who [watches](CircuitBreakerHandle::watch) it, as there is no job yet.
    ///
    /// As any setter, it goes before [`handle`](Self::handle): a handle that was taken before does not see this circuit.
    #[must_use]
    pub fn backpressure(self) -> CircuitBreakerLayer<C, Backpressure, O> {
        self.with_circuits(Backpressure)
    }

    /// A circuit of its own for each key, such as the request's host, made when the key first comes. The circuits have
    /// this layer's settings, now and later. A handle that was taken before knows none of them.
    ///
    /// The closure runs once a call: a key that is cheap to make (a number, an `Arc<str>`, an HTTP authority) costs no
    /// allocation. As the key is not known before there is a request, the inner service is made ready also where the
    /// call is then rejected.
    #[must_use]
    pub fn per_key<F, K, Request>(self, key: F) -> CircuitBreakerLayer<C, PerKey<F, K>, O>
    where
        F: Fn(&Request) -> K,
        K: Eq + std::hash::Hash + fmt::Display,
    {
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
    /// Reads and forces the state.
    ///
    /// Configure first, then take handles: a setter on a layer that has a handle gives a layer with state of its own,
    /// which this handle does not see.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(&self.circuits.0.shared)
    }
}

impl<C, F, K, O> CircuitBreakerLayer<C, PerKey<F, K>, O> {
    /// Reads and forces the states.
    ///
    /// Configure first, then take handles: a setter on a layer that has a handle gives a layer with state of its own,
    /// which this handle does not see.
    #[must_use]
    pub fn handle(&self) -> CircuitsHandle<K> {
        CircuitsHandle {
            table: Arc::clone(&self.circuits.table),
        }
    }

    /// Sets how many circuits there may be, not counting forced circuits. Default: 10 000.
    ///
    /// A circuit is forced while it has a [mode](super::Mode) other than `Automatic`, and while it
    /// is [open for a time](CircuitBreakerHandle::force_open_for) by hand. Forced circuits stay.
    ///
    /// When a new key finds no room, a closed circuit goes, or an open or half-open circuit where
    /// none is closed. The layer looks for the circuit with the longest time since its last call,
    /// among eight at most. So the circuit that goes was not used for long, but need not be the
    /// very oldest. The cost of a new key does not grow with the number of circuits.
    #[must_use]
    pub fn max_circuits(self, circuits: NonZeroUsize) -> Self {
        let layer = self.unshared();
        layer.circuits.table.template().max = circuits;
        layer
    }

    /// Sets how long a circuit without calls is kept. Default: 10 minutes.
    ///
    /// A circuit stays while it would reject a call, while it is forced, and while a handle or a
    /// call in flight holds it. Idle circuits go a few at a time, as new keys come. All of them go
    /// when you ask for [all circuits](CircuitsHandle::circuits).
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
