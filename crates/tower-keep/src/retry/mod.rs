//! Recover from transient failures.
//!
//! | setting | default |
//! |---|---|
//! | [`max_retries`](RetryLayer::max_retries): retries, not attempts | 3 |
//! | [`base_delay`](RetryLayer::base_delay) | 1 s |
//! | [`max_delay`](RetryLayer::max_delay) | 30 s |
//! | [`should_retry`](RetryLayer::should_retry) | every error |
//! | [`clone_with`](RetryLayer::clone_with) | `Request: Clone` |
//!
//! The wait before retry n, counted from 0, is `min(base_delay * 2^n, max_delay)`: 1, 2 and 4 s by default.
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, RetryLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! static CALLS: AtomicU32 = AtomicU32::new(0);
//! let service = ServiceBuilder::new()
//!     .layer(RetryLayer::new().should_retry(|error: &BoxError| error.to_string() == "busy"))
//!     .service(service_fn(|_: ()| async {
//!         match CALLS.fetch_add(1, Ordering::Relaxed) {
//!             0 => Err::<_, BoxError>("busy".into()),
//!             _ => Ok("done"),
//!         }
//!     }));
//! assert_eq!(service.oneshot(()).await.unwrap(), "done");
//! # });
//! ```
//!
//! # What is never retried
//!
//! A call that a layer inside turned away or ended for good: an open circuit, a duplicate, a cancellation, an overall
//! time limit. An attempt's own time limit is retried like an error, also where it is answered with a response.
//! (A foreign layer in between that moves the call to another task, such as tower's `Buffer`, hides this from the
//! retry: look for the reason in `should_retry` there.)
//!
//! # Its place in the order
//!
//! Inside the overall limit, outside the limit of an attempt. The circuit breaker goes outside it, to count jobs, or
//! inside it, to count attempts.
//!
//! # Errors
//!
//! The last one, unchanged: `type Error` is the inner service's. It has to be `Display` for the events.
//!
//! # Cancel safety
//!
//! Dropping the future during a wait retries nothing more. Nothing of the inner service is held while waiting.
//!
//! # Under axum
//!
//! Goes into `Router::layer` where the request is `Clone`; axum's body is not, so there `clone_with` has to say how to
//! repeat it. A retry belongs in front of a client rather than in front of a handler.

mod backoff;
mod budget;
mod future;
mod handle;
mod layer;
mod next;
mod policy;
mod request;
mod service;
mod settings;
mod shared;
mod total;

pub use self::{
    backoff::{Backoff, BackoffStrategy, Jitter},
    budget::Balance,
    future::{Counted, ResponseFuture},
    handle::{InvalidWindow, RetryBudget},
    layer::RetryLayer,
    policy::{Attempt, Decision, ErrorsIf, OnClass, OnError, Policy},
    request::{ByClone, CloneRequest, CloneWith},
    service::Retry,
};
