//! A handle to a job.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{context, core::Core, error::Cancelled, limits::nearest, stop_signal::StopSignal};
use crate::event::{CancelReason, JobId, Report};

/// A handle to a job. Cheap to clone; all clones are the same job.
///
/// A handle made outside any stack is *unwatched*: everything can be called and nothing happens.
///
/// A handle belongs to the code that takes it: a time limit on that code, such as that of an attempt, counts for
/// [`deadline`](Self::deadline), and if the limit stops that code with a grace period, this handle says so, wherever
/// it is by then. So take one in each attempt.
#[derive(Clone, Default)]
pub struct Job {
    pub(super) core: Option<Arc<Core>>,
    /// What stops the code that took this handle, next to the job.
    pub(super) signal: Option<Arc<StopSignal>>,
    /// When the limits on that code expire.
    pub(super) until: Option<Instant>,
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

    /// The name that [`JobLayer`](crate::JobLayer) or the dispatcher gave it, or an empty one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.core.as_ref().map_or("", |core| core.name())
    }

    /// The id that the job has outside this process, if [`JobLayer::identified_by`](crate::JobLayer::identified_by) or
    /// the dispatcher gave it one: to be passed on to what the job calls, say.
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

    /// When the code that asks is stopped: the nearest of all time limits on it.
    ///
    /// These are the overall limits of the job and of the jobs that it works for; and those of the attempt and of the
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
            .is_some_and(|core| context::is_stopping(core) || self.is_stopping())
    }

    #[inline(always)]
    fn is_stopping(&self) -> bool {
        self.signal
            .as_ref()
            .is_some_and(|signal| signal.is_stopping())
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
        match (&self.core, self.any_stop_signal()) {
            (Some(core), Some(signal)) => signal.token(|| core.token()).cancelled().await,
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
        match (&self.core, self.any_stop_signal()) {
            (Some(core), Some(signal)) => signal.token(|| core.token()).child_token(),
            (Some(core), None) => core.token().child_token(),
            (None, _) => CancellationToken::new(),
        }
    }

    /// That of the code that took this handle, or else of the code that asks.
    fn any_stop_signal(&self) -> Option<Arc<StopSignal>> {
        let core = self.core.as_ref()?;
        self.signal
            .clone()
            .or_else(|| context::stop_signal_of(core.id()))
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
