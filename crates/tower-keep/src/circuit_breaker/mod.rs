//! Stop calling what fails.
//!
//! | state | what happens to a call | left when |
//! |---|---|---|
//! | closed | goes through | one of the conditions below holds |
//! | open | is rejected at once; the inner service is neither polled nor called | the [`cooldown`](CircuitBreakerLayer::cooldown) (default 30 s) is over and a call comes |
//! | half-open | up to [`half_open_probes`](CircuitBreakerLayer::half_open_probes) at a time (default 1) go through, the rest is rejected | [so many](CircuitBreakerLayer::half_open_successes) probes succeeded (default 1: closed) or [so many](CircuitBreakerLayer::half_open_failures) failed (default 1: open, for a whole cooldown) |
//!
//! ```
//! use tower::{Service, ServiceExt, service_fn, Layer};
//! use tower_keep::{BoxError, CircuitBreakerLayer, circuit_breaker::{Open, State}, find};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let breaker = CircuitBreakerLayer::new().name("database").failure_threshold(0);
//! let handle = breaker.handle();
//! let mut service = breaker.layer(service_fn(|_: ()| async { Err::<(), BoxError>("down".into()) }));
//!
//! service.ready().await.unwrap().call(()).await.unwrap_err();
//! assert_eq!(handle.state(), State::Open);
//!
//! let error = service.ready().await.unwrap().call(()).await.unwrap_err();
//! let open = find::<Open>(&*error).unwrap();
//! assert_eq!(open.circuit(), "database");
//! assert_eq!(open.cause(), Some("down"));
//! # });
//! ```
//!
//! # Configure first, then take handles
//!
//! A layer shares its circuit with its clones, its handles and the services that it makes. A setter never
//! changes what others use: on a layer that is in use it gives another layer, with the same settings and a circuit of its own,
//! and a handle that was taken before does not see the calls of that layer. An order by hand, such as
//! [`observe_only`](CircuitBreakerHandle::observe_only), is no setting: the other circuit begins closed, and acts by itself.
//!
//! # When it opens
//!
//! | condition | default |
//! |---|---|
//! | more than [`failure_threshold`](CircuitBreakerLayer::failure_threshold) failures in a row | 5: the sixth opens; once a rate is set, only if it is set too |
//! | at least [`failure_rate`](CircuitBreakerLayer::failure_rate) of the calls in the window failed | none |
//! | at least [`slow_call_rate`](CircuitBreakerLayer::slow_call_rate) of them took [`slow_call_duration`](CircuitBreakerLayer::slow_call_duration) (10 s) or longer; calls in flight too, with [`count_in_flight`](CircuitBreakerLayer::count_in_flight) | none |
//!
//! Any of them opens. The rates are looked at with every outcome, once there are
//! [`minimum_calls`](CircuitBreakerLayer::minimum_calls) (20) in the [`window`](CircuitBreakerLayer::window): the last
//! 100 calls, another number, or the calls of the last so long ([`Window::time`]). A count window is exact, to the call;
//! a time window holds 20 counts, whatever the load. A time window in which there are usually fewer calls than the
//! minimum never opens the circuit: let it span several times as long as that many calls take to come.
//!
//! ```
//! use std::{num::NonZeroU32, time::Duration};
//! use tower_keep::{CircuitBreakerLayer, Ratio, circuit_breaker::Window};
//!
//! let breaker = CircuitBreakerLayer::new()
//!     .failure_rate(Ratio::HALF)
//!     .slow_call_rate(Ratio::percent(80)?)
//!     .slow_call_duration(Duration::from_secs(2))
//!     .window(Window::time(Duration::from_secs(30))?)
//!     .half_open_probes(NonZeroU32::new(3).unwrap())
//!     .half_open_successes(NonZeroU32::new(3).unwrap())
//!     .growing_cooldown();
//! # let _ = breaker;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What counts
//!
//! | outcome | counts as |
//! |---|---|
//! | `Ok`, `Err` | success, failure; or what [`classify`](CircuitBreakerLayer::classify) says |
//! | an attempt's time limit | failure; inside this layer what `classify` says, if it is set |
//! | an overall time limit, whatever the work returns in its grace period | failure, unless [`ignore_timeouts`](CircuitBreakerLayer::ignore_timeouts); inside this layer what `classify` says, if it is set |
//! | a response on which a retry inside gave up | failure; what `classify` says, if it is set |
//! | a panic, of the classifier too | failure |
//! | dropped by the caller, or by a foreign layer | nothing, unless [`count_dropped`](CircuitBreakerLayer::count_dropped) |
//! | cancelled; rejected by a gate inside: a duplicate, another circuit, [a gate of your own](crate::reject) | nothing, whatever `classify` says |
//!
//! What was admitted before a transition counts for nothing after it. A probe is a lease: one that is dropped or
//! cancelled gives its place back, one that hangs loses it after the
//! [`probe_timeout`](CircuitBreakerLayer::probe_timeout), and when that has happened three times over the circuit opens
//! again. So a circuit never stays half-open for good.
//!
//! # How long it stays open
//!
//! For the [`cooldown`](CircuitBreakerLayer::cooldown), or for what the failure [asks
//! for](CircuitBreakerLayer::retry_after), if that is any time at all, as by HTTP's `Retry-After`. The cooldown can
//! [grow](CircuitBreakerLayer::growing_cooldown) with each trip and be [shortened at
//! random](CircuitBreakerLayer::cooldown_jitter); after it the load can come back [little by
//! little](CircuitBreakerLayer::ramp).
//!
//! # A circuit for each key
//!
//! [`per_key`](CircuitBreakerLayer::per_key) gives each host, tenant or shard a circuit of its own. They are made on
//! demand, [bounded in number](CircuitBreakerLayer::max_circuits), forgotten when
//! [idle](CircuitBreakerLayer::evict_idle_after), and listed by [`CircuitsHandle::circuits`].
//!
//! ```
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_keep::{BoxError, CircuitBreakerLayer, circuit_breaker::State};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let breaker = CircuitBreakerLayer::new().failure_threshold(0).per_key(|host: &&'static str| *host);
//! let circuits = breaker.handle();
//! let service = breaker.layer(service_fn(|host: &'static str| async move {
//!     if host == "down.example" { Err(BoxError::from("down")) } else { Ok(()) }
//! }));
//! service.clone().oneshot("down.example").await.unwrap_err();
//! service.clone().oneshot("up.example").await.unwrap();
//! assert_eq!(circuits.get(&"down.example").unwrap().state(), State::Open);
//! assert_eq!(circuits.get(&"up.example").unwrap().state(), State::Closed);
//! # });
//! ```
//!
//! One circuit in front of all of a service's own handlers is a mistake: one broken URL rejects
//! every route. Use `per_key` by the matched path there.
//!
//! # By hand
//!
//! The [handle](CircuitBreakerHandle) reads the state and the counts, watches it, opens or closes the circuit, switches it
//! off, lets it only [observe](CircuitBreakerHandle::observe_only) what it would do, and
//! [replaces the settings](CircuitBreakerHandle::update) without losing what was counted.
//!
//! [`force_open_for`](CircuitBreakerHandle::force_open_for) opens the circuit for a time, for a
//! maintenance window, say. [`probe_now`](CircuitBreakerHandle::probe_now) ends the cooldown: the
//! next call is a probe. Both exist [by key](CircuitsHandle::force_open_for) too.
//!
//! # Transitions
//!
//! [`on_transition`](CircuitBreakerLayer::on_transition) calls a closure at each change of state,
//! with the counts, the cause and the cooldown. It needs no tracked job, and so suits metrics and
//! alerts. Where a job is tracked, its events `CircuitOpened`, `CircuitHalfOpened` and
//! `CircuitClosed` say which job caused the transition.
//!
//! # Its place in the order
//!
//! Outside the overall limit and the retry, where it counts jobs. Inside the retry it counts attempts; the retry then
//! stops at an open circuit.
//!
//! # Errors
//!
//! [`Open`] says which circuit and for how long, as a [`BoxError`](crate::BoxError); or what
//! [`fail_with`](CircuitBreakerLayer::fail_with) or [`respond_with`](CircuitBreakerLayer::respond_with) makes of it.
//!
//! [`Open::cause`] is the failure that opened the circuit: what
//! [`Classify::describe`](crate::Classify::describe) says, or the text of the error, or a sentence
//! about a slow call, a time limit, a panic or a dropped call. It stands at the end of the error's
//! text. Only the failure that opens a circuit is described, before the circuit opens. A circuit
//! that is opened by hand has no cause.
//!
//! The cause is for operators: an answer to strangers is better made of [`Open::circuit`] and
//! [`Open::remaining`] than of the error's text.
//!
//! # Cancel safety
//!
//! A dropped call counts for nothing, unless asked for, and gives its probe back. A probe that is neither polled nor
//! dropped keeps its place until its [`probe_timeout`](CircuitBreakerLayer::probe_timeout), which runs from its call;
//! meanwhile other calls are rejected, or wait for readiness with [`backpressure`](CircuitBreakerLayer::backpressure).
//! If its result comes after that, it counts unless the circuit has opened or closed in between.
//!
//! # Readiness
//!
//! While the circuit is open the inner service is not asked, but with [`per_key`](CircuitBreakerLayer::per_key), where the
//! key is not known in time. A call that is rejected after the inner service was made ready leaves it ready, as tower's
//! contract has it: an instance kept for later then keeps what its readiness holds, such as a permit. Drop it, or call
//! again.
//!
//! A balancer wants to know before it picks a service: with [`backpressure`](CircuitBreakerLayer::backpressure) the
//! service is not ready while the circuit is open.
//!
//! # Cost
//!
//! A call through a closed circuit that counts failures in a row takes no lock, no clock and no allocation, and writes
//! nothing that another thread's clone of the service reads or writes. A rate takes a short lock for each outcome, a time
//! window the clock once, a slow-call rate twice, a circuit by key a look into a table under a shared lock.
//!
//! Clones of a service use the reference count of the thread that made them, as long as the layer, or the service that it
//! made, is there. So clone the service in the thread that calls it.
//!
//! # Under axum
//!
//! With `respond_with` it goes into `Router::layer` as it is. All routes and connections share one
//! circuit, as the layer's clones do. So put it in front of a client rather than of the router, or
//! give each route a circuit with [`per_key`](CircuitBreakerLayer::per_key) and axum's
//! `MatchedPath`. `Router::layer` also covers the fallback; `route_layer` does not.

mod admitted;
mod cause;
mod circuits;
mod error;
mod eviction;
mod future;
mod gate;
mod handle;
mod in_flight;
mod layer;
mod listeners;
mod mode;
mod packed_state;
mod per_key;
mod service;
mod settings;
mod shared;
mod snapshot;
mod state;
mod table;
mod table_entry;
mod transition;
mod waiters;
mod window;

#[cfg(feature = "pipeline")]
pub(crate) use self::gate::sealed::Circuits;
#[cfg(feature = "serde")]
pub(crate) use self::settings::Span;
pub use self::{
    circuits::CircuitsHandle,
    error::Open,
    future::ResponseFuture,
    gate::{Backpressure, Single},
    handle::CircuitBreakerHandle,
    layer::CircuitBreakerLayer,
    mode::Mode,
    packed_state::State,
    per_key::PerKey,
    service::CircuitBreaker,
    settings::{InvalidWindow, Settings, Window},
    snapshot::Snapshot,
    transition::CircuitTransition,
};
