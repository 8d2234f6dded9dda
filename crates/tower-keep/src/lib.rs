//! Defences for any [tower](tower_service) `Service` that runs jobs, as seven independent layers.
//!
//! | layer | solves |
//! |---|---|
//! | [`LogLayer`] | log each event of a job |
//! | [`ProgressLayer`] | show the progress of long jobs |
//! | [`CancelLayer`] | stop work that is no longer needed |
//! | [`DedupLayer`] | execute identical concurrent requests once |
//! | [`CircuitBreakerLayer`] | reject calls at once while a service fails |
//! | [`TimeoutLayer`] | limit the time of calls, attempts and steps |
//! | [`RetryLayer`] | recover from transient failures |
//!
//! Each layer works alone, around any `Service`. Together they share a *job*: one call through the
//! stack. A retry, a timeout and a progress report of one call carry the same job id. The inner
//! code gets its job from [`Job::current`].
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{
//!     BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, LogLayer, ProgressLayer, RetryLayer, TimeoutLayer,
//! };
//!
//! #[derive(Clone)]
//! struct FetchUser { id: u64 }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let executor = service_fn(|job: FetchUser| async move { Ok::<_, BoxError>(format!("user {}", job.id)) });
//! let jobs = ServiceBuilder::new()
//!     .layer(LogLayer::new())
//!     .layer(ProgressLayer::new())
//!     .layer(CancelLayer::new())
//!     .layer(DedupLayer::new(|job: &FetchUser| Some(format!("user:{}", job.id))).join())
//!     .layer(CircuitBreakerLayer::new())
//!     .layer(TimeoutLayer::new(Duration::from_secs(60)))
//!     .layer(RetryLayer::for_clients())
//!     .layer(TimeoutLayer::new(Duration::from_secs(10)).per_attempt())
//!     .service(executor);
//! assert_eq!(jobs.oneshot(FetchUser { id: 7 }).await.unwrap(), "user 7");
//! # });
//! ```
//!
//! # The order of the layers
//!
//! | layer, outermost first | reason |
//! |---|---|
//! | Log, Progress | they see every event |
//! | Cancel | a cancellation ends a backoff, or a wait for a shared result, at once |
//! | Dedup | a duplicate does not reach the circuit |
//! | CircuitBreaker | it counts jobs, after their retries; inside the retry it would count attempts |
//! | Timeout, overall | it includes all attempts and waits |
//! | Retry | all attempts share the overall limit |
//! | Timeout, per attempt | it restarts with each attempt |
//!
//! [`Pipeline`] has this order, and checks the settings against each other. Any other order and any
//! subset work too: there is one job, with one beginning and one ending.
//!
//! # Where to look
//!
//! | task | place |
//! |---|---|
//! | configure a layer | its module, such as [`retry`], and the layer type in it |
//! | list and cancel jobs, control circuits | the handles: [`ProgressLayer::handle`], [`CancelLayer::handle`], [`CircuitBreakerLayer::handle`] |
//! | report, check for a cancellation, run steps inside a job | [`Job::current`] |
//! | set the name or the id of a job | [`JobLayer`] |
//! | define failures | [`Classify`], for Retry, CircuitBreaker and Log |
//! | find out what stopped a call | [`Rejection::of`], or [`find`] for a typed reason |
//! | receive events | [`Observer`] and [`LogLayer::to`]; the kinds are in [`event`] |
//! | run jobs without their callers | [`Dispatcher`] |
//! | use all layers at once | [`Pipeline`] |
//! | reject calls in a layer of your own | [`reject`] |
//! | keep a stack or a layer in a struct | [`pipeline`](crate::pipeline#in-a-struct), [`dispatch`](crate::dispatch#in-a-struct) |
//!
//! # When a stack does not compile
//!
//! For a method call, the compiler says only that "its trait bounds were not satisfied". Require
//! the bound itself, and it names the missing part:
//!
//! ```compile_fail,E0277
//! use tower::{Layer, Service, service_fn};
//! use tower_keep::LogLayer;
//!
//! fn serve<S: Service<u32>>(_: S) {}
//!
//! struct Broken;
//! let stack = LogLayer::new().layer(service_fn(|_: u32| async { Err::<(), _>(Broken) }));
//! // error: `Broken` doesn't implement `std::fmt::Display`
//! serve(stack);
//! ```
//!
//! If the inner service's error is a [`BoxError`] too, a stack awaited in a spawned `async` block
//! can fail to compile: "implementation of `From` is not general enough". This is a limit of the
//! compiler, and occurs with tower's own layers too. Each of these helps:
//!
//! - Spawn the call itself: `tokio::spawn(stack.oneshot(request))`.
//! - Return the stack from a function as `impl Service<Request, Response = .., Error = BoxError,
//!   Future: Send> + Clone`.
//! - Box the stack.
//!
//! # When a layer stops a call
//!
//! Timeout, CircuitBreaker, Dedup and Cancel can stop a call. The caller then gets a [`BoxError`]
//! with a typed reason inside, for [`find`]. `.fail_with(AppError::Timeout)` returns your own error
//! instead, `.respond_with(|why| response)` a response. See [`reject`].
//!
//! # Jobs that outlive their callers
//!
//! A call through a stack stops when its future is dropped. A [`Dispatcher`] around the stack runs
//! each call in its own task. Dispatching is synchronous and returns a [`JobHandle`], a future of
//! the result. The job continues if the handle is dropped. The handle can also watch and cancel the
//! job.
//!
//! # Features
//!
//! | feature | default | content |
//! |---|---|---|
//! | `cancel`, `circuit-breaker`, `dedup`, `log`, `progress`, `retry`, `timeout` | on | the layer of this name |
//! | `pipeline` | on | [`Pipeline`], a stack of all layers |
//! | `dispatch` | on | [`Dispatcher`] |
//! | `http` | off | HTTP clients: the module `http`, and the constructors `http()` of the layers |
//! | `hyper-1` | off | what the errors of hyper 1, hyper-util 0.1 and h2 0.4 mean |
//! | `reqwest-0-13` | off | the types of reqwest 0.13, and `send_through` |
//! | `serde` | off | serialization of ids, events, views and counts; the module `wire` documents the format |
//!
//! # Time
//!
//! All clocks and timers are [`tokio::time`], so tests can use a paused clock. A layer that waits
//! needs a tokio runtime with time enabled.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Shared modules serve all layers and the dispatcher. With some features off, parts are unused.
#![cfg_attr(
    not(all(
        feature = "cancel",
        feature = "circuit-breaker",
        feature = "dedup",
        feature = "dispatch",
        feature = "log",
        feature = "progress",
        feature = "retry",
        feature = "timeout"
    )),
    allow(dead_code)
)]

