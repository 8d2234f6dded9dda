//! Background jobs: runs each call in its own task, so that the job outlives its caller.
//!
//! Normally, a call stops when its caller drops the future. A [`Dispatcher`] around the stack
//! spawns a task for each call. [`dispatch`](Dispatcher::dispatch) is synchronous: when it returns,
//! the job has begun. It returns a [`JobHandle`], which awaits the result, watches the job and
//! cancels it. Dropping the handle leaves the job running.
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
//! // No need to await the result: the board finds the job by its id, even some time after its end.
//! let id = jobs.dispatch(7).id();
//! tokio::time::sleep(Duration::from_secs(1)).await;
//! assert_eq!(jobs.find(id).unwrap().state, JobState::Running);
//! tokio::time::sleep(Duration::from_secs(60)).await;
//! assert_eq!(jobs.find(id).unwrap().state, JobState::Succeeded);
//! assert!(!jobs.cancel_handle().cancel(id), "too late");
//! # });
//! ```
//!
//! # Built-in layers
//!
//! A dispatcher runs each job through three layers around the stack:
//!
//! | layer | handle |
//! |---|---|
//! | [`JobLayer`](crate::JobLayer) | |
//! | [`ProgressLayer`](crate::ProgressLayer) | [`progress_handle`](Dispatcher::progress_handle) |
//! | [`CancelLayer`](crate::CancelLayer) | [`cancel_handle`](Dispatcher::cancel_handle), with [graceful shutdown](crate::cancel#graceful-shutdown) |
//!
//! So the stack needs no Progress or Cancel layer. If it has one, that layer joins the same job.
//! Either of two Cancel layers can cancel the job, and the shorter grace period applies. For a
//! Dedup layer in the stack, see
//! [how to cancel one of several callers](crate::dedup#place-in-the-order).
//!
//! The job makes its own clone of the stack ready, so that the wait for readiness can be cancelled
//! too. A Log layer in the stack learns of a job once the stack is called, and then logs it from
//! its beginning. The board's [events](crate::progress::ProgressHandle::subscribe) also show jobs
//! that never get that far.
//!
//! # Independence from the caller
//!
//! If a job's code dispatches another job, the new job names the first one as its
//! [`parent`](crate::Job::parent). Nothing else connects them: the parent's end, cancellation and
//! time limits do not reach the new job. Its [`deadline`](crate::Job::deadline) comes from its own
//! stack. For work that must stop with its caller, call the stack directly, or use
//! [`cancel_on_drop`](JobHandle::cancel_on_drop).
//!
//! The job runs in the tracing span that is current when it is dispatched, and keeps that span
//! open. It does not see the caller's task-locals, which belong to the caller's task.
//!
//! # Limit of concurrent jobs
//!
//! By default there is no limit. With a [`limit`](Dispatcher::limit), the method that you call
//! decides what happens at the limit:
//!
//! | method | at the limit | after a shutdown |
//! |---|---|---|
//! | [`dispatch`](Dispatcher::dispatch) | the handle fails with [`Full`]; the job is reported as failed | the handle fails with [`Cancelled`] |
//! | [`try_dispatch`](Dispatcher::try_dispatch) | returns the request; there is no job | same |
//! | [`reserve`](Dispatcher::reserve) | waits for a permit, first come, first served | fails with [`Cancelled`], even if it waited before |
//! | [`try_reserve`](Dispatcher::try_reserve) | fails with [`Full`] | fails with [`Cancelled`] |
//! | the dispatcher as a `Service` | is not ready until there is a permit | is ready; the handle fails with [`Cancelled`] |
//!
//! A permit is released once the job's work is over and dropped, and before the handle gives the
//! result. That holds for success, failure, panic, cancellation (after the grace period) and the
//! end of the runtime. For [HTTP clients](#http-clients), a permit can last until the end of the
//! body. The board and [`JobHandle::state`] may show the end of the job a moment earlier.
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
//! # HTTP clients
//!
//! The handle of an HTTP call gives the response as soon as its head is there. By default the job
//! ends there too. With [`http`](Dispatcher#method.http), from the feature `http`, it ends with the
//! response body:
//!
#![cfg_attr(feature = "http", doc = "```")]
#![cfg_attr(not(feature = "http"), doc = "```ignore")]
//! use http::{Request, Response};
//! use http_body_util::BodyExt;
//! use std::num::NonZeroUsize;
//! use tower::service_fn;
//! use tower_keep::{BoxError, Dispatcher, progress::JobState};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let client = service_fn(|_: Request<()>| async {
//!     Ok::<_, BoxError>(Response::new("a page".to_owned()))
//! });
//! let downloads = Dispatcher::new(client).limit(NonZeroUsize::MIN).http();
//! let get = || Request::get("http://example.com").body(());
//!
//! let download = downloads.dispatch(get()?);
//! let job = download.id();
//! let response = download.await?;
//! assert_eq!(downloads.find(job).unwrap().state, JobState::Running);
//! assert!(downloads.try_dispatch(get()?).is_err(), "the body is not read yet");
//!
//! // The job ends here.
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "a page");
//! assert_eq!(downloads.find(job).unwrap().state, JobState::Succeeded);
//! assert_eq!(downloads.available(), Some(1));
//! # Ok::<_, BoxError>(())
//! # }).unwrap();
//! ```
//!
//! How the job ends is in the [table of the module `http::body`][body]. Until then it keeps its
//! permit, it can be cancelled, and a shutdown waits for it:
//!
//! | event | the job and its permit | the body |
//! |---|---|---|
//! | a cancellation, or the deadline of a shutdown | the job ends as cancelled; the permit is released at once | the next poll, or the pending one, fails with [`Cancelled`] |
//! | the reader drops the response | the job ends as succeeded | is dropped |
//! | the handle is dropped before it gave the response | the job goes on; at the response, it ends as succeeded | is dropped with the response |
//! | such a handle, with [`cancel_on_drop`](JobHandle::cancel_on_drop) | the job ends as cancelled | is dropped |
//! | the handle is dropped after it gave the response | the job goes on | goes on |
//!
//! So read or drop each response: a response that is kept holds a permit. The [grace
//! period](Dispatcher::grace) ends with the response head.
//!
//! The body is read in the task and in the tracing span of its reader. Its code sees the dispatched
//! job as [`Job::current`](crate::Job::current). The time limits of the reader's own job do not
//! apply to that code.
//!
#![cfg_attr(feature = "http", doc = "[body]: crate::http::body")]
#![cfg_attr(not(feature = "http"), doc = "[body]: crate#features")]
//!
//! # In a struct
//!
//! `Dispatcher<S>` is the type of a dispatcher whose jobs all have the same name, or none. To name
//! or identify each job by its request, put a [`JobLayer`](crate::JobLayer) into the stack instead
//! of using [`named_by`](Dispatcher::named_by). For HTTP clients, `HttpDispatcher<S>` is the type.
//! Then box the stack:
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
//! If a stack is not `Clone`, or its calls cannot move to another task, dispatching does not
//! compile:
//!
//! ```compile_fail,E0277
//! use tower::{ServiceBuilder, service_fn};
//! use tower_keep::{BoxError, Dispatcher};
//!
//! # fn dispatch() {
//! // This service is not `Clone`. Tower's `Buffer` around it would be.
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
//! The stack's own errors pass unchanged. The dispatcher adds [`JobError`], by default in a
//! [`BoxError`](crate::BoxError), where [`find`](crate::find) finds its reason: [`Cancelled`],
//! [`Panicked`] or [`Full`]. Or use [`fail_with`](Dispatcher::fail_with) or
//! [`respond_with`](Dispatcher::respond_with).
//!
//! A panic of a job never reaches another job or the caller. If a Dedup layer in the stack shares
//! an execution and it panics, the error is that layer's [`Duplicate`](crate::dedup::Duplicate). If
//! the runtime goes away, its jobs are cancelled with [`Shutdown`](crate::CancelReason::Shutdown).
//!
//! # Cancel safety
//!
//! `&mut handle` can be awaited in `select!`. Dropping the handle is safe at any time, and so is
//! dropping the future of [`reserve`](Dispatcher::reserve), which passes its turn to the next
//! caller.
//!
//! A handle that is not polled holds no permit, as the job runs in its own task. With
//! [`http`](Dispatcher#method.http), a handle with a response does. A [`Permit`], a
//! ready instance, and a [`reserve`](Dispatcher::reserve) future whose turn has come hold a permit
//! until they are used or dropped. No time limit ends that.
//!
//! # Configure first, then take handles
//!
//! A dispatcher shares its board, its limit and its jobs with its clones and handles. A setter on a
//! dispatcher that is in use returns another dispatcher with its own board, limit and jobs, which
//! earlier handles do not see.
//!
//! # Place in the order
//!
//! Outermost. A dispatcher is not a layer, as its response is a handle. If a joining
//! [Dedup](crate::dedup) layer in the stack shares an execution, each of its callers is a job with
//! its own handle. The dispatcher does not wait for work that its stack moves to another task.
//!
//! # Under axum
//!
//! One handler dispatches and answers 202 with the job's id; others look the job up on the board,
//! or cancel it. The README shows all three. A client that disconnects stops nothing. To keep a
//! result for a later request, let the job store it as its last step. Box the stack (tower's
//! `BoxCloneSyncService`) to name the dispatcher's type in `State`.

#[cfg(feature = "http")]
mod at_body_end;
mod builder;
mod dispatchable;
mod dispatcher;
mod entry_service;
mod error;
mod handle;
mod job_end;
mod limit;
mod permit;
mod service;
mod task;

#[cfg(feature = "http")]
pub use self::at_body_end::HttpDispatcher;
pub use self::{
    dispatcher::Dispatcher,
    error::{Full, JobError, Panicked, TryDispatchError},
    handle::JobHandle,
    permit::Permit,
};
pub use crate::job::Cancelled;
