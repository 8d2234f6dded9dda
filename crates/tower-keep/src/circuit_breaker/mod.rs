//! Circuit breaker: reject calls at once while a service fails, and probe it until it recovers.
//!
//! | state | calls | the state ends when |
//! |---|---|---|
//! | closed | go through | a condition below is met |
//! | open | are rejected at once; the inner service is neither polled nor called | a call comes after the [`cooldown`](CircuitBreakerLayer::cooldown) (default 30 s) |
//! | half-open | up to [`half_open_probes`](CircuitBreakerLayer::half_open_probes) probes at a time (default 1) go through, other calls are rejected | [`half_open_successes`](CircuitBreakerLayer::half_open_successes) probes succeeded (default 1: it closes), or [`half_open_failures`](CircuitBreakerLayer::half_open_failures) failed (default 1: it opens for a whole cooldown) |
//!
//! ```
//! use tower::{Service, ServiceExt, service_fn, Layer};
//! use tower_keep::{BoxError, CircuitBreakerLayer, circuit_breaker::{Open, State}, find};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let breaker = CircuitBreakerLayer::new().named("database").failure_threshold(0);
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
//! A layer shares its circuit with its clones, handles and services. If one of them exists, a
//! setter returns a layer with the same settings and a new circuit. The new circuit is closed and
//! in automatic mode. Earlier handles do not see it.
//!
//! # When it opens
//!
//! | condition | default |
//! |---|---|
//! | more than [`failure_threshold`](CircuitBreakerLayer::failure_threshold) failures in a row | 5: the sixth opens the circuit; none if a rate is set |
//! | at least [`failure_rate`](CircuitBreakerLayer::failure_rate) of the calls in the window failed | none |
//! | at least [`slow_call_rate`](CircuitBreakerLayer::slow_call_rate) of the calls in the window took [`slow_call_duration`](CircuitBreakerLayer::slow_call_duration) (10 s) or longer; with [`count_in_flight`](CircuitBreakerLayer::count_in_flight), including calls in flight | none |
//!
//! Each condition alone opens the circuit. The rates are checked at every outcome, if the
//! [`window`](CircuitBreakerLayer::window) holds at least
//! [`minimum_calls`](CircuitBreakerLayer::minimum_calls) (20), or is full.
//!
//! | window | calls | precision |
//! |---|---|---|
//! | [`Window::calls`] (default: 100) | the last calls, by number | exact |
//! | [`Window::time`] | the calls of the last period | in steps of 1/20 of the period |
//!
//! Choose a time window that is several times longer than the time in which `minimum_calls` calls
//! usually arrive. A time window with fewer calls never opens the circuit.
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
//! | `Ok`, `Err` | success, failure; with [`classify`](CircuitBreakerLayer::classify), its verdict |
//! | an attempt's time limit | failure; if the limit is inside this layer and `classify` is set, its verdict |
//! | an overall time limit, whatever the work returns in its grace period | failure, unless [`ignore_timeouts`](CircuitBreakerLayer::ignore_timeouts) is set; if the limit is inside this layer and `classify` is set, its verdict |
//! | a response on which an inner retry gave up | failure; with `classify`, its verdict |
//! | a panic, including one of the classifier | failure |
//! | dropped by the caller, or by a foreign layer | ignored; failure with [`count_dropped`](CircuitBreakerLayer::count_dropped) |
//! | cancelled, or rejected by an inner layer: a duplicate, another circuit, [a layer of your own](crate::reject) | ignored, whatever the verdict of `classify` |
//!
//! If a call is admitted before a transition and ends after it, the call does not count.
//!
//! # Response bodies
//!
//! With `CircuitBreakerLayer::http`, a call goes on until the end of its response body. The response
//! head is the outcome of the call: it ends a probe and the time of a slow call. The body can add
//! one more failure:
//!
//! | the body | counts as |
//! |---|---|
//! | is read to its end | nothing more |
//! | ends with the status of a gRPC call in its trailers | as in the headers: one more failure, with the status as the cause, or nothing more |
//! | is dropped by its reader, with or without [`count_dropped`](CircuitBreakerLayer::count_dropped) | nothing more |
//! | fails: truncated, reset, stalled | one more failure, with the error's text as the cause |
//! | ends by the limit of an attempt | one more failure |
//! | ends by a limit on the time without progress | one more failure, unless [`ignore_timeouts`](CircuitBreakerLayer::ignore_timeouts) is set |
//! | ends by another overall limit: the reader may have used up the time | nothing more |
//! | is cancelled, or rejected by a layer | nothing more |
//! | panics | one more failure |
//!
//! - After a failed head, the body counts nothing.
//! - A successful head ends the failures in a row only with its body. So a server that truncates
//!   every body opens its circuit. In a window, such a call is one success and one failure.
//! - A body counts only if the circuit had no transition since the head. After the head of a probe
//!   that closed the circuit, it counts for the closed circuit.
//!
//! # Probes
//!
//! Each probe occupies a probe slot. Probes that hang or vanish cannot block a half-open circuit:
//!
//! - A probe that is dropped or cancelled frees its slot.
//! - A probe that hangs frees its slot after the
//!   [`probe_timeout`](CircuitBreakerLayer::probe_timeout), and the next call becomes a probe.
//! - After three times as many timed-out probes as there are slots, and no result in between, the
//!   circuit opens again.
//!
//! # How long it stays open
//!
//! The circuit stays open for the [`cooldown`](CircuitBreakerLayer::cooldown). A failure can
//! [request another duration](CircuitBreakerLayer::retry_after), as with HTTP's `Retry-After`.
//!
//! The cooldown can [grow](CircuitBreakerLayer::growing_cooldown) with each opening, and jitter can
//! [shorten](CircuitBreakerLayer::cooldown_jitter) it. After the circuit closes, the load can
//! [return gradually](CircuitBreakerLayer::ramp).
//!
//! # A circuit for each key
//!
//! [`per_key`](CircuitBreakerLayer::per_key) gives each host, tenant or shard its own circuit. A
//! circuit is created on first use and evicted when [idle](CircuitBreakerLayer::evict_idle_after).
//! The number of circuits is [limited](CircuitBreakerLayer::max_circuits).
//! [`CircuitsHandle::circuits`] lists them.
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
//! Do not put one circuit in front of all handlers of a server: because of one broken URL, it would
//! reject every route. Use `per_key` with the matched path instead.
//!
//! # Manual control
//!
//! The [handle](CircuitBreakerHandle) controls a circuit:
//!
//! - read or watch its state and counts
//! - [open](CircuitBreakerHandle::force_open), [close](CircuitBreakerHandle::force_closed) or
//!   [disable](CircuitBreakerHandle::disable) it
//! - [open it for a time](CircuitBreakerHandle::force_open_for), for example for maintenance
//! - [end its cooldown](CircuitBreakerHandle::probe_now), so that the next call is a probe
//! - [only observe](CircuitBreakerHandle::observe_only) what it would do
//! - [change its settings](CircuitBreakerHandle::update) without losing counts
//!
//! [`CircuitsHandle`] finds the handles of circuits by key.
//!
//! # Transitions
//!
//! [`on_transition`](CircuitBreakerLayer::on_transition) calls a closure at each change of state.
//! The closure gets a [`Transition`] with the counts, the cause and the cooldown. It is called with
//! or without a tracked job, so it fits metrics and alerts. If a tracked job causes the transition,
//! the job also emits `CircuitOpened`, `CircuitHalfOpened` or `CircuitClosed`.
//!
//! # Place in the order
//!
//! Outside the overall limit and the retry, the circuit counts jobs. Inside the retry it counts
//! attempts, and an open circuit ends the retries.
//!
//! # Errors
//!
//! By default, the error is a [`BoxError`](crate::BoxError) that holds an [`Open`]. `Open` gives
//! the name of the circuit, the time left and the cause.
//! [`fail_with`](CircuitBreakerLayer::fail_with) and
//! [`respond_with`](CircuitBreakerLayer::respond_with) replace the default.
//!
//! [`Open::cause`] describes the failure that opened the circuit. The error's text ends with this
//! cause, which is for operators. In responses to untrusted clients, use [`Open::circuit`] and
//! [`Open::remaining`] instead of the text.
//!
//! # When it does not compile
//!
//! Call a method such as `oneshot` by its path. The first line of the error then names the missing
//! bound:
//!
//! ```compile_fail,E0277
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_keep::{BoxError, CircuitBreakerLayer};
//!
//! let breaker = CircuitBreakerLayer::new().per_key(|host: &u64| *host);
//! let service = breaker.layer(service_fn(|_: String| async { Ok::<_, BoxError>(()) }));
//! // error[E0277]: the circuit breaker cannot read the key of its circuit from `&String`
//! let call = ServiceExt::oneshot(service, String::new());
//! ```
//!
//! # Cancel safety
//!
//! A dropped call frees its probe slot. The call is ignored, unless
//! [`count_dropped`](CircuitBreakerLayer::count_dropped) is set. A probe that is neither polled nor
//! dropped keeps its slot until its [`probe_timeout`](CircuitBreakerLayer::probe_timeout), counted
//! from its call. A later result of this probe counts, unless the circuit has opened or closed in
//! between.
//!
//! # Readiness
//!
//! While the circuit is open, the inner service is not polled for readiness. With
//! [`per_key`](CircuitBreakerLayer::per_key) it is polled, because the key is not known yet.
//!
//! If a call is rejected after the inner service became ready, the service stays ready, by tower's
//! contract. It keeps the resources of its readiness, such as a permit, until it is called or
//! dropped.
//!
//! For balancers, [`backpressure`](CircuitBreakerLayer::backpressure) makes a service that is not
//! ready while its circuit is open.
//!
//! # Cost
//!
//! | setting | cost of a successful call through a closed circuit |
//! |---|---|
//! | failures in a row | no lock, no clock, no allocation, no write to memory that other threads use |
//! | a rate | a short lock per outcome |
//! | a time window | one clock read |
//! | a slow-call rate | two clock reads |
//! | `per_key` | a table lookup under a shared lock |
//!
//! # Under axum
//!
//! With `respond_with`, the layer fits into `Router::layer`. All routes and connections then share
//! one circuit. So put the layer in front of a client rather than in front of the router. Or give
//! each route a circuit with [`per_key`](CircuitBreakerLayer::per_key) and axum's `MatchedPath`.
//! `Router::layer` includes the fallback; `route_layer` does not.

mod admitted;
mod backpressure;
pub(crate) mod call_end;
mod circuit_kind;
mod circuits_handle;
mod error;
mod eviction;
mod future;
mod handle;
mod layer;
mod mode;
mod one_circuit;
mod opening_reason;
mod packed_state;
pub(crate) mod per_key;
mod service;
mod settings;
mod shared_circuit;
mod slow_in_flight;
mod snapshot;
mod state;
mod table;
mod table_entry;
mod transition;
mod transition_listeners;
mod waiters;
mod window;

#[cfg(feature = "http")]
pub(crate) use self::admitted::LateOutcome;
#[cfg(feature = "pipeline")]
pub(crate) use self::circuit_kind::Circuits;
#[cfg(feature = "serde")]
pub(crate) use self::settings::WindowSize;
pub use self::{
    circuits_handle::CircuitsHandle,
    error::Open,
    future::ResponseFuture,
    handle::CircuitBreakerHandle,
    layer::CircuitBreakerLayer,
    mode::Mode,
    packed_state::State,
    service::CircuitBreaker,
    settings::{Settings, Window},
    snapshot::CircuitSnapshot,
    transition::Transition,
};