pub mod classify;
#[cfg(any(feature = "cancel", feature = "dedup"))]
mod display_error;
pub mod error;
mod error_text;
pub mod event;
#[cfg(any(feature = "circuit-breaker", feature = "retry", feature = "timeout"))]
mod for_request;
pub mod job;
#[cfg(any(feature = "circuit-breaker", feature = "retry"))]
mod ratio;
pub mod reject;
#[cfg(any(feature = "circuit-breaker", feature = "retry"))]
mod sharded;
mod sync;
mod tracing_enabled;
mod unshare;

#[cfg(feature = "cancel")]
pub mod cancel;
#[cfg(feature = "circuit-breaker")]
pub mod circuit_breaker;
#[cfg(feature = "dedup")]
pub mod dedup;
#[cfg(feature = "dispatch")]
pub mod dispatch;
#[cfg(feature = "pipeline")]
pub mod guide;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "log")]
pub mod log;
#[cfg(feature = "pipeline")]
pub mod pipeline;
#[cfg(feature = "progress")]
pub mod progress;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(feature = "timeout")]
pub mod timeout;
#[cfg(feature = "serde")]
pub mod wire;

#[cfg(feature = "cancel")]
pub use self::cancel::CancelLayer;
#[cfg(feature = "circuit-breaker")]
pub use self::circuit_breaker::CircuitBreakerLayer;
#[cfg(feature = "dedup")]
pub use self::dedup::DedupLayer;
#[cfg(feature = "dispatch")]
pub use self::dispatch::{Dispatcher, JobHandle};
#[cfg(feature = "reqwest-0-13")]
pub use self::http::SendThrough;
#[cfg(all(feature = "http", feature = "retry"))]
pub use self::http::resume::ResumeLayer;
#[cfg(feature = "http")]
pub use self::http::{
    RepeatRequest, idempotency_key::IdempotencyKeyLayer, replay::ReplayLayer,
    send_deadline::SendDeadlineLayer,
};
#[cfg(feature = "log")]
pub use self::log::LogLayer;
#[cfg(feature = "pipeline")]
pub use self::pipeline::Pipeline;
#[cfg(feature = "progress")]
pub use self::progress::ProgressLayer;
#[cfg(any(feature = "circuit-breaker", feature = "retry"))]
pub use self::ratio::{InvalidRatio, InvalidWindow, Ratio};
#[cfg(feature = "retry")]
pub use self::retry::RetryLayer;
#[cfg(feature = "timeout")]
pub use self::timeout::TimeoutLayer;
pub use self::{
    classify::{Classify, ErrorsAsFailures, Outcome},
    error::{BoxError, find},
    error_text::describe_error,
    event::{
        AttemptOutcome, CancelReason, Event, EventKind, FailureCause, GiveUpReason, InvalidJobId,
        JobId, JobName, LimitScope, Observer, Report, StepInfo, Unit,
    },
    job::{Job, JobLayer},
    reject::Rejection,
};
