//! Stop work that nobody needs any more.
//!
//! Every job gets a cancellation token, tracked under the job's id. Who fires it:
//!
//! | what | which jobs | reason |
//! |---|---|---|
//! | [`CancelHandle::cancel`] | one | [`Requested`](CancelReason::Requested) |
//! | [`CancelHandle::cancel_where`] | the jobs that a closure picks, by job, name, parent, age or attempt | what it is given |
//! | [`CancelHandle::cancel_external`] | those with an external id | what it is given |
//! | [`CancelHandle::cancel_all`] | all | what it is given |
//! | [`GroupHandle::cancel`] | a group, by the key of [`group_by`](CancelLayer::group_by) or [`replace`](CancelLayer::replace) | `Requested` |
//! | [`CancelLayer::replace`] | the one before it in the group | [`Replaced`](CancelReason::Replaced) |
//! | [`CancelHandle::shutdown`], [`CancelLayer::shutdown_on`] | those left when the time is up, and every new one | [`Shutdown`](CancelReason::Shutdown) |
//! | [`CancelHandle::shutdown_now`] | all, and every new one | `Shutdown` |
//! | [`CancelLayer::token`] | all, and every new one | `Requested` |
//! | an overall [time limit](crate::timeout) | its own | [`TimedOut`](CancelReason::TimedOut) |
//! | a caller that drops the future | its own, unless [detached](CancelLayer::detached) | [`CallerGone`](CancelReason::CallerGone) |
//! | the cancellation of a job | its children, and theirs | the parent's |
//!
//! [`cancel_because`](CancelHandle::cancel_because) takes another reason. A reason may be a text. [`CancelHandle::jobs`] lists what runs.
//!
//! The caller gets [`Cancelled`] within one poll and the work is dropped, unless others [share](crate::dedup) it; with
//! [`CancelLayer::grace`] the token fires first and work that runs may clean up for that long. The code inside sees the token as
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
//! # Graceful shutdown
//!
//! A server that stops wants its running jobs to end, and none to begin: at some time it has to stop all the same.
//!
//! ```
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, CancelLayer, CancelReason, cancel::Cancelled, find};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! let cancel = CancelLayer::new();
//! let handle = cancel.handle();
//! let mut service = ServiceBuilder::new().layer(cancel).service(service_fn(|secs: u64| async move {
//!     tokio::time::sleep(Duration::from_secs(secs)).await;
//!     Ok::<_, BoxError>(secs)
//! }));
//! let quick = tokio::spawn(service.ready().await.unwrap().call(5));
//! let slow = tokio::spawn(service.ready().await.unwrap().call(500));
//!
//! // The signal came: nothing new begins.
//! let shutdown = handle.shutdown(Duration::from_secs(30));
//! let refused = service.oneshot(1).await.unwrap_err();
//! assert_eq!(find::<Cancelled>(&*refused).unwrap().reason(), &CancelReason::Shutdown);
//!
//! let shutdown = shutdown.await;
//! assert_eq!((shutdown.finished, shutdown.cancelled, shutdown.refused), (1, 1, 1));
//! assert_eq!(quick.await.unwrap().unwrap(), 5);
//! assert!(slow.await.unwrap().is_err());
//! # });
//! ```
//!
//! A server that has a token for its own graceful shutdown gives it to the layer, with the time:
//! [`shutdown_on`](CancelLayer::shutdown_on). With [`grace`](CancelLayer::grace) a job that is cancelled at the end of
//! that time may clean up on top of it. A call that is neither polled nor dropped is over only when it is: a shutdown
//! waits for that too, as it would for work that does not yield. There is no way back: a process that goes on serves through a new layer.
//!
//! # Configure first, then take handles
//!
//! A layer shares its running jobs with its clones, its handles and the services that it makes. A setter never
//! changes what others use: on a layer that is in use it gives another layer, with the same settings and jobs of its own,
//! and a handle that was taken before does not see the calls of that layer.
//!
//! ```
//! use tower::{Layer, Service, ServiceExt, service_fn};
//! use tower_keep::{BoxError, CancelLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let early = CancelLayer::new();
//! let blind = early.handle();
//! // The handle above has a layer already, so this is another layer.
//! let cancel = early.detached();
//! let handle = cancel.handle();
//!
//! let mut service = cancel.layer(service_fn(|_: ()| std::future::pending::<Result<(), BoxError>>()));
//! let _call = service.ready().await?.call(());
//! assert_eq!((blind.jobs().len(), handle.jobs().len()), (0, 1));
//! # Ok::<(), BoxError>(())
//! # }).unwrap();
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
//! [detached](CancelLayer::detached) job runs on in a task of its own if it is the caller who drops it; an attempt that
//! a layer of its stack gives up stops. Dropping the future of [`shutdown`](CancelHandle::shutdown) stops the waiting only: the layer stays shut.
//!
//! A job that is cancelled or [replaced](CancelLayer::replace) ends when it is polled or dropped; its grace period begins
//! then. A newer job of its group does not wait for that, while a shutdown does.
//!
//! No code of the user runs under a lock of this layer, but for the `Eq` and `Hash` of a group's key.
//!
//! # Under axum
//!
//! With `respond_with` it goes into `Router::layer` as it is. A client that disconnects drops the future, which ends
//! the job as [`CancelReason::CallerGone`].

mod bounds;
mod cancellable;
mod detached;
mod drop_policy;
mod external_token;
mod future;
mod group_handle;
mod grouping;
mod groups;
mod handle;
mod layer;
pub(crate) mod registry;
mod running_job;
mod service;
mod shutdown;
mod shutdown_report;

#[cfg(feature = "dispatch")]
pub(crate) use self::{drop_policy::StopOnDrop, grouping::NoGroup};
pub use self::{
    future::ResponseFuture, group_handle::GroupHandle, handle::CancelHandle, layer::CancelLayer,
    running_job::RunningJob, service::Cancel, shutdown_report::ShutdownReport,
};
pub use crate::{event::CancelReason, job::Cancelled};
