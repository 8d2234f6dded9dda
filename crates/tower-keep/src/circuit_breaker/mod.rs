//! Stop calling what fails.
//!
//! | state | what happens to a call | left when |
//! |---|---|---|
//! | closed | goes through | more than [`failure_threshold`](CircuitBreakerLayer::failure_threshold) failures in a row (default 5: the sixth opens) |
//! | open | is rejected at once; the inner service is neither polled nor called | the [`cooldown`](CircuitBreakerLayer::cooldown) (default 30 s) is over and a call comes |
//! | half-open | up to [`half_open_probes`](CircuitBreakerLayer::half_open_probes) at a time (default 1) go through, the rest is rejected | a probe succeeds (closed) or fails (open, for a whole cooldown) |
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
//! assert_eq!(find::<Open>(&*error).unwrap().circuit(), "database");
//! # });
//! ```
//!
//! # What counts
//!
//! | outcome | counts as |
//! |---|---|
//! | `Ok`, `Err` | success, failure; or what [`classify`](CircuitBreakerLayer::classify) says |
//! | an attempt's time limit, inside or around this layer | failure |
//! | an overall time limit, inside or around this layer | failure, unless [`ignore_timeouts`](CircuitBreakerLayer::ignore_timeouts) |
//! | a panic | failure |
//! | cancelled; rejected by a layer inside as duplicate or by its own circuit; dropped by the caller | nothing |
//!
//! What was admitted before a transition counts for nothing after it. A probe is a lease: one that is dropped or
//! cancelled gives its place back, one that hangs loses it after the
//! [`probe_timeout`](CircuitBreakerLayer::probe_timeout). So a circuit never stays half-open for good.
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
//! # Cancel safety
//!
//! A dropped call counts for nothing and gives its probe back.
//!
//! # Readiness
//!
//! While the circuit is open the inner service is not asked. A call that is rejected after the inner service was made
//! ready leaves it ready, as tower's contract has it: an instance kept for later then keeps what its readiness holds,
//! such as a permit. Drop it, or call again.
//!
//! # Under axum
//!
//! With `respond_with` it goes into `Router::layer` as it is. All routes and connections share one circuit, as the
//! layer's clones do. `Router::layer` also covers the fallback; `route_layer` does not.

mod error;
mod future;
mod gate;
mod handle;
mod in_flight;
mod layer;
mod per_key;
mod service;
mod settings;
mod shared;
mod snapshot;
mod state;
mod waiters;
mod window;
mod word;

#[cfg(feature = "pipeline")]
pub(crate) use self::gate::sealed::Circuits;
pub use self::{
    error::Open,
    future::ResponseFuture,
    gate::{Backpressure, Single},
    handle::CircuitBreakerHandle,
    layer::CircuitBreakerLayer,
    per_key::{CircuitsHandle, PerKey},
    service::CircuitBreaker,
    settings::{InvalidWindow, Settings, Window},
    snapshot::Snapshot,
    state::{Mode, State},
};
