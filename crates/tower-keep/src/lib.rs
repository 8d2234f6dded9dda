//! Defences for any [tower](tower_service) `Service` that runs jobs, as seven independent layers.
//!
//! | layer | solves |
//! |---|---|
//! | [`LogLayer`] | see what happens: one record for each event |
//! | [`ProgressLayer`] | show what a long job is doing |
//! | [`CancelLayer`] | stop work that nobody needs any more |
//! | [`DedupLayer`] | one execution for identical concurrent requests |
//! | [`CircuitBreakerLayer`] | stop calling what fails |
//! | [`TimeoutLayer`] | no operation runs for ever |
//! | [`RetryLayer`] | recover from transient failures |
//!
//! Each layer works alone, around any `Service`. Together they share one notion of a *job*, one call through the stack: a
//! retry, a timeout and a progress report of one call carry the same id. The code inside reaches its job with
//! [`Job::current`].
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
//! # The order, and why
//!
//! Outermost first, as above. Log and Progress see everything. Cancel is outside whatever waits, so that it ends a
//! backoff or a wait for another's result at once. Dedup asks first: a duplicate touches no circuit. The circuit
//! breaker counts jobs, after their retries (inside the retry it would count attempts). The overall limit spans
//! all attempts and waits, the inner one each attempt. [`Pipeline`] is this order ready-made, with the settings checked
//! against each other. Any other order and any subset works too: there is one job, with one beginning and one ending.
//!
//! # Where to find what
//!
//! | you want to | look at |
//! |---|---|
//! | configure a layer | its module, such as [`retry`], and the layer there; each says when to use it, and where it goes |
//! | see, find and cancel jobs | the handles: [`ProgressLayer::handle`], [`CancelLayer::handle`], [`CircuitBreakerLayer::handle`] |
//! | report, check for a cancellation, run steps inside a job | [`Job::current`] |
//! | name jobs, or give them an id of your own | [`JobLayer`] |
//! | say what counts as a failure | [`Classify`], for Retry, CircuitBreaker and Log |
//! | know what stopped a call | [`Rejection::of`], or [`find`] for a typed reason |
//! | receive each event | [`Observer`] and [`LogLayer::to`]; the kinds are in [`event`] |
//! | run jobs without their callers | [`Dispatcher`] |
//! | take all layers at once | [`Pipeline`] |
//! | reject calls in a layer of your own | [`reject`] |
//! | keep a stack or a layer in a struct | [`pipeline`](crate::pipeline#in-a-struct), [`dispatch`](crate::dispatch#in-a-struct) |
//!
//! # When a stack does not compile
//!
//! Of a method that a stack does not have, the compiler says only that "its trait bounds were not satisfied". Ask for the
//! bound itself, and it names what is missing:
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
//! # When a layer stops a call
//!
//! Timeout, CircuitBreaker, Dedup and Cancel can stop a call themselves. By default the service's error is then a
//! [`BoxError`] with a typed reason inside, which [`find`] finds; `.fail_with(AppError::Timeout)` makes it the user's
//! own error, `.respond_with(|why| response)` a response. See [`reject`].
//!
//! Where the service's own error is a [`BoxError`] too, awaiting the stack inside an `async` block that has to be `Send`,
//! such as one that is spawned, can fail to compile with "implementation of `From` is not general enough". That is a
//! limit of the compiler, and the same with tower's own layers. Spawning the call itself helps
//! (`tokio::spawn(stack.oneshot(request))`), as does a function that returns the stack as
//! `impl Service<Request, Response = .., Error = BoxError, Future: Send> + Clone`, or boxing the stack.
//!
//! # Jobs that outlive their callers
//!
//! A call through a stack stops when its future is dropped. A [`Dispatcher`] around the stack runs each call in a task of
//! its own: dispatching is synchronous and gives a [`JobHandle`], the result's future, which can be dropped while the job
//! runs on, or used to watch and to cancel it.
//!
//! # Features
//!
//! One for each layer: `cancel`, `circuit-breaker`, `dedup`, `log`, `progress`, `retry`, `timeout`; `pipeline` for the
//! ready-made stack of all, and `dispatch` for the [`Dispatcher`]. All are on by default.
//!
//! `serde`, which is not: ids, events, views and counts are data for other programs. The module `wire` says in which form.
//!
//! # Time
//!
//! All clocks and timers are [`tokio::time`], so a test with a paused clock drives everything. A layer that waits needs a
//! tokio runtime with time enabled.

#![cfg_attr(docsrs, feature(doc_cfg))]
// The ground floor serves all seven layers and the dispatcher; with some of them switched off, some of it has no use.
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
