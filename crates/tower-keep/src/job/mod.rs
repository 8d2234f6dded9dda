//! The job: what all layers of one stack, and the code inside, know of one call.
//!
//! A job is one call through a stack. The layers [`Log`](crate::log), [`Progress`](crate::progress) and
//! [`Cancel`](crate::cancel) join the job of their own stack or begin one; so does [`JobLayer`], which names it and can
//! give it an id from outside.
//! The code inside reaches it by [`Job::current`], as it reaches a tracing span: nothing has to be passed along.
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
//! // Outside any stack the job is one that nobody watches and nobody cancels: the function can be tested bare.
//! assert_eq!(import(vec![1, 2]).await.unwrap(), 3);
//! # });
//! ```
//!
//! # Steps
//!
//! [`Job::step`] runs a part of the work under a name: with a [checkpoint](Job::checkpoint) before it, a time limit over
//! it, and a report after it. The steps of an attempt are numbered in the order in which they begin, and each attempt
//! goes through them anew; [`Job::steps`] says how many there will be. Every event carries the step that it belongs to
//! ([`Event::step`](crate::Event::step)), so that logs and boards say where a job is and where it failed.
//!
//! Steps may lie inside each other and run side by side. All of a job are counted together, an inner one after the one
//! around it. If the compiler says of steps side by side that "implementation of `From` is not general enough", it cannot
//! tell the error type of an `async` block in a future that has to be `Send`: make an `async fn` of the block.
//!
//! A step fails with the error type of its future, which is `From<`[`Cancelled`]`>` and `From<`[`Elapsed`]`>`: a
//! [`BoxError`](crate::BoxError), or an enum of your own. [`Step::err_into`] names another type for a future whose error
//! is of a foreign one; [`Step::uninterrupted`] asks nothing of it, as nothing then stops the step.
//!
//! # Which job a call belongs to
//!
//! The layers of one stack hand the request down at once. So a call that arrives while a layer around it is being
//! called, or from one of our layers that calls its inner service again (a retry), belongs to that layer's job. A call
//! made later by the job's own code, such as a client stack inside a handler, begins a *child job*: its parent's
//! cancellation reaches it. A child that still runs when its parent ends, as in a spawned task, works for the parent's
//! own parent from then on, and so on up to the outermost job that runs. If a foreign layer in between calls again
//! (tower's own retry, a hedge), the layers that belong to the job already find it again.
//!
//! The outermost layer of the stack owns the job, whichever layer that is: a job has one beginning and one ending in
//! any order of layers. Three kinds of foreign layers hide a stack's job from the layers below them, which then begin
//! a child job or one of their own: those that move the call to another task (tower's `Buffer`), those that call later
//! from a poll (tower's `AsyncFilter`, axum's `HandleErrorLayer`, and each further `Router::layer`: use one
//! `ServiceBuilder` there). One that calls at once and moves the *future* to another task leaves the layers inside in the
//! job, but their code runs without it: wrap that future in [`Job::scope`]. A stack that calls itself begins a child
//! if its outermost layer tracks the job, and goes on in the same job otherwise.
//!
//! Where a foreign retry calls again, the layers that track no job (Timeout, Retry, CircuitBreaker, Dedup) do their work
//! as ever, but from the second attempt on they cannot tell the job of it: their events are missing, and the job's
//! failure is not put down to them. An execution that callers join is then in nobody's job.
//!
//! A foreign layer that answers a layer's stop with a failure of its own, in the same poll, is taken to pass the stop on:
//! the circuit around does not count it, the retry around does not repeat it. One that awaits something else before it
//! passes a stop on hides that it was one.
//!
//! # Cancel safety
//!
//! Dropping the future of a job that is not detached ends it as cancelled, with
//! [`CancelReason::CallerGone`](crate::CancelReason::CallerGone), and fires its token: work that it handed to another
//! task or thread can stop too.

mod adopt;
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
