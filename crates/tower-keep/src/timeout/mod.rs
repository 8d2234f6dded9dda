//! No operation runs for ever.
//!
//! | limit | set by | when it expires |
//! |---|---|---|
//! | overall: all attempts and waits | [`TimeoutLayer::new`] | the job fails, its token fires, nothing is retried |
//! | one attempt | [`TimeoutLayer::per_attempt`], inside the retry | the attempt fails and may be retried |
//! | from the request | [`TimeoutLayer::per_request`] | as overall |
//! | a named step | [`TimeoutLayer::step_limit`], [`Step::limit`](crate::job::Step::limit) | the step fails |
//!
//! Whichever comes first wins. The clock starts at `call`, also where the future is polled late; if the inner service
//! is ready in the same moment, its result wins. [`Duration::ZERO`](std::time::Duration::ZERO) lets through only what
//! is ready at once; [`Duration::MAX`](std::time::Duration::MAX) never expires.
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
//!     .layer(TimeoutLayer::per_request(|query: &Query| query.patience).respond_with(|_| "too slow"))
//!     .service(service_fn(|_: Query| std::future::pending::<Result<_, std::convert::Infallible>>()));
//! let answer = service.oneshot(Query { patience: Some(Duration::from_millis(5)) }).await.unwrap();
//! assert_eq!(answer, "too slow");
//! # });
//! ```
//!
//! # Its place in the order
//!
//! The overall limit outside the retry, the limit of an attempt inside it. An overall limit *inside* a retry ends the
//! job at the first attempt that exceeds it: it is an overall limit.
//!
//! # Errors
//!
//! [`Elapsed`] says which limit, how long, and in which attempt, as a [`BoxError`](crate::BoxError); or what
//! [`fail_with`](TimeoutLayer::fail_with) or [`respond_with`](TimeoutLayer::respond_with) makes of it.
//!
//! # Cancel safety
//!
//! On expiry the inner future is dropped. An overall limit first fires the job's token, so that work handed to another
//! task or thread stops too.
//!
//! # Under axum
//!
//! With `respond_with` it goes into `Router::layer` as it is. It covers the handler up to its response, not a body
//! that streams on.

mod deadline;
mod future;
mod idle;
mod layer;
mod limit;
mod service;
mod watched;
mod work;

#[cfg(feature = "pipeline")]
pub(crate) use self::layer::{Measure, Span};

pub use self::{
    future::ResponseFuture,
    layer::{AtOnce, TimeoutLayer, Watched},
    limit::{FixedLimit, Limit, LimitBy},
    service::Timeout,
    watched::WatchedTimeout,
    work::WatchedFuture,
};
pub use crate::{event::LimitScope, job::Elapsed};
