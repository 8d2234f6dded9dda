//! How to choose limits, retries and thresholds: for an interactive client, a batch job, and a
//! server.
//!
//! Measure two things first: how long your callers can wait, and how long your service usually
//! takes. Without measurements, begin with these values.
//!
//! | setting | interactive client | batch job | server, in front of its handlers |
//! |---|---|---|---|
//! | overall limit | 5 s | none, or the time until the next run | 15 s, and less than the proxy in front |
//! | limit of an attempt | 2 s: twice the 99th percentile | 60 s without progress | none: a handler runs once |
//! | grace period | none | as long as the cleanup takes | none |
//! | retries | 2, from 100 ms, full jitter | 8, from 1 s, decorrelated jitter | none: the client retries |
//! | retry budget | 20 % of the first attempts | none: losing the job costs more than the load | |
//! | circuit breaker | half of at least 20 calls in 10 s fail; open for 5 s | 6 failures in a row; open for 30 s | in front of what the handlers call |
//! | duplicates | join, for reads | reject the second run | join, for expensive reads |
//! | shutdown | a dropped call stops | with a grace period | within 20 s |
//!
//! # An interactive client
//!
//! ```
//! use std::time::Duration;
//! use tower_keep::{CircuitBreakerLayer, Pipeline, Ratio, RetryLayer, TimeoutLayer, circuit_breaker::Window};
//!
//! # fn main() -> Result<(), tower_keep::BoxError> {
//! let client = Pipeline::new()
//!     .circuit_breaker(
//!         CircuitBreakerLayer::new()
//!             .failure_rate(Ratio::percent(50)?)
//!             .window(Window::time(Duration::from_secs(10))?)
//!             .minimum_calls(const { std::num::NonZeroU32::new(20).unwrap() })
//!             .cooldown(Duration::from_secs(5)),
//!     )
//!     .timeout(TimeoutLayer::new(Duration::from_secs(5)))
//!     .retry(RetryLayer::for_clients().max_retries(2))
//!     .attempt_timeout(TimeoutLayer::new(Duration::from_secs(2)).per_attempt())
//!     .build()?;
//! # let _ = client;
//! # Ok(())
//! # }
//! ```
//!
//! # A batch job
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_keep::{CancelLayer, CircuitBreakerLayer, DedupLayer, RetryLayer, TimeoutLayer};
//!
//! let nightly = ServiceBuilder::new()
//!     .layer(CancelLayer::new().grace(Duration::from_secs(10)))
//!     .layer(DedupLayer::new(|job: &String| Some(job.clone())))
//!     .layer(CircuitBreakerLayer::new())
//!     .layer(RetryLayer::for_background())
//!     .layer(TimeoutLayer::new(Duration::from_secs(60)).per_attempt().idle());
//! # let _ = nightly;
//! ```
//!
//! # A server
//!
//! ```
//! use std::time::Duration;
//! use http::{Response, StatusCode};
//! use tokio_util::sync::CancellationToken;
//! use tower::ServiceBuilder;
//! use tower_keep::{CancelLayer, LogLayer, TimeoutLayer};
//!
//! fn answer(status: StatusCode) -> Response<String> {
//!     let mut response = Response::new(status.to_string());
//!     *response.status_mut() = status;
//!     response
//! }
//!
//! let stopping = CancellationToken::new();
//! let layers = ServiceBuilder::new()
//!     .layer(LogLayer::new())
//!     .layer(
//!         CancelLayer::new()
//!             .shutdown_on(stopping, Duration::from_secs(20))
//!             .respond_with(|_| answer(StatusCode::SERVICE_UNAVAILABLE)),
//!     )
//!     .layer(
//!         TimeoutLayer::new(Duration::from_secs(15))
//!             .respond_with(|_| answer(StatusCode::GATEWAY_TIMEOUT)),
//!     );
//! # let _ = layers;
//! ```
//!
//! # How the numbers depend on each other
//!
//! - **Limit of an attempt.** It is longer than a slow but healthy answer takes. If it is shorter,
//!   each retry repeats work that was about to succeed. Twice the 99th percentile is a good start.
//! - **Overall limit.** It is as long as the caller can wait. All attempts and waits together may
//!   need more: the overall limit then ends the last attempt. [`Pipeline`](crate::Pipeline) refuses
//!   settings that could never take effect.
//! - **Retries multiply load.** Three retries make four calls of each failing call. If three
//!   services in a chain retry three times each, the service behind them gets 64 calls. Retry in
//!   one service of the chain only. Inside one stack,
//!   [`stop_outer_retries`](crate::RetryLayer::stop_outer_retries) ends the retries around it.
//! - **Budget.** It keeps retries at a share of the first attempts while everything fails. A client
//!   that makes few calls may always make a few retries: the budget's
//!   [floor](crate::retry::RetryBudget::floor).
//! - **Jitter.** It spreads the retries of clients that failed together.
//! - **Cooldown.** Make it shorter than a restart of the service takes. Then the circuit closes
//!   soon after the service is back.
//! - **Probe timeout.** A probe that takes longer lets another probe through. Make it at least as
//!   long as the limits inside the circuit breaker: [`Pipeline`](crate::Pipeline) does that for
//!   you, a `ServiceBuilder` does not.
//! - **Failure rate.** It needs calls. With `minimum_calls` of 20 and a window of 10 s, a client
//!   that calls once a second never opens the circuit. Use failures in a row there, which is the
//!   default.
//! - **Shutdown.** Make it shorter than the time after which the platform kills the process, which
//!   is 30 s on Kubernetes by default. Make the overall limit no longer than the shutdown:
//!   otherwise the shutdown cancels the last requests.
