//! Jobs: the current job, named steps, and the rules of which job a call belongs to.
//!
//! A job is one call through a stack. All layers of the stack and the code inside share it.
//! [`Log`](crate::log), [`Progress`](crate::progress), [`Cancel`](crate::cancel) and [`JobLayer`]
//! join the job of their stack, or begin one if there is none. [`JobLayer`] also gives the job a
//! name and an external id. The code inside gets the job from [`Job::current`], as it gets the
//! current tracing span. No argument is passed along.
//!
//! ```
//! use tower_keep::{BoxError, Job};
//!
//! async fn import(rows: Vec<u32>) -> Result<u32, BoxError> {
//!     let job = Job::current().steps(2);
//!     let sum = job.step("add", async { Ok::<_, BoxError>(rows.iter().sum::<u32>()) }).await?;
//!     job.step("store", async move { Ok::<_, BoxError>(sum) }).await
//! }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! // Outside any stack, the job is unwatched: the function can be tested without a stack.
//! assert_eq!(import(vec![1, 2]).await.unwrap(), 3);
//! # });
//! ```
//!
//! # Steps
//!
//! [`Job::step`] runs a part of the work under a name. It adds a [checkpoint](Job::checkpoint)
//! before the step, a time limit on it, and a report after it. [`Job::steps`] announces their
//! number.
//!
//! - Each attempt numbers its steps from 1, in the order in which they begin.
//! - Steps can nest and run in parallel. They share one numbering; an inner step is numbered after
//!   its outer step.
//! - Every event carries its step ([`Event::step`](crate::Event::step)). So logs and boards show
//!   where a job is, and where it failed.
//!
//! A step fails with the error type of its future, which must be `From<`[`Cancelled`]`>` and
//! `From<`[`Elapsed`]`>`. Use a [`BoxError`](crate::BoxError) or an enum of your own. For other
//! error types:
//!
//! - [`Step::err_into`] converts the error of the future into another type.
//! - [`Step::uninterrupted`] accepts any error type, because nothing stops such a step.
//!
//! # Which job a call belongs to
//!
//! | the call | its job |
//! |---|---|
//! | arrives while an outer layer of the same stack is being called | the job of that layer |
//! | is repeated by a layer of this library, such as Retry | the job of that layer |
//! | is repeated by a foreign layer in between, such as tower's retry or a hedge | the same job again, for the layers that track it |
//! | is made later by the job's own code, such as a client stack in a handler | a new *child job* |
//!
//! The outermost layer owns the job, whichever layer that is. So a job has one beginning and one
//! ending, in any order of layers.
//!
//! Cancelling a job cancels its child jobs. If a parent ends before its child, the parent's own
//! parent takes over the child. A stack that calls itself begins a child job only if its outermost
//! layer tracks jobs.
//!
//! # Foreign layers
//!
//! Some foreign layers hide the job. The layers below them begin a child job or a separate job:
//!
//! - Layers that move the call to another task, such as tower's `Buffer`.
//! - Layers that call later, from a poll: tower's `AsyncFilter`, axum's `HandleErrorLayer`, and
//!   each further `Router::layer`. In axum, use one `ServiceBuilder`.
//!
//! Other cases:
//!
//! - If only the *future* moves to another task, the layers inside stay in the job, but their code
//!   runs without it. Wrap that future in [`Job::scope`].
//! - When a foreign retry repeats a call, Timeout, Retry, CircuitBreaker and Dedup inside it work
//!   as usual but cannot find the job. It gets no events from them, and they are not named as the
//!   cause of its failure. A Dedup execution that callers join then belongs to no job.
//! - A foreign layer may replace the error of a layer that stopped the call, such as a timeout. If
//!   it does so in the same poll, outer circuits do not count the error and outer retries do not
//!   repeat it. If it awaits first, they see an ordinary error.
//!
//! # Cancel safety
//!
//! Dropping the future of a job ends the job as cancelled, with
//! [`CancelReason::CallerGone`](crate::CancelReason::CallerGone), unless the job is detached. The
//! job's token fires, so work on other tasks or threads can stop too.

mod adopt;
pub(crate) mod call_end;
pub(crate) mod context;
pub(crate) mod core;
mod error;
mod handle;
pub(crate) mod id_source;
mod layer;
pub(crate) mod limits;
pub(crate) mod membership;
pub(crate) mod name_source;
pub(crate) mod oneshot;
pub(crate) mod panic;
mod scope;
mod step;
mod step_errors;
pub(crate) mod stop_signal;
#[cfg_attr(not(feature = "pipeline"), allow(dead_code, unused_imports))]
pub(crate) mod table;
pub(crate) mod verdict;
#[cfg_attr(not(feature = "dispatch"), allow(dead_code, unreachable_pub))]
pub(crate) mod view;

pub use self::{
    error::{Cancelled, Elapsed},
    handle::Job,
    layer::{JobLayer, JobService, ResponseFuture},
    step::Step,
};
