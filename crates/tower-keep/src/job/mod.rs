//! The job: what all layers of one stack, and the code inside, know of one call.
//!
//! A job is one call through a stack. The layers [`Log`](crate::log), [`Progress`](crate::progress) and
//! [`Cancel`](crate::cancel) join the job of their own stack or begin one; so does [`JobLayer`], which names it.
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
//! # Which job a call belongs to
//!
//! The layers of one stack hand the request down at once. So a call that arrives while a layer around it is being
//! called, or from one of our layers that calls its inner service again (a retry), belongs to that layer's job. A call
//! made later by the job's own code, such as a client stack inside a handler, begins a *child job*: its parent's
//! cancellation reaches it. A child that still runs when its parent ends, as in a spawned task, works for the parent's
//! own parent from then on, and so on up to the outermost job that runs. If a foreign layer in between calls again (tower's own retry, a hedge), the layers that
//! belong to the job already find it again.
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
//! [`CancelReason::CallerGone`], and fires its token: work that it handed to another
//! task or thread can stop too.

pub(crate) mod context;
pub(crate) mod core;
mod error;
mod frame;
pub(crate) mod halt;
mod layer;
pub(crate) mod limits;
pub(crate) mod oneshot;
pub(crate) mod panic;
mod scoped;
pub(crate) mod seat;
mod step;
pub(crate) mod stop;
mod verdict;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::{
    context::Surroundings,
    core::Core,
    halt::Halt,
    limits::{Limits, nearest},
};
use crate::event::{CancelReason, JobId, Report};

pub use self::{
    error::{Cancelled, Elapsed},
    layer::{JobLayer, JobService, NameBy, NameJob, ResponseFuture},
    scoped::Scope,
    step::Step,
};

/// A handle to a job. Cheap to clone; all clones are the same job.
///
/// A handle made outside any stack is *unwatched*: everything can be called and nothing happens.
///
/// A handle belongs to the code that takes it: a time limit on that code, such as that of an attempt, counts for
/// [`deadline`](Self::deadline), and if the limit stops that code with a grace period, this handle says so, wherever
/// it is by then. So take one in each attempt.
#[derive(Clone, Default)]
pub struct Job {
    core: Option<Arc<Core>>,
    /// What stops the code that took this handle, beside the job.
    halt: Option<Arc<Halt>>,
    /// When the limits on that code expire.
    until: Option<Instant>,
}

impl Job {
    /// The job that the code calling this belongs to; an unwatched one outside any stack.
    ///
    /// A spawned task or another thread has no current job: carry it there with [`scope`](Self::scope), or take this
    /// handle along.
    #[must_use]
    pub fn current() -> Self {
        Self::here(context::current())
    }

    fn here(core: Option<Arc<Core>>) -> Self {
        Self {
            halt: core.as_ref().and_then(|core| context::halt_of(core.id())),
            until: context::nearest_limit(),
            core,
        }
    }

    /// The job's id; `None` if it is unwatched.
    #[must_use]
    pub fn id(&self) -> Option<JobId> {
        self.core.as_ref().map(|core| core.id())
    }

