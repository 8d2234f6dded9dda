//! Jobs that outlive their callers.
//!
//! A call through a stack belongs to whoever polls its future, and stops when that is dropped. A [`Dispatcher`] around
//! the stack runs each call in a task of its own. [`dispatch`](Dispatcher::dispatch) is synchronous: the job has begun
//! when it returns. The [`JobHandle`] that it gives is the future of the result and more: it watches the job and cancels
//! it. Dropping it leaves the job running, to its end.
//!
//! ```
//! use std::time::Duration;
//! use tower::{ServiceBuilder, service_fn};
//! use tower_keep::{BoxError, Dispatcher, Job, RetryLayer, TimeoutLayer, progress::JobState};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! async fn report(rows: u32) -> Result<u32, BoxError> {
//!     let job = Job::current().steps(2);
//!     let sum = job.step("read", async move { Ok::<_, BoxError>((0..rows).sum()) }).await?;
//!     tokio::time::sleep(Duration::from_secs(60)).await;
//!     job.step("write", async move { Ok::<_, BoxError>(sum) }).await
//! }
//!
//! let stack = ServiceBuilder::new()
//!     .layer(RetryLayer::new())
//!     .layer(TimeoutLayer::new(Duration::from_secs(600)).per_attempt())
//!     .service(service_fn(report));
//! let jobs = Dispatcher::new(stack).named("report");
//!
//! let handle = jobs.dispatch(5);
//! tokio::time::sleep(Duration::from_secs(1)).await;
//! assert_eq!(handle.state(), JobState::Running);
//! assert_eq!(handle.progress().latest().report.fraction(), Some(0.5));
//! assert_eq!(jobs.in_flight(), 1);
//! assert_eq!(handle.await.unwrap(), 10);
//!
//! // Nobody has to wait. The job is found again by its id, for a while also after its end.
//! let id = jobs.dispatch(7).id();
//! tokio::time::sleep(Duration::from_secs(1)).await;
//! assert_eq!(jobs.find(id).unwrap().state, JobState::Running);
//! tokio::time::sleep(Duration::from_secs(60)).await;
//! assert_eq!(jobs.find(id).unwrap().state, JobState::Succeeded);
//! assert!(!jobs.cancel_handle().cancel(id), "too late");
//! # });
//! ```
//!
//! # What it is made of
//!
//! A [`JobLayer`](crate::JobLayer)'s job, in a [`ProgressLayer`](crate::ProgressLayer), whose handle is
//! [`progress_handle`](Dispatcher::progress_handle), in a [`CancelLayer`](crate::CancelLayer), whose handle is
//! [`cancel_handle`](Dispatcher::cancel_handle): they do for dispatched jobs all that they do for others, a
//! [graceful shutdown](crate::cancel#graceful-shutdown) too. So neither layer is needed in the stack. One that is there
//! joins the same job; of two Cancel layers either cancels it, and the shorter of their grace
//! periods counts. A Dedup in the stack is inside this Cancel layer: see [there](crate::dedup#its-place-in-the-order) for
//! what cancelling one of several callers means.
//!
//! The job makes its own clone of the stack ready, so that waiting for readiness is part of it, and can be cancelled. A
//! Log layer in the stack hears of a job, from its beginning on, once the stack is called; of one that never came so
//! far, the board's [events](crate::progress::ProgressHandle::subscribe) tell.
//!
//! # What it has to do with its caller
//!
//! A job that is dispatched by another job's code names that one as its [`parent`](crate::Job::parent), in its events
//! too. Nothing else connects the two: neither the parent's cancellation, nor its end, nor a time limit on the code that
//! dispatched reaches the job. Its [`deadline`](crate::Job::deadline) is what its own stack sets. For work that is to
//! stop with its caller, call the stack, or say [`cancel_on_drop`](JobHandle::cancel_on_drop).
//!
//! The job runs in the tracing span that is current where it is dispatched, and keeps that open until it is over. It does
//! not see the task-locals of its caller: task-locals belong to the task that polls.
//!
//! # How many at a time
//!
//! As many as come, unless [`limit`](Dispatcher::limit) says otherwise. Then it is the caller who chooses:
//!
//! | at the limit | | after a shutdown |
//! |---|---|---|
//! | [`dispatch`](Dispatcher::dispatch) | the handle says [`Full`], and a job ends as failed, so that it is seen | the handle says [`Cancelled`] |
//! | [`try_dispatch`](Dispatcher::try_dispatch) | the request comes back, and there is no job | the same |
//! | [`reserve`](Dispatcher::reserve) | waits for a permit, first come, first served | fails with [`Cancelled`], also if it waited before |
//! | [`try_reserve`](Dispatcher::try_reserve) | fails with [`Full`] | fails with [`Cancelled`] |
//! | the dispatcher as a `Service` | is not ready until there is a permit | is ready, and the handle says [`Cancelled`] |
//!
//! A permit is released when the job's work is over and dropped, by success, failure, panic, cancellation (its grace period
//! included) or the end of its runtime; and before its handle gives the result. The board and the handle's
//! [`state`](JobHandle::state) may say that the job ended a moment before that. A handle that nobody polls holds no permit.
//! A reserved [`Permit`] is held until it is used or dropped.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use tower::service_fn;
//! use tower_keep::{BoxError, Dispatcher, dispatch::Full, find};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let stack = service_fn(|page: u32| async move { Ok::<_, BoxError>(page) });
//! let jobs = Dispatcher::new(stack).limit(NonZeroUsize::MIN);
//!
//! let first = jobs.dispatch(1);
//! let refused = jobs.try_dispatch(2).unwrap_err();
//! assert!(find::<Full>(&refused).is_some());
//!
//! let permit = jobs.reserve().await.unwrap(); // waits for the first
//! let second = permit.dispatch(refused.into_request());
//! assert_eq!((first.await.unwrap(), second.await.unwrap()), (1, 2));
//! # });
//! ```
//!
//! # In a struct
//!
//! `Dispatcher<S>` names a dispatcher that names all its jobs alike, if at all. Where each job has a name or an id of its
//! request, put a [`JobLayer`](crate::JobLayer) into the stack instead of [`named_by`](Dispatcher::named_by), and box the
//! stack:
//!
//! ```
//! use tower::{ServiceBuilder, service_fn, util::BoxCloneSyncService};
//! use tower_keep::{BoxError, Dispatcher, JobLayer};
//!
//! /// As axum's `State` needs it: `Clone`, and with a name.
//! #[derive(Clone)]
//! struct Imports {
//!     jobs: Dispatcher<BoxCloneSyncService<String, usize, BoxError>>,
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let stack = ServiceBuilder::new()
//!     .layer(JobLayer::named_by(|file: &String| format!("import {file}")))
//!     .service(service_fn(|file: String| async move { Ok::<_, BoxError>(file.len()) }));
//! let imports = Imports { jobs: Dispatcher::new(BoxCloneSyncService::new(stack)) };
//!
//! let import = imports.jobs.dispatch("users.csv".to_owned());
//! assert_eq!(import.await.unwrap(), 9);
//! # });
//! ```
//!
//! A stack whose calls cannot move to another task is refused where it is dispatched:
//!
//! ```compile_fail,E0277
//! use tower::{ServiceBuilder, service_fn};
//! use tower_keep::{BoxError, Dispatcher};
//!
//! # fn dispatch() {
//! // Tower's `Buffer` is `Clone`; this service is not.
//! let stack = ServiceBuilder::new()
//!     .load_shed()
//!     .service(tower::util::BoxService::new(service_fn(|n: u32| async move { Ok::<_, BoxError>(n) })));
//! // error: calls of `LoadShed<BoxService<..>>` cannot be dispatched: it has to be a `Clone + ..
//! let job = Dispatcher::new(stack).dispatch(1);
//! # }
//! ```
//!
//! # Errors
//!
//! The stack's own pass. What the dispatcher adds is an [`JobError`]: by default in a [`BoxError`](crate::BoxError),
//! where [`find`](crate::find) finds its reason, [`Cancelled`], [`Panicked`] or [`Full`]; or what
//! [`fail_with`](Dispatcher::fail_with) or [`respond_with`](Dispatcher::respond_with) makes of it. A panic of the job
//! never reaches another job or the caller; that of an execution which a Dedup in the stack shares is that layer's
//! [`Duplicate`](crate::dedup::Duplicate). Where the runtime goes away, what it ran is cancelled, with
//! [`Shutdown`](crate::CancelReason::Shutdown).
//!
//! # Cancel safety
//!
//! The handle can be awaited as `&mut handle` in `select!`, and dropped at any time. Dropping
//! [`reserve`](Dispatcher::reserve)'s future gives the turn to the next, dropping a [`Permit`] releases it.
//!
//! A job runs in a task of its own, so a handle that nobody polls holds no permit. A reserved [`Permit`], a ready instance
//! and a [`reserve`](Dispatcher::reserve) future that had its turn keep theirs until they are used or dropped; no limit
//! ends that.
//!
//! # Configure first, then take handles
//!
//! A dispatcher shares its board, its limit and its jobs with its clones and its handles. A setter never
//! changes what others use: on a dispatcher that is in use it gives another dispatcher, with the same settings and all of these of its own,
//! and a handle that was taken before does not see the calls of that dispatcher.
//!
//! # Its place in the order
//!
//! Outside the stack: it is no layer, as it changes what the caller gets. Callers that share the execution of equal
//! requests (a [`Dedup`](crate::dedup) layer that joins, in the stack) are jobs of their own here, each with its handle.
//! What a layer or the code inside moves to yet another task is not waited for.
//!
//! # Under axum
//!
//! A handler dispatches, answers 202 with the job's id, and other routes look it up on the board or cancel it: the
//! README has all three. A result that a later request is to fetch is best stored by the job itself, as its last step. A client that disconnects then stops nothing. Boxing the stack (tower's `BoxCloneSyncService`)
//! gives the dispatcher a type that `State` can name.

mod builder;
mod dispatchable;
mod dispatcher;
mod entry_service;
mod error;
mod handle;
mod limit;
mod permit;
mod service;
mod task;

pub use self::{
    dispatcher::Dispatcher,
    error::{Full, JobError, Panicked, TryDispatchError},
    handle::JobHandle,
    permit::Permit,
};
pub use crate::job::Cancelled;
