//! Stop work that nobody needs any more.
//!
//! Every job gets a cancellation token, tracked under the job's id. The layer's [`CancelHandle`] cancels one job or
//! all; a new job can [replace](CancelLayer::replace) the one before it in its group; an outside
//! [`CancellationToken`](tokio_util::sync::CancellationToken), such as a server's graceful shutdown, can stop them all.
//!
//! The caller gets [`Cancelled`] within one poll and the work is dropped; with [`CancelLayer::grace`] the token fires
//! first and the work may clean up for that long. The code inside sees the token as
//! [`Job::is_cancelled`](crate::Job::is_cancelled), [`Job::checkpoint`](crate::Job::checkpoint) and
//! [`Job::cancelled`](crate::Job::cancelled).
//!
//! ```
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, CancelLayer, CancelReason, Job, cancel::Cancelled, find};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let cancel = CancelLayer::new();
//! let handle = cancel.handle();
//! let service = ServiceBuilder::new().layer(cancel).service(service_fn(move |_: ()| {
//!     let handle = handle.clone();
//!     async move {
//!         // Somebody else would do this, with the id from an event.
//!         handle.cancel(Job::current().id().unwrap());
//!         std::future::pending::<Result<(), BoxError>>().await
//!     }
//! }));
//! let error = service.oneshot(()).await.unwrap_err();
//! assert_eq!(find::<Cancelled>(&*error).unwrap().reason(), &CancelReason::Requested);
//! # });
//! ```
//!
//! # Its place in the order
//!
//! Outside everything that waits (Dedup, Retry), so that a cancellation ends a backoff, a wait for readiness and a
//! wait for another's result at once. Inside a retry it has nothing to cancel during a backoff. A job can be cancelled
//! from when this layer is called: an observer that is told of `Dispatched` by a layer outside it is too early.
//!
//! # Errors
//!
//! [`Cancelled`] with the reason, as a [`BoxError`](crate::BoxError); or what
//! [`fail_with`](CancelLayer::fail_with) or [`respond_with`](CancelLayer::respond_with) makes of it.
//!
//! # Cancel safety
//!
//! Dropping the response future stops the work, as everywhere in Rust, and fires the job's token. A
//! [detached](CancelLayer::detached) job runs on in a task of its own.
//!
//! # Under axum
//!
//! With `respond_with` it goes into `Router::layer` as it is. A client that disconnects drops the future, which ends
//! the job as [`CancelReason::CallerGone`].

mod future;
mod groups;
mod handle;
mod layer;
mod registry;
mod running;
mod service;
mod shutdown;
mod spawned;
mod work;

pub use self::{
    future::ResponseFuture,
    groups::{GroupHandle, Groups},
    handle::CancelHandle,
    layer::{CancelLayer, Detached, GroupBy, Grouped, NoGroup, ReplaceGroup, StopOnDrop},
    running::Running,
    service::Cancel,
    shutdown::{Shutdown, ShuttingDown},
    spawned::Spawned,
    work::Work,
};
pub use crate::{event::CancelReason, job::Cancelled};
