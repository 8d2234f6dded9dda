//! Show what a long job is doing.
//!
//! The code inside reports with [`Job::progress`](crate::Job::progress) and [`Job::step`](crate::Job::step); a user
//! interface binds to the layer's [`ProgressHandle`] in one of two ways:
//!
//! - [`subscribe`](ProgressHandle::subscribe): every event of every job, in order, through a bounded buffer. A reader
//!   that falls behind is told how many it missed.
//! - [`jobs`](ProgressHandle::jobs) and [`watch`](ProgressHandle::watch): the latest state. It never lags, and never
//!   loses an ending.
//!
//! Nobody listening never stalls a job.
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

mod handle;
mod layer;
mod view;
mod watch;

pub use self::{
    handle::{Lagged, ProgressHandle, Subscription},
    layer::{Progress, ProgressLayer},
    view::{JobState, JobView},
    watch::Watch,
};
pub use crate::job::ResponseFuture;
