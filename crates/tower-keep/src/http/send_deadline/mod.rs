//! Sends the remaining time with each request: [`SendDeadlineLayer`].
//!
//! # When to use it
//!
//! Use it if the server, or a proxy before it, reads the time that its caller still has. The server
//! then stops work whose result nobody waits for, and passes the rest on to its own calls.
//!
//! ```
//! use std::time::Duration;
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, SendDeadlineLayer, TimeoutLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let server = service_fn(|request: Request<()>| async move {
//!     let header = request.headers().get("x-envoy-expected-rq-timeout-ms").cloned();
//!     Ok::<_, BoxError>(Response::new(header))
//! });
//! let client = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Duration::from_secs(60)))
//!     .layer(TimeoutLayer::new(Duration::from_secs(10)).per_attempt())
//!     .layer(SendDeadlineLayer::new())
//!     .service(server);
//! let response = client.oneshot(Request::new(())).await.unwrap();
//! assert_eq!(response.into_body().unwrap(), "10000");
//! # });
//! ```
//!
//! # The limits that count
//!
//! The nearest limit around the call: of the attempt, of the whole job, of a step, and of the jobs
//! whose code makes the call. So a handler with a limit passes it on to its own calls. These do not
//! count: idle limits, grace periods, and the time of retries
//! ([`max_total_time`](crate::RetryLayer::max_total_time)), which end no attempt. Without a limit,
//! the layer sends nothing.
//!
//! # The header
//!
//! | request | header | value |
//! |---|---|---|
//! | gRPC: the content type is `application/grpc`, with any suffix | `grpc-timeout` | up to 8 digits and the finest unit that fits |
//! | any other | `x-envoy-expected-rq-timeout-ms`, or another [name](SendDeadlineLayer::header) | milliseconds |
//!
//! The value is rounded down, and is at least 1 unit. A header that the request carries stays if it
//! is shorter. Otherwise it is lowered. A header that does not parse is replaced, and so is a
//! number of 0 milliseconds, which means "no limit" to some proxies.
//!
//! # At the deadline
//!
//! A gRPC server that keeps the deadline often answers a moment before the limit of the attempt
//! expires: with `deadline exceeded`, or with `cancelled`, as tonic does. Retry, CircuitBreaker and
//! Log treat both [as the limit itself](crate::http#statuses): a failure that may be retried.
//!
//! # Place in the order
//!
//! Innermost, next to the client. Each attempt then sends the time that remains when it begins. A
//! layer between that hands the call to another task, such as tower's `Buffer`, hides the limits.
//!
//! # Errors
//!
//! The layer has none, and passes on those of the inner service.
//!
//! # Cost
//!
//! One read of the clock and a header value, if there is a limit. The response future is the inner
//! service's.
//!
//! # Cancel safety
//!
//! The layer holds nothing during a call.
//!
//! # Under axum
//!
//! It is a layer for clients. A client that a handler calls sends the rest of the limit that
//! surrounds the handler.

mod layer;
mod service;
mod value;

pub use self::{layer::SendDeadlineLayer, service::SendDeadline};
