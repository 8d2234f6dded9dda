//! Cancels running jobs: by id, by group, on shutdown, or when a caller leaves.
//!
//! Each job gets a cancellation token, tracked under the job's id. These events fire it:
//!
//! | trigger | cancelled jobs | reason |
//! |---|---|---|
//! | [`CancelHandle::cancel`] | one | [`Requested`](CancelReason::Requested) |
//! | [`CancelHandle::cancel_because`] | one | as given |
//! | [`CancelHandle::cancel_where`] | all that a closure picks, by job, name, parent, age or attempt | as given |
//! | [`CancelHandle::cancel_external`] | all with this external id | as given |
//! | [`CancelHandle::cancel_all`] | all | as given |
//! | [`GroupHandle::cancel`] | a group, by the key of [`group_by`](CancelLayer::group_by) or [`replace`](CancelLayer::replace) | `Requested` |
//! | [`CancelLayer::replace`] | the previous job of the group | [`Replaced`](CancelReason::Replaced) |
//! | [`CancelHandle::shutdown`], [`CancelLayer::shutdown_on`] | those still running at the deadline, and every new one | [`Shutdown`](CancelReason::Shutdown) |
//! | [`CancelHandle::shutdown_now`] | all, and every new one | `Shutdown` |
//! | [`CancelLayer::token`] | all, and every new one | `Requested` |
//! | an overall [time limit](crate::timeout) | its own | [`TimedOut`](CancelReason::TimedOut) |
//! | a caller that drops the future | its own, unless [detached](CancelLayer::detached) | [`CallerGone`](CancelReason::CallerGone) |
//! | the cancellation of a job | its children, and theirs | the parent's |
//!
//! A reason may be a text. [`CancelHandle::jobs`] lists the running jobs.
//!
//! The caller gets [`Cancelled`] at the next poll. The work is dropped, unless other callers
//! [share](crate::dedup) it. With [`CancelLayer::grace`], that poll begins a grace period, in which
//! running work may clean up. The caller gets [`Cancelled`] after it. The code inside sees the
//! token as [`Job::is_cancelled`](crate::Job::is_cancelled),
//! [`Job::checkpoint`](crate::Job::checkpoint) and [`Job::cancelled`](crate::Job::cancelled).
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
//!         // Other code would do this, with the id from an event.
//!         handle.cancel(Job::current().id().unwrap());
//!         std::future::pending::<Result<(), BoxError>>().await
//!     }
//! }));
//! let error = service.oneshot(()).await.unwrap_err();
//! assert_eq!(find::<Cancelled>(&*error).unwrap().reason(), &CancelReason::Requested);
//! # });
//! ```
//!
//! # Response bodies
//!
//! With `CancelLayer::http`, a job goes on until the end of its response body, and a cancellation
//! reaches the body:
//!
//! | the reader | on cancellation |
//! |---|---|
//! | waits for a frame | wakes; the poll returns [`Cancelled`] and drops the inner body |
//! | does not poll | the job ends at once; the next poll returns [`Cancelled`] and drops the inner body |
//!
//! A shutdown waits for the reader until its deadline. The [grace period](CancelLayer::grace) does
//! not apply to a body. [`CancelLayer::token`] and [`CancelLayer::shutdown_on`] reach a body when it
//! is polled.
//!
//! # Graceful shutdown
//!
//! A shutdown refuses new jobs, lets the running jobs finish, and cancels the rest at a deadline:
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
//! // The signal came: no new job begins.
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
//! If the server has its own shutdown token, call [`shutdown_on`](CancelLayer::shutdown_on) with
//! this token and the time until the deadline. With [`grace`](CancelLayer::grace), jobs cancelled
//! at the deadline may clean up after the deadline.
//!
//! A shutdown waits for every call, even if its future is kept and not polled. A shutdown
//! cannot be undone: a process that continues needs a new layer.
//!
//! # Configure first, then take handles
//!
//! A layer shares its running jobs with its clones, handles and services. A setter on a layer that
//! is in use returns another layer with its own jobs, which earlier handles do not see.
//!
//! ```
//! use tower::{Layer, Service, ServiceExt, service_fn};
//! use tower_keep::{BoxError, CancelLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let early = CancelLayer::new();
//! let blind = early.handle();
//! // A handle exists already, so this is another layer.
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
//! # Place in the order
//!
//! Put this layer outside every layer that waits (Dedup, Retry). Then a cancellation immediately
//! ends a backoff, a wait for readiness, or a wait for another call's result. Inside a retry, this
//! layer has nothing to cancel during a backoff.
//!
//! A job can be cancelled as soon as this layer is called. If an outer layer emits the `Dispatched`
//! event, an observer of that event comes too early to cancel the job.
//!
//! # Errors
//!
//! By default, the error is a [`BoxError`](crate::BoxError) that holds a [`Cancelled`] with the
//! reason. [`fail_with`](CancelLayer::fail_with) and [`respond_with`](CancelLayer::respond_with)
//! replace the default.
//!
//! # Cancel safety
//!
//! Dropping the response future stops the work and fires the job's token. A
//! [detached](CancelLayer::detached) job continues in its own task if the caller drops it. If
//! another layer of this library around it ends the call, such as a time limit, the job stops.
//! Dropping the future of [`shutdown`](CancelHandle::shutdown) ends the wait only: the layer stays
//! shut down.
//!
//! A cancelled or [replaced](CancelLayer::replace) job reacts when it is next polled or dropped: it
//! ends, or its grace period begins. A newer job of its group does not wait for the end of the
//! older job, but a shutdown does.
//!
//! No user code runs under a lock of this layer, except the `Eq` and `Hash` of a group's key.
//!
//! # Under axum
//!
//! With `respond_with`, the layer goes into `Router::layer` as it is. A client that disconnects
//! drops the future, which ends the job as [`CancelReason::CallerGone`].

#[cfg(feature = "http")]
mod body_watch;
pub(crate) mod call_end;
mod cancellable_call;
mod detached;
mod drop_policy;
mod external_token;
#[cfg(feature = "http")]
mod followed_call;
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
pub(crate) use self::drop_policy::StopOnDrop;
#[cfg(any(feature = "dispatch", feature = "http"))]
pub(crate) use self::grouping::NoGroup;
#[cfg(feature = "http")]
pub(crate) use self::{
    body_watch::BodyWatch, drop_policy::FollowBody, followed_call::FollowedCall,
};
pub use self::{
    future::ResponseFuture, group_handle::GroupHandle, handle::CancelHandle, layer::CancelLayer,
    running_job::RunningJob, service::Cancel, shutdown_report::ShutdownReport,
};
pub use crate::{event::CancelReason, job::Cancelled};
