//! One execution for identical concurrent requests.
//!
//! The key is marked before the work starts and free again when the job ends, in whichever way: with a result, by a
//! limit, a cancellation, a panic or a drop. Requests without a key (`None`) are not deduplicated.
//!
//! | mode | a second call with the same key | |
//! |---|---|---|
//! | reject, the default | fails with [`Duplicate`], which says which job has the key | |
//! | [`join`](DedupLayer::join) | waits for the first one's result | needs `Response: Clone`, and what is shared has to be `Send` |
//! | `join` and [`keep`](DedupLayer::keep) | waits for the first one's result, and gets it for some time after its end | as `join` |
//!
//! A joined execution belongs to all its callers. Any of them may leave at any moment, the first one too: the work goes
//! on for the others, and stops when the last one leaves. It runs in the first caller's job. Responses are cloned only
//! for those that joined. An error need not be `Clone`: whoever shares it gets a [`SharedError`] around it, in which
//! [`find`](crate::find) finds it.
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, DedupLayer};
//!
//! static EXECUTIONS: AtomicU32 = AtomicU32::new(0);
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let mut service = ServiceBuilder::new()
//!     .layer(DedupLayer::new(|user: &u64| Some(*user)).join())
//!     .service(service_fn(|user: u64| async move {
//!         EXECUTIONS.fetch_add(1, Ordering::Relaxed);
//!         tokio::time::sleep(std::time::Duration::from_secs(1)).await;
//!         Ok::<_, BoxError>(format!("user {user}"))
//!     }));
//! let first = service.ready().await.unwrap().call(7);
//! let second = service.ready().await.unwrap().call(7);
//! let (first, second) = tokio::join!(first, second);
//! assert_eq!(first.unwrap(), second.unwrap());
//! assert_eq!(EXECUTIONS.load(Ordering::Relaxed), 1);
//! # });
//! ```
//!
//! # Kept results
//!
//! Unless the layer is told to [`keep`](DedupLayer::keep), nothing is kept once the execution is over. With it, a
//! success answers the requests that come later: nothing is executed, and the inner service is not asked whether it is
//! ready. This is what becomes of a detached job's result whose caller went away.
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, DedupLayer};
//!
//! static EXECUTIONS: AtomicU32 = AtomicU32::new(0);
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let users = DedupLayer::new(|user: &u64| Some(*user))
//!     .join()
//!     .keep(Duration::from_secs(60));
//! let handle = users.handle();
//! let mut service = ServiceBuilder::new()
//!     .layer(users)
//!     .service(service_fn(|user: u64| async move {
//!         EXECUTIONS.fetch_add(1, Ordering::Relaxed);
//!         Ok::<_, BoxError>(format!("user {user}"))
//!     }));
//! service.ready().await.unwrap().call(7).await.unwrap();
//! service.ready().await.unwrap().call(7).await.unwrap();
//! assert_eq!(EXECUTIONS.load(Ordering::Relaxed), 1);
//!
//! // The user changed.
//! handle.invalidate(&7);
//! service.ready().await.unwrap().call(7).await.unwrap();
//! assert_eq!(EXECUTIONS.load(Ordering::Relaxed), 2);
//! # });
//! ```
//!
//! | | |
//! |---|---|
//! | time to live | [`keep`](DedupLayer::keep), on tokio's clock, from the end of the execution |
//! | after that | [`stale_while_revalidate`](DedupLayer::stale_while_revalidate): answered at once, while one execution renews it |
//! | count | [`keep_at_most`](DedupLayer::keep_at_most), 1000 by default; the one that was asked for the longest time ago goes first |
//! | what is kept | what is a success to [`classify`](DedupLayer::classify), each `Ok` by default |
//! | what is never kept | errors; what a layer inside answered in the service's place; what a layer inside calls a failure; what a cancelled job handed out |
//! | removal | [`DedupHandle::invalidate`], [`DedupHandle::invalidate_all`]: what is in flight then is not kept either |
//! | event | [`AnsweredFromKept`](crate::EventKind::AnsweredFromKept); the job succeeds without having started |
//!
//! A result that is too old takes its place until its key is asked for again, or until it is pushed out. Its key says
//! whom a result is for: where users may not see each other's results, the user belongs into the key.
//!
//! # Watching it
//!
//! [`handle`](DedupLayer::handle) gives the keys in flight, each with its job, its followers and its beginning, and
//! counts executions, joined and rejected calls, and hits. Keys are shown only if they were marked after the first
//! handle was made: before, nobody pays for it.
//!
//! # Its place in the order
//!
//! Outside the circuit breaker and the retry: a duplicate is asked for first, and a job's retries keep its key.
//!
//! # Readiness
//!
//! This layer is always ready: the key is unknown until the request comes, and a call that joins must not reserve what
//! it will not use. Whoever executes drives a clone of the inner service to readiness within its future.
//!
//! # Errors
//!
//! [`Duplicate`], as a [`BoxError`](crate::BoxError); or what [`fail_with`](DedupLayer::fail_with) or
//! [`respond_with`](DedupLayer::respond_with) makes of it. With those two, a joined execution's error has to be `Clone`.
//! If a joined execution panics, its callers get a [`Duplicate`] that says so.
//!
//! # Cancel safety
//!
//! Dropping a call frees its key, or leaves the joined execution to the others.
//!
//! One of the callers polls a joined execution for all. A call that is neither polled nor dropped (kept aside in a
//! `select!`, or in a buffer of futures that is not asked for more) can hold up the others, as a lock's owner would; in
//! a task of its own it cannot. A job whose code calls its own stack with its own key waits for itself.
//!
//! # Under axum
//!
//! With `respond_with` it goes into `Router::layer` as it is. Joining needs a response that is `Clone`, which one with
//! axum's body is not: collect it first.

mod error;
mod execution;
mod flight;
mod future;
mod handle;
mod join;
mod kept;
mod keys;
mod layer;
mod lead;
mod mode;
mod place;
mod places;
mod replace;
mod service;
mod share;
mod watch;

pub use self::{
    error::{Duplicate, SharedError},
    future::ResponseFuture,
    handle::{DedupCounts, DedupHandle, InFlight},
    join::JoinFuture,
    keys::Keys,
    layer::{DedupKey, DedupLayer, KeyBy, Keyed, NoKey},
    mode::{Debounce, Join, JoinMode, Keep, KeepMode, Keeping, Latest, Reject},
    replace::ReplaceFuture,
    service::Dedup,
    share::ShareError,
};
