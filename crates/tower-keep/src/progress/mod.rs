//! Progress of running jobs, their latest state, and a stream of all events, for user interfaces.
//!
//! The code inside reports with [`Job::progress`](crate::Job::progress) and
//! [`Job::step`](crate::Job::step). A user interface reads the layer's [`ProgressHandle`]:
//!
//! | what | how | limits |
//! |---|---|---|
//! | all running jobs and the history | [`snapshot`](ProgressHandle::snapshot), then [`changes`](ProgressHandle::changes) | never lags, never loses an ending |
//! | one job until it ends | [`watch`](ProgressHandle::watch) | latest state only, never lags |
//! | every event of every job, in order | [`subscribe`](ProgressHandle::subscribe) | bounded buffer; a slow reader gets the number of lost events |
//!
//! Take a [handle](ProgressLayer::handle) before the first call: without one the layer keeps
//! nothing. Readers never stall a job. A job without readers costs almost nothing, because views
//! are made on request.
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
//! Each [`JobView`] shows the whole job: name, state, progress, step, attempt, last error, and
//! times. Readers begin with a snapshot. Each change then replaces their view of that job.
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
//! A [`Report`](crate::Report) can be an amount in items or bytes, with or without a known total.
//! The view then shows the amount per second and the time left. A view computes them when it is
//! made; a report itself costs only a comparison.
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
//! # Bodies
//!
//! With the feature `http`, `ProgressLayer::http()` reports the bytes of an HTTP client by itself:
//! those of the response body and, before the response head, those of reqwest's streams. With
//! `uploads()` it also reports those of other request bodies. The code of the job does not report.
//! The module `http::upload` says what is counted.
//!
#![cfg_attr(feature = "reqwest-0-13", doc = "```")]
#![cfg_attr(not(feature = "reqwest-0-13"), doc = "```ignore")]
//! use tower::ServiceBuilder;
//! use tower_keep::{BoxError, ProgressLayer, Report, RetryLayer, SendThrough};
//! use tower_keep_test::{Gate, http::{Origin, Reply}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let gate = Gate::new();
//! let server = Origin::start().await?.then(Reply::status(204).when(&gate));
//! let client = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
//!
//! let progress = ProgressLayer::http().uploads();
//! let board = progress.handle();
//! let api = ServiceBuilder::new().layer(progress).layer(RetryLayer::http()).service(client.clone());
//!
//! let upload = client.put(server.url("/file")).body(vec![7; 1 << 20]).send_through(&api);
//! let upload = tokio::spawn(upload);
//! server.until(|requests| requests.first().is_some_and(|request| request.complete)).await;
//! assert_eq!(board.jobs()[0].report, Report::bytes(1 << 20, Some(1 << 20)));
//!
//! gate.open();
//! upload.await??;
//! # Ok(())
//! # }
//! ```
//!
//! # Configure first, then take handles
//!
//! A layer shares its board with its clones, its handles and its services. A setter never changes a
//! board that is in use. It returns a layer with the same settings and a new board, which earlier
//! handles do not see.
//!
//! # Place in the order
//!
//! Outside every layer that can stop or delay a call, so that a view exists before the call waits.
//! It sees the same events anywhere in the stack.
//!
//! # Errors
//!
//! None of its own: `type Error` is the inner service's, which must be `Display` to be shown.
//!
//! # Cancel safety
//!
//! A dropped call is shown as cancelled.
//!
//! # Under axum
//!
//! Works with `Router::layer` directly. The job ends when the handler returns its response; a
//! streaming body is not covered.

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
