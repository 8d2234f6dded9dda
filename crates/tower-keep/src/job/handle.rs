//! The [`Job`] handle: current job, cancellation, deadline, progress.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{context, core::Core, error::Cancelled, limits::nearest, stop_signal::StopSignal};
use crate::event::{CancelReason, JobId, Report};

/// A handle to a job. Cheap to clone; all clones refer to the same job.
///
/// Outside any stack a handle is *unwatched*: nothing sees its reports, and nothing cancels it. Steps
/// run all the same.
///
/// A handle remembers the attempt or step in which it was taken. The time limits of that attempt or
/// step count for [`deadline`](Self::deadline). Its grace period makes
/// [`is_cancelled`](Self::is_cancelled) true. Take a new handle in each attempt.
#[derive(Clone, Default)]
pub struct Job {
    pub(super) core: Option<Arc<Core>>,
    /// Stops the code that took this handle, next to the job's own cancellation.
    pub(super) signal: Option<Arc<StopSignal>>,
    /// When the limits on that code expire.
    pub(super) until: Option<Instant>,
}

impl Job {
    /// The job of the calling code, or an unwatched handle outside any stack.
    ///
    /// A spawned task or another thread has no current job. Use [`scope`](Self::scope) there, or
    /// pass this handle along.
    #[must_use]
    pub fn current() -> Self {
        Self::here(context::current())
    }

    fn here(core: Option<Arc<Core>>) -> Self {
        Self {
            signal: core
                .as_ref()
                .and_then(|core| context::stop_signal_of(core.id())),
            until: context::nearest_limit(),
            core,
        }
    }

    /// The job's id; `None` if it is unwatched.
    #[must_use]
    pub fn id(&self) -> Option<JobId> {
        self.core.as_ref().map(|core| core.id())
    }

    /// The name from [`JobLayer`](crate::JobLayer) or the dispatcher, or an empty name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.core.as_ref().map_or("", |core| core.name())
    }

    /// The external id from [`JobLayer::identified_by`](crate::JobLayer::identified_by) or the
    /// dispatcher, such as a request id to pass on to other services.
    #[must_use]
    pub fn external_id(&self) -> Option<Arc<str>> {
        self.core.as_ref().and_then(|core| core.external_id())
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

    /// When the nearest time limit of the calling code expires. `None` without a limit.
    ///
    /// These limits count:
    ///
    /// - The overall limits of the job and of its parents.
    /// - The limits of the current attempt and [step](Self::step), or of those in which the handle
    ///   was taken.
    /// - The limits of a stack that tracks no job. So an unwatched job can have a deadline.
    ///
    /// These do not:
    ///
    /// - Limits outside a Dedup that joins callers: they bound one caller's wait, not the shared
    ///   execution.
    /// - Idle limits, because each report postpones them.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let is_here = match &self.core {
            Some(core) => context::is_current(core),
            None => context::with_current(|job| job.is_none()),
        };
        // Otherwise the calling code belongs to another job.
        let here = if is_here {
            context::nearest_limit()
        } else {
            None
        };
        nearest(self.until, here)
    }

    /// The time left until [`deadline`](Self::deadline), zero after it.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline()
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether the work should stop: the job is cancelled, or this part of it is in the grace
    /// period of a time limit.
    #[must_use]
    #[inline(always)]
    pub fn is_cancelled(&self) -> bool {
        self.core
            .as_ref()
            .is_some_and(|core| context::is_stopping(core) || self.is_stopping())
    }

    #[inline(always)]
    fn is_stopping(&self) -> bool {
        self.signal
            .as_ref()
            .is_some_and(|signal| signal.is_stopping())
    }

    /// The reason of the cancellation, if [`is_cancelled`](Self::is_cancelled).
    #[must_use]
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        let core = self.core.as_ref().filter(|_| self.is_cancelled())?;
        Some(core.reason().unwrap_or(if core.state().has_fired() {
            CancelReason::CallerGone
        } else {
            CancelReason::TimedOut
        }))
    }

    /// Waits until the job is cancelled, for a branch of `select!`. For an unwatched job, it waits
    /// forever.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn cancelled(&self) {
        match (&self.core, self.any_stop_signal()) {
            (Some(core), Some(signal)) => signal.token(|| core.token()).cancelled().await,
            (Some(core), None) => core.token().cancelled().await,
            (None, _) => std::future::pending().await,
        }
    }

    /// A cancellation token of the job, for a blocking thread or a foreign library. Cancelling the
    /// token does not cancel the job; use the Cancel layer's handle for that.
    ///
    /// Under a time limit with a grace period, the token belongs to the current attempt, or to
    /// the step with the limit. It fires at the limit, and the next attempt has another token.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        // A child token, so that user code cannot fire the job's own.
        match (&self.core, self.any_stop_signal()) {
            (Some(core), Some(signal)) => signal.token(|| core.token()).child_token(),
            (Some(core), None) => core.token().child_token(),
            (None, _) => CancellationToken::new(),
        }
    }

    /// The signal of the code that took this handle, or else of the calling code.
    fn any_stop_signal(&self) -> Option<Arc<StopSignal>> {
        let core = self.core.as_ref()?;
        self.signal
            .clone()
            .or_else(|| context::stop_signal_of(core.id()))
    }

    /// Returns an error if the job was cancelled: call it between pieces of work.
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

    /// Reports progress: a fraction, or a [`Report`] with an amount, a message or a step. Reports
    /// after the job's end are dropped.
    ///
    /// ```
    /// use tower_keep::{Job, Report};
    ///
    /// let job = Job::current();
    /// job.progress(0.5);
    /// job.progress(Report::items(30, Some(40)).message("importing"));
    /// // 12 MiB of an unknown total.
    /// job.progress(Report::bytes(12 << 20, None));
    /// ```
    pub fn progress(&self, report: impl Into<Report>) {
        if let Some(core) = &self.core {
            context::report(core, report.into());
        }
    }

    /// Announces the number of steps and restarts their numbering.
    ///
    /// Each [`step`](Self::step) that succeeds then reports `completed / total`, in whatever order
    /// the steps finish. A running step keeps its number; a failed step is forgotten. Nested steps
    /// count too. The numbers continue beyond the total, and such steps report that everything is
    /// done. With a total of 0, nothing is reported.
    #[must_use = "the handle goes on to be used for the steps"]
    pub fn steps(self, total: u32) -> Self {
        if let Some(core) = &self.core {
            core.set_steps(total);
        }
        self
    }

    /// The handle for code that runs in this job, or is about to.
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
