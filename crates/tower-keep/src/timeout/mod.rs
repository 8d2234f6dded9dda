//! No operation runs for ever.
//!
//! | limit | set by | when it expires |
//! |---|---|---|
//! | overall: all attempts and waits | [`TimeoutLayer::new`] | the job fails, its token fires, nothing is retried |
//! | one attempt | [`.per_attempt()`](TimeoutLayer::per_attempt), inside the retry | the attempt fails and may be retried |
//! | idle: no progress in the job | [`.idle()`](TimeoutLayer::idle) | as overall |
//! | idle: no progress in an attempt | `.per_attempt().idle()`, inside the retry | as that of an attempt |
//! | from the request | [`limit_by`](TimeoutLayer::limit_by) after `new`, or after [`none`](TimeoutLayer::none) | as its kind |
//! | a named step | [`TimeoutLayer::step_limit`], [`Step::limit`](crate::job::Step::limit) | the step fails |
//!
//! One layer is one limit, and the order of its settings does not matter. Several layers compose, and whichever limit
//! comes first wins. The clock starts at `call`, also where the
//! future is polled late; if the inner service is ready in the same moment, its result wins.
//! A call arms a timer when it first has to wait. Nested limits that one task polls share the timer of the outermost.
//! Layers that hand a call down read the clock once. So a service between two limits must not block in its `call`: that
//! time counts for the inner limit too. It does its work in its future.
//! [`Duration::ZERO`](std::time::Duration::ZERO) lets through only what is ready at once;
//! [`Duration::MAX`](std::time::Duration::MAX) never expires.
//!
//! Readiness comes before `call` and is under no limit of this layer: a caller that waits for a service to become ready
//! limits that wait itself. The retry's wait for readiness is within the limits outside it, and a deduplicated call's
//! within those outside the dedup layer.
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
//! The limit from the request, with an answer instead of an error:
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
//! # What a request may override
//!
//! | the closure says | `new(..).limit_by(..)` | `none().limit_by(..)` | `step_limit(..).step_limit_by(..)` |
//! |---|---|---|---|
//! | `Some(limit)` | that limit | that limit | that limit |
//! | `None` | the layer's own | none | the layer's own |
//! | `Some(Duration::MAX)` | none | none | none from this layer |
//!
//! The closures see the request as it reaches this layer. A closure that panics ends the call before the service is called.
//!
//! # Idle limits
//!
//! A job that takes long is fine as long as it goes on. What shows that it does: a [report](crate::Job::progress), the
//! beginning or the end of a [step](crate::Job::step) or of an attempt, in the job or in one that works for it, such as
//! that of a client stack in a handler. The wait before the next attempt does not count, however long it is. A caller
//! that [joined](crate::DedupLayer::join) an execution waits for as long as that one goes on.
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
//! Around a [detached](crate::CancelLayer::detached) job an idle limit ends when the caller leaves; inside it, it holds
//! for the job.
//!
//! # Grace periods
//!
//! By default the work is dropped at the limit, wherever it stands. With [`TimeoutLayer::grace`] it is told to stop and
//! may go on for that long, to clean up; [`Step::grace`](crate::job::Step::grace) does so for a step. The caller gets
//! [`Elapsed`] either way, and the event says which happened.
//!
//! | | without | with |
//! |---|---|---|
//! | at the limit | the work is dropped, the caller gets [`Elapsed`] | the work's [`Job`](crate::Job) is cancelled, with [`CancelReason::TimedOut`](crate::CancelReason::TimedOut) |
//! | the work ends by itself | | its result is dropped, the caller gets [`Elapsed`]; `TimedOut { dropped: false }` |
//! | the grace period is over | | the work is dropped, the caller gets [`Elapsed`]; `TimedOut { dropped: true }` |
//!
//! The limit of an attempt tells that attempt and what it handed elsewhere, for good, and not the next attempt: take
//! [`Job::current`](crate::Job::current) and its [`token`](crate::Job::token) in each. The wait for the next attempt
//! begins when the grace period is over. A cancellation, a limit further out and a caller that leaves end it at once.
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
//!             // Between two rows nothing is half done.
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
//! The code inside knows when it will be stopped: [`Job::deadline`](crate::Job::deadline) and
//! [`Job::remaining`](crate::Job::remaining) are those of the nearest limit on it, with a job or without one. Idle
//! limits are not among them, nor are grace periods.
//!
//! # Its place in the order
//!
//! The overall limit outside the retry, the limit of an attempt inside it. An overall limit *inside* a retry ends the
//! job at the first attempt that exceeds it: it is an overall limit. A layer with an idle limit or a grace period
//! joins the stack's job or begins one, as Cancel does; the others begin none.
//!
//! # Errors
//!
//! [`Elapsed`] says which limit, its [name](TimeoutLayer::named), how long, and in which attempt (where a layer tracks the job), as a [`BoxError`](crate::BoxError); or what
//! [`fail_with`](TimeoutLayer::fail_with) or [`respond_with`](TimeoutLayer::respond_with) makes of it.
//!
//! # When it does not compile
//!
//! Call a method such as `oneshot` by its path, and the first line of the error says what is missing:
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
//! On expiry, or after the grace period, the inner future is dropped. An overall limit first fires the job's token, so
//! that work handed to another task or thread stops too. Dropping the response future drops the inner one, during a
//! grace period too.
//!
//! # Under axum
//!
//! With `respond_with` it goes into `Router::layer` as it is. It covers the handler up to its response, not a body
//! that streams on.

mod deadline;
mod future;
mod grace;
mod idle;
mod layer;
mod limit;
mod service;
mod timer;

#[cfg(feature = "pipeline")]
pub(crate) use self::limit::{FixedLimit, Measure, Span};

pub use self::{future::ResponseFuture, layer::TimeoutLayer, service::Timeout};
pub use crate::{event::LimitScope, job::Elapsed};