    /// The name that [`JobLayer`] or the dispatcher gave it, or an empty one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.core.as_ref().map_or("", |core| core.name())
    }

    /// The id of the job whose code began this one.
    #[must_use]
    pub fn parent(&self) -> Option<JobId> {
        self.core.as_ref().and_then(|core| core.parent_id())
    }

    /// The attempt that is running, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.core.as_ref().map_or(1, |core| core.attempt())
    }

    /// When the code that asks is stopped: the nearest of all time limits on it.
    ///
    /// These are the overall limits of the job and of whoever it works for; and those of the attempt and of the
    /// [step](Self::step) in which this is asked, or in which the handle was taken. A stack that tracks no job counts
    /// too, so that an unwatched job can have a deadline. Limits around a Dedup whose callers join are those of each
    /// caller's wait: the joined execution goes on for the others and does not see them. An idle limit is none of these,
    /// as it moves with each report.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let is_here = match &self.core {
            Some(core) => context::is_current(core),
            None => context::with_current(|job| job.is_none()),
        };
        // Otherwise the code that asks is of another job.
        let here = if is_here {
            context::nearest_limit()
        } else {
            None
        };
        nearest(self.until, here)
    }

    /// The time left until [`deadline`](Self::deadline), zero once it has passed.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline()
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether the work should stop: the job was cancelled, or a time limit with a grace period stops this part of it.
    #[must_use]
    #[inline(always)]
    pub fn is_cancelled(&self) -> bool {
        self.core
            .as_ref()
            .is_some_and(|core| context::is_stopping(core) || self.is_halted())
    }

    #[inline(always)]
    fn is_halted(&self) -> bool {
        self.halt.as_ref().is_some_and(|halt| halt.is_halted())
    }

    /// Why it was cancelled, if it was.
    #[must_use]
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        let core = self.core.as_ref().filter(|_| self.is_cancelled())?;
        Some(core.reason().unwrap_or(if core.state().has_fired() {
            CancelReason::CallerGone
        } else {
            CancelReason::TimedOut
        }))
    }

    /// Waits until the job is cancelled: for `select!`. Never ready for an unwatched job.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn cancelled(&self) {
        match (&self.core, self.any_halt()) {
            (Some(core), Some(halt)) => halt.token(|| core.token()).cancelled().await,
            (Some(core), None) => core.token().cancelled().await,
            (None, _) => std::future::pending().await,
        }
    }

    /// The job's token, for code that takes one: a blocking thread, a foreign library. Cancelling it stops that code
    /// only; the job itself is cancelled through the Cancel layer's handle.
    ///
    /// In a call with a time limit that gives a grace period, the token is of this call: it fires at the limit of this
    /// attempt, and the next attempt has another.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        // A child, so that a stranger cannot fire the job's own token.
        match (&self.core, self.any_halt()) {
            (Some(core), Some(halt)) => halt.token(|| core.token()).child_token(),
            (Some(core), None) => core.token().child_token(),
            (None, _) => CancellationToken::new(),
        }
    }

    /// That of the code that took this handle, or else of the code that asks.
    fn any_halt(&self) -> Option<Arc<Halt>> {
        let core = self.core.as_ref()?;
        self.halt.clone().or_else(|| context::halt_of(core.id()))
    }

    /// Stops here if the job was cancelled.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] with the reason.
    #[inline(always)]
    pub fn checkpoint(&self) -> Result<(), Cancelled> {
        match &self.core {
            Some(core) if self.is_cancelled() => Err(Cancelled::of(
                core.id(),
                self.cancel_reason().unwrap_or(CancelReason::Requested),
            )),
            _ => Ok(()),
        }
    }

    /// Reports how far the job is: a fraction, or a [`Report`] with more to it. Nothing after the job's end is told.
    pub fn progress(&self, report: impl Into<Report>) {
        if let Some(core) = &self.core {
            context::report(core, report.into());
        }
    }

    /// Says how many steps there will be and starts counting them anew, so that each [`step`](Self::step) that ends
    /// well reports how many of them are over, it included: in whichever order they end, that goes up. A step that runs
    /// now keeps its number, and one that failed is forgotten.
    ///
    /// Steps inside a step count too. 0 is an unknown number: nothing is reported, as without this. Steps past the total
    /// are counted on and report that all is done.
    #[must_use = "the handle goes on to be used for the steps"]
    pub fn steps(self, total: u32) -> Self {
        if let Some(core) = &self.core {
            core.set_steps(total);
        }
        self
    }

    /// Runs one named step: a [`checkpoint`](Self::checkpoint) before it, a time limit over it, a report after it.
    ///
    /// It begins when it is first polled, and takes the next number then. Every event that its code causes carries its
    /// name and number, as does the job's failure or cancellation if it is what the job fails or is stopped in. The name
    /// may be any text; it is shared, not copied, and an `Arc<str>` costs nothing.
    ///
    /// The limit is the one that [`Step::limit`] gives, else the one that the Timeout layer's `step_limit` set, else
    /// none.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] if the job was cancelled before the step began, [`Elapsed`] if the limit expired, else the
    /// step's own error; all as a [`BoxError`](crate::BoxError).
    ///
    /// # Cancel safety
    ///
    /// Dropping the step drops its future. Events that follow name this step, until another begins.
    pub fn step<F, T, E>(&self, name: impl Into<Arc<str>>, future: F) -> Step<F>
    where
        F: Future<Output = Result<T, E>>,
        E: Into<crate::BoxError>,
    {
        Step::new(self.clone(), name.into(), future)
    }

    /// Makes this the current job while `future` is polled: for work that is spawned. The limits that this handle knows
    /// go along, as a [`deadline`](Self::deadline) that the work can look at: nothing stops it then but its own code.
    ///
    /// A client stack called in there begins a child job.
    pub fn scope<F: Future>(&self, future: F) -> Scope<F> {
        let surroundings = Surroundings {
            limits: self.until.map(Limits::until),
            halt: self.halt.clone(),
            execution: None,
        };
        Scope::new(self.core.clone(), surroundings, future)
    }

    /// The handle of code that this job is current for, or is about to be.
    pub(crate) fn of(core: Arc<Core>) -> Self {
        Self::here(Some(core))
    }

    pub(crate) fn core(&self) -> Option<&Arc<Core>> {
        self.core.as_ref()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.core {
            Some(core) => core.fmt(f),
            None => f.write_str("Job(unwatched)"),
        }
    }
}
