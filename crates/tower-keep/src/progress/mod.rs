//! Show what a long job is doing.
//!
//! The code inside reports with [`Job::progress`](crate::Job::progress) and [`Job::step`](crate::Job::step); a user
//! interface binds to the layer's [`ProgressHandle`] in one of three ways:
//!
//! - The board: [`snapshot`](ProgressHandle::snapshot) is every job that runs and how the last ones ended, and
//!   [`changes`](ProgressHandle::changes) all that changes after it. It never lags, and never loses an ending.
//! - One job: [`watch`](ProgressHandle::watch), its latest state until it ended; it never lags either.
//! - [`subscribe`](ProgressHandle::subscribe): every event of every job, in order, through a bounded buffer. A reader
//!   that falls behind learns how many it missed.
//!
//! Nobody listening never stalls a job, and costs it next to nothing: what a job does is kept in the job, and a view is made
//! when it is looked at. Take a [handle](ProgressLayer::handle) before the first call: without one nothing is kept.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, EventKind, Job, ProgressLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let progress = ProgressLayer::new();
//! let mut events = progress.handle().subscribe();
//! let service = ServiceBuilder::new().layer(progress).service(service_fn(|_: ()| async {
//!     Job::current().progress(0.5);
//!     Ok::<_, BoxError>(())
//! }));
//! service.oneshot(()).await.unwrap();
//!
//! let mut names = Vec::new();
//! while let Some(Ok(event)) = events.try_recv() {
//!     names.push(event.kind.name());
//! }
//! assert_eq!(names, ["dispatched", "started", "progress", "succeeded"]);
//! # });
//! ```
//!
//! # A board of jobs
//!
//! Each [`JobView`] on the board says all there is to show of a job: its name, what it does or how it ended, how far it
//! is and in which step, the attempt, the last error and when all that was. ChangeReaders begin with a snapshot, and put each
//! change in the place of what they know of that job.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use futures_util::StreamExt;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, Job, JobLayer, ProgressLayer, progress::JobState};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let progress = ProgressLayer::new().history(20);
//! let handle = progress.handle();
//! let mut service = ServiceBuilder::new()
//!     .layer(JobLayer::new("import"))
//!     .layer(progress)
//!     .service(service_fn(|rows: u32| async move {
//!         let job = Job::current().steps(2);
//!         job.step("read", async { Ok::<_, BoxError>(()) }).await?;
//!         job.step("store", async { Err(BoxError::from("disk full")) }).await.map(|()| rows)
//!     }));
//!
//! let (snapshot, mut changes) = handle.changes();
//! let jobs = snapshot.history.into_iter().chain(snapshot.running);
//! let mut shown: BTreeMap<_, _> = jobs.map(|view| (view.job, view)).collect();
//! let screen = tokio::spawn(async move {
//!     while let Some(view) = changes.next().await {
//!         shown.insert(view.job, view);
//!     }
//!     shown
//! });
//!
//! service.ready().await.unwrap().call(7).await.unwrap_err();
//! let ended = &handle.history()[0];
//! assert_eq!((&*ended.name, ended.error.as_deref()), ("import", Some("disk full")));
//!
//! // The changes end when every layer, service and handle is gone.
//! drop((service, handle));
//! let shown = screen.await.unwrap();
//! let import = shown.values().next().unwrap();
//! assert!(matches!(import.state, JobState::Failed(_)));
//! assert_eq!(import.step.as_ref().unwrap().to_string(), r#"step 2 of 2 "store""#);
//! assert_eq!(import.report.fraction(), Some(0.5));
//! # });
//! ```
//!
//! # Amounts, rate and time left
//!
//! A [`Report`](crate::Report) may be an amount, in items or bytes, of a total that is known or not. The views have the
//! amount per second then, and the time left. A view works them out when it is made; a report itself costs a comparison.
//!
//! ```
//! use std::time::Duration;
//!
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_keep::{BoxError, Job, ProgressLayer, Report};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! let progress = ProgressLayer::new();
//! let handle = progress.handle();
//! let download = progress.layer(service_fn(|size: u64| async move {
//!     for done in 0..=size {
//!         Job::current().progress(Report::bytes(done, Some(size)));
//!         tokio::time::sleep(Duration::from_secs(1)).await;
//!     }
//!     Ok::<_, BoxError>(())
//! }));
//! let call = tokio::spawn(download.oneshot(40));
//!
//! tokio::time::sleep(Duration::from_secs(10)).await;
//! let view = &handle.jobs()[0];
//! assert_eq!(view.rate.map(f64::round), Some(1.0));
//! assert!(view.time_left > Some(Duration::from_secs(28)));
//! # call.abort();
//! # });
//! ```
//!
//! # Configure first, then take handles
//!
//! A layer shares its board with its clones, its handles and the services that it makes. A setter never
//! changes what others use: on a layer that is in use it gives another layer, with the same settings and a board of its own,
//! and a handle that was taken before does not see the calls of that layer.
//!
//! # Its place in the order
//!
//! Outside whatever can stop a call, so that a view is there before the call waits. It sees the same events anywhere
//! in the stack.
//!
//! # Errors
//!
//! None of its own: `type Error` is the inner service's, which has to be `Display` to be shown.
//!
//! # Cancel safety
//!
//! A dropped call is shown as cancelled.
//!
//! # Under axum
//!
//! Goes into `Router::layer` as it is. The job ends when the handler has made its response; a body that streams on
//! is not covered.

mod board;
mod change_queue;
mod change_readers;
mod changes;
mod handle;
mod layer;
mod subscription;
mod watch;

pub use self::{
    board::BoardSnapshot,
    changes::Changes,
    handle::ProgressHandle,
    layer::{Progress, ProgressLayer},
    subscription::{Lagged, Subscription},
    watch::Watch,
};
pub use crate::job::{
    ResponseFuture,
    view::{JobState, JobView},
};
