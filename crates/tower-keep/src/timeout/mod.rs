//! Time limits for calls, attempts and steps: total time, time without progress, grace periods.
//!
//! | limit | set by | when it expires |
//! |---|---|---|
//! | overall: all attempts and waits | [`TimeoutLayer::new`] | the job fails, its token fires, nothing is retried |
//! | one attempt | [`.per_attempt()`](TimeoutLayer::per_attempt), inside the retry | the attempt fails and may be retried |
//! | idle: no progress in the job | [`.idle()`](TimeoutLayer::idle) | as for an overall limit |
//! | idle: no progress in an attempt | `.per_attempt().idle()`, inside the retry | as for the limit of an attempt |
//! | from the request | [`limit_by`](TimeoutLayer::limit_by) after `new`, or after [`none`](TimeoutLayer::none) | as for a fixed limit of its kind |
//! | overall, to the end of an HTTP body | `TimeoutLayer::http` | as for an overall limit, also in the [body](#http-bodies) |
//! | one attempt of an HTTP client | `TimeoutLayer::http_attempt`, inside the retry | until the head as for an attempt; then the [body](#http-bodies) fails |
//! | a named step | [`TimeoutLayer::step_limit`], [`Step::limit`](crate::job::Step::limit) | the step fails |
//!
//! One layer is one limit. Several layers compose: the first limit to expire wins. The order of a
//! layer's settings does not matter.
//!
//! - The clock starts at `call`, even if the future is polled later.
//! - If the inner service completes at the moment of the limit, its result wins.
//! - [`Duration::ZERO`](std::time::Duration::ZERO) accepts only a result that is ready at once.
//!   [`Duration::MAX`](std::time::Duration::MAX) never expires.
//! - The limits do not include the caller's wait for readiness, which comes before `call`.
//! - A retry or a dedup layer waits for readiness inside the call: outer limits include that wait.
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, TimeoutLayer, find, timeout::Elapsed};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let service = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_secs(60)))
//!     .service(service_fn(|_: ()| std::future::pending::<Result<(), BoxError>>()));
//! let error = service.oneshot(()).await.unwrap_err();
//! assert_eq!(find::<Elapsed>(&*error).unwrap().limit(), Duration::from_secs(60));
//! # });
//! ```
//!
//! A limit from the request, and a response instead of an error:
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::TimeoutLayer;
//!
//! struct Query { patience: Option<Duration> }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let service = ServiceBuilder::new()
//!     .layer(TimeoutLayer::none().limit_by(|query: &Query| query.patience).respond_with(|_| "too slow"))
//!     .service(service_fn(|_: Query| std::future::pending::<Result<_, std::convert::Infallible>>()));
//! let answer = service.oneshot(Query { patience: Some(Duration::from_millis(5)) }).await.unwrap();
//! assert_eq!(answer, "too slow");
//! # });
//! ```
//!
//! # Limits per request
//!
//! | the closure returns | `new(..).limit_by(..)` | `none().limit_by(..)` | `step_limit(..).step_limit_by(..)` |
//! |---|---|---|---|
//! | `Some(limit)` | that limit | that limit | that limit |
//! | `None` | the layer's own | none | the layer's own |
//! | `Some(Duration::MAX)` | none | none | none from this layer |
//!
//! The closures see the request as it reaches this layer. If a closure panics, the service is not
//! called.
//!
//! # Idle limits
//!
//! An idle limit ends a job or an attempt that makes no progress. As long as there is progress, the
//! total time does not matter. Progress is:
//!
//! - a [report](crate::Job::progress)
//! - the beginning or the end of a [step](crate::Job::step)
//! - the beginning or the end of an attempt
//! - progress of a child job, such as a call of a client stack inside a handler
//! - progress of the execution that the caller [joined](crate::DedupLayer::join)
//!
//! The wait before the next attempt does not count as idle time, however long it is.
//!
//! ```
//! use std::time::Duration;
//! use tokio::time::{Instant, sleep};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, Job, TimeoutLayer, find, timeout::{Elapsed, LimitScope}};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let service = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_secs(10)).idle())
//!     .service(service_fn(|chunks: u32| async move {
//!         for chunk in 1..=chunks {
//!             sleep(Duration::from_secs(9)).await;
//!             Job::current().progress(f64::from(chunk) / 10.0);
//!         }
//!         std::future::pending::<Result<(), BoxError>>().await
//!     }));
//! let start = Instant::now();
//! let error = service.oneshot(5).await.unwrap_err();
//! assert_eq!(find::<Elapsed>(&*error).unwrap().scope(), &LimitScope::Idle);
//! assert_eq!(start.elapsed(), Duration::from_secs(5 * 9 + 10));
//! # });
//! ```
//!
//! An idle limit outside a [detached](crate::CancelLayer::detached) job applies until the caller
//! leaves. Inside the detached job, it applies until the job ends.
//!
//! # Grace periods
//!
//! By default, the work is dropped at the limit, and the caller gets [`Elapsed`]. With
//! [`TimeoutLayer::grace`], the work can clean up first. [`Step::grace`](crate::job::Step::grace)
//! does the same for a step.
//!
//! | moment | with a grace period |
//! |---|---|
//! | at the limit | the work sees its [`Job`](crate::Job) as cancelled, with [`CancelReason::TimedOut`](crate::CancelReason::TimedOut) |
//! | the work ends within the grace period | its result is discarded, the caller gets [`Elapsed`]; the event is `TimedOut { dropped: false }` |
//! | the grace period is over | the work is dropped, the caller gets [`Elapsed`]; the event is `TimedOut { dropped: true }` |
//!
//! The limit of an attempt cancels only that attempt, including its work in other tasks or threads.
//! So take [`Job::current`](crate::Job::current) and its [`token`](crate::Job::token) again in each
//! attempt. The wait for the next attempt begins after the grace period. A cancellation, an outer
//! limit, or a dropped call ends the grace period at once.
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, Job, TimeoutLayer, find, timeout::Elapsed};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let service = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_secs(60)).grace(Duration::from_secs(5)))
//!     .service(service_fn(|rows: u64| async move {
//!         let job = Job::current();
//!         for row in 0..rows {
//!             // Nothing is half done between two rows.
//!             job.checkpoint()?;
//!             tokio::time::sleep(Duration::from_secs(1)).await;
//!         }
//!         Ok::<_, BoxError>(rows)
//!     }));
//! let error = service.oneshot(1000).await.unwrap_err();
//! assert!(find::<Elapsed>(&*error).is_some());
//! # });
//! ```
//!
//! # Time left
//!
//! [`Job::deadline`](crate::Job::deadline) and [`Job::remaining`](crate::Job::remaining) give the
//! inner code the nearest deadline, even if no layer of the stack begins a job. They ignore idle
//! limits and grace periods.
//!
//! # Place in the order
//!
//! Put the overall limit outside the retry, and the limit of an attempt inside it. An overall limit
//! *inside* the retry ends the whole job at the first attempt that exceeds it.
//!
//! A layer with an idle limit or a grace period tracks a job: it joins the job of the stack, or
//! begins a job. Other limits begin no job.
//!
//! # Cost
//!
//! A call arms a timer only when it first waits. Nested limits that one task polls use one timer.
//! The outermost limit owns it, and sets it to the limit that expires next. The limits of a stack
//! read the clock once, in the outermost `call`, even if other services are between them. Such a
//! service must return from its `call` quickly, because the inner limit includes that time. Work
//! that takes time belongs in the future that `call` returns.
//!
//! # Errors
//!
//! By default, the error is a [`BoxError`](crate::BoxError) that holds an [`Elapsed`]. `Elapsed`
//! gives the kind of the limit, its [name](TimeoutLayer::named) and its duration. It also gives the
//! number of the attempt if a layer tracks the job. [`fail_with`](TimeoutLayer::fail_with) and
//! [`respond_with`](TimeoutLayer::respond_with) replace the default.
//!
//! # When it does not compile
//!
//! Call a method such as `oneshot` by its path. The first line of the error then names the missing
//! bound:
//!
//! ```compile_fail,E0277
//! use std::time::Duration;
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_keep::{BoxError, TimeoutLayer};
//!
//! let limit = TimeoutLayer::none().limit_by(|seconds: &u64| Some(Duration::from_secs(*seconds)));
//! let service = limit.layer(service_fn(|_: String| async { Ok::<_, BoxError>(()) }));
//! // error[E0277]: the closure given to `limit_by` or `step_limit_by` does not take `&String`
//! let call = ServiceExt::oneshot(service, String::new());
//! ```
//!
//! # Cancel safety
//!
//! At the limit, or after the grace period, the inner future is dropped. An overall limit first
//! fires the job's token, so that work in other tasks or threads stops too. Dropping the response
//! future drops the inner future, even during a grace period.
//!
//! # Under axum
//!
//! With `respond_with`, the layer fits into `Router::layer`. The limit includes the handler up to
//! its response, but not a streaming body.
//!
//! # HTTP bodies
//!
//! An HTTP response is complete when its body is, but the call returns at its head. A limit made by
//! `TimeoutLayer::http` or `TimeoutLayer::http_attempt` also limits the body. Both need the feature
//! `http`.
//!
//! | | until the head | in the body |
//! |---|---|---|
//! | `http(60 s)` | as [`new`](TimeoutLayer::new)`(60 s)` | the same 60 s, counted from the call |
//! | `http_attempt(10 s)` | as `new(10 s).per_attempt()` | 10 s for each wait |
//! | `http_attempt(10 s).idle(15 s)` | as `new(10 s).per_attempt()` | 15 s for each wait |
//!
//! When a limit expires in a body:
//!
//! - The body fails with a [`BoxError`](crate::BoxError) that holds an [`Elapsed`]. For an overall
//!   limit, its scope is [`Overall`](LimitScope::Overall), for a wait it is
//!   [`Idle`](LimitScope::Idle). [`Rejection::of`](crate::Rejection::of) recognizes it. With
//!   reqwest, `is_timeout()` does, too.
//! - The rest of the body is dropped at once, which ends the transfer.
//! - The job gets the event `TimedOut`, and fails if its outermost layer follows the body. An
//!   overall limit also fires the job's token. Nothing is retried.
//!
//! What counts as a wait:
//!
//! | idle | not idle |
//! |---|---|
//! | from a poll of the body that finds nothing until the next frame | a reader that does not poll, however long |
//! | | a server that thinks before its head: that is the limit of the attempt |
//! | the same while a server that answered early still reads the upload | an empty body, and the answers to HEAD, 204 and 304 |
//!
//! - What has arrived is read first. An idle limit never discards it.
//! - An overall limit includes the time of the reader. After the limit, only the last frame is
//!   passed on: the body is then complete.
//! - A limit expires when the body is polled. So drop a body that is not read.
//! - [`fail_with`](TimeoutLayer::fail_with), [`respond_with`](TimeoutLayer::respond_with) and
//!   [`grace`](TimeoutLayer::grace) work until the head. A response of `respond_with` has no limit.
//! - [`limit_by`](TimeoutLayer::limit_by) and [`named`](TimeoutLayer::named) count for the body, too.
//! - The kind of limit is fixed: `per_attempt()` and `idle()` of other limits do not compile here.
//!
//! A timer is made when the body first waits. A body of one frame that is there costs no allocation.
//!
#![cfg_attr(feature = "http", doc = "```compile_fail,E0599")]
#![cfg_attr(not(feature = "http"), doc = "```ignore")]
//! use std::time::Duration;
//! use tower_keep::TimeoutLayer;
//!
//! // error: no method named `per_attempt` found for this
//! let limit = TimeoutLayer::http(Duration::from_secs(10)).per_attempt();
//! ```

pub(crate) mod body;
mod deadline;
mod future;
mod grace;
mod idle;
mod layer;
mod limit;
mod service;
mod timer;

#[cfg(feature = "http")]
pub(crate) use self::deadline::Deadline;
#[cfg(any(feature = "pipeline", feature = "http"))]
pub(crate) use self::limit::Measure;
#[cfg(feature = "pipeline")]
pub(crate) use self::limit::{FixedLimit, Span};

pub use self::{future::ResponseFuture, layer::TimeoutLayer, service::Timeout};
pub use crate::{event::LimitScope, job::Elapsed};
