//! A job as a board shows it.

#[allow(clippy::disallowed_types, reason = "it is for showing only")]
use std::time::SystemTime;
use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::core::{
    details::{Doing, Facts, How},
    rate::time_left,
};
use crate::event::{CancelReason, FailureCause, JobId, JobName, Report, StepInfo, wall_time};

/// The latest state of one job.
///
/// It is of the moment at which it was made. A job that is stuck changes nothing, so its [`rate`](Self::rate) falls only in
/// a view that is made later: a [watch](crate::progress::Watch) keeps that of the last change, and
/// [`ProgressHandle::find`](crate::progress::ProgressHandle::find) makes one of now.
///
/// Its times are [`Instant`]s of tokio's clock, which measure and tell no date. The methods that end in `_wall` say the
/// [time of day](wall_time).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct JobView {
    /// Which job.
    pub job: JobId,
    /// Its name, empty if it has none. It changes at most once, where a [`JobLayer`](crate::JobLayer)
    /// inside the Progress layer names the job.
    pub name: JobName,
    /// The id that it has outside this process, if [`JobLayer::identified_by`](crate::JobLayer::identified_by) or the
    /// dispatcher gave it one. It changes at most once, where that layer is inside the Progress layer.
    pub external_id: Option<Arc<str>>,
    /// The job whose running code began this one.
    pub parent: Option<JobId>,
    /// The attempt that runs, or ran last, counted from 1.
    pub attempt: u32,
    /// When the service was called for that attempt; `None` before the job has started. Until then, while a hook prepares
    /// the attempt or it waits for the service's readiness, it is when that wait began.
    pub attempt_started_at: Option<Instant>,
    /// When the wait for the next attempt is over: the delay of the retry, counted from when the attempt failed. `None`
    /// while none is waited for, and once the job is cancelled.
    pub next_attempt_at: Option<Instant>,
    /// When it was dispatched.
    pub dispatched_at: Instant,
    /// When it got past every gate of its stack, if it has.
    pub started_at: Option<Instant>,
    /// When it ended, if it has.
    pub ended_at: Option<Instant>,
    /// When this state was reached.
    pub changed_at: Instant,
    /// The last report; a fraction of 0.0 before the first, and 1.0 after success.
    pub report: Report,
    /// How much of the reported amount is done in a second. It is a mean in which what was a moment ago counts most, and
    /// what was 5 s earlier counts e times less; it falls where a report is overdue, and to 0.0 where the job is stuck.
    ///
    /// `None` before the attempt has reported amounts over a quarter of a second, in a job that has ended, and where the
    /// last report is no amount. An amount that is less than before begins again.
    pub rate: Option<f64>,
    /// How long the rest of the amount takes at that rate; `None` where the rate or the total is unknown, nothing is left,
    /// or the job is stuck.
    pub time_left: Option<Duration>,
    /// The step that runs, or the one in which the job failed or was cancelled; as in [`Event::step`](crate::Event::step).
    pub step: Option<StepInfo>,
    /// What it is doing, or how it ended.
    pub state: JobState,
    /// The text of the last error: of the attempt that failed last while the job runs, and of the job once
    /// it failed. `None` after success and cancellation.
    pub error: Option<Arc<str>>,
}

/// What a job is doing, or how it ended.
///
/// ```
/// use tower_keep::{CancelReason, FailureCause, progress::JobState};
///
/// assert_eq!(JobState::Running.to_string(), "running");
/// assert_eq!(JobState::Failed(FailureCause::TimedOut).to_string(), "failed: timed out");
/// assert_eq!(JobState::Cancelled(CancelReason::Requested).to_string(), "cancelled: requested");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobState {
    /// Dispatched, but held back by a gate of its stack.
    Waiting,
    /// Another job does its work; its reports are shown here.
    Joined,
    /// Running.
    Running,
    /// Waiting for its next attempt.
    Backoff,
    /// Ended well.
    Succeeded,
    /// Ended with a failure of this kind.
    Failed(FailureCause),
    /// Cancelled for this reason.
    Cancelled(CancelReason),
}

impl JobState {
    /// Whether the job is over.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed(_) | Self::Cancelled(_))
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waiting"),
            Self::Joined => f.write_str("joined another job"),
            Self::Running => f.write_str("running"),
            Self::Backoff => f.write_str("waiting for the next attempt"),
            Self::Succeeded => f.write_str("succeeded"),
            Self::Failed(cause) => write!(f, "failed: {cause}"),
            Self::Cancelled(reason) => write!(f, "cancelled: {reason}"),
        }
    }
}

impl From<Facts> for JobView {
    fn from(facts: Facts) -> Self {
        let shown = facts.shown.map(Arc::unwrap_or_clone).unwrap_or_default();
        let at = |nanos| facts.born + Duration::from_nanos(nanos);
        let ended = facts.ended.as_ref().map(|ended| ended.nanos);
        let changed = ended.unwrap_or(shown.changed.max(facts.started.unwrap_or(0)));
        let runs = ended.is_none() && shown.report.done().is_some();
        let rate = (runs.then(Instant::now)).and_then(|now| shown.rate.per_second(now));
        let waits = shown.doing == Doing::Backoff && ended.is_none() && !facts.cancelled;
        let mut view = Self {
            job: facts.id,
            name: facts.name,
            external_id: shown.external_id,
            parent: facts.parent,
            attempt: facts.attempt,
            attempt_started_at: facts.started.map(|_| at(facts.attempt_at)),
            next_attempt_at: shown.next_attempt.filter(|_| waits),
            dispatched_at: facts.born,
            started_at: facts.started.map(at),
            ended_at: ended.map(at),
            changed_at: at(changed),
            rate,
            time_left: rate.and_then(|rate| time_left(&shown.report, rate)),
            report: shown.report,
            step: shown.step,
            state: match shown.doing {
                Doing::Joined => JobState::Joined,
                Doing::Backoff => JobState::Backoff,
                Doing::AsStarted if facts.started.is_none() => JobState::Waiting,
                Doing::AsStarted | Doing::Running => JobState::Running,
            },
            error: shown.error,
        };
        if let Some(ended) = facts.ended {
            view.end(ended.how);
        }
        view
    }
}

#[allow(clippy::disallowed_types, reason = "they are for showing only")]
impl JobView {
    /// When it was dispatched, as the [time of day](wall_time).
    ///
    /// ```
    /// use tower_keep::progress::JobView;
    ///
    /// /// For a table of jobs that began today.
    /// fn is_since(view: &JobView, midnight: std::time::SystemTime) -> bool {
    ///     view.dispatched_at_wall() >= midnight
    /// }
    /// ```
    #[must_use]
    pub fn dispatched_at_wall(&self) -> SystemTime {
        wall_time(self.dispatched_at)
    }

    /// When it got past every gate of its stack, if it has, as the [time of day](wall_time).
    #[must_use]
    pub fn started_at_wall(&self) -> Option<SystemTime> {
        self.started_at.map(wall_time)
    }

    /// When it ended, if it has, as the [time of day](wall_time).
    #[must_use]
    pub fn ended_at_wall(&self) -> Option<SystemTime> {
        self.ended_at.map(wall_time)
    }

    /// When this state was reached, as the [time of day](wall_time).
    #[must_use]
    pub fn changed_at_wall(&self) -> SystemTime {
        wall_time(self.changed_at)
    }
}

impl JobView {
    /// Of a job of which nothing else is known.
    pub(crate) fn unseen(job: JobId) -> Self {
        Self::from(Facts {
            id: job,
            parent: None,
            name: JobName::EMPTY,
            attempt: 1,
            attempt_at: 0,
            cancelled: false,
            born: Instant::now(),
            started: None,
            shown: None,
            ended: None,
        })
    }

    fn end(&mut self, how: How) {
        // What an earlier attempt failed with is not how the job ended.
        self.error = None;
        match how {
            How::Succeeded => {
                self.state = JobState::Succeeded;
                self.report = self.report.completed();
            }
            How::Failed(cause, error) => {
                self.state = JobState::Failed(cause);
                self.error = Some(error);
            }
            How::Cancelled(reason) => self.state = JobState::Cancelled(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_in_words() {
        for (state, words) in [
            (JobState::Waiting, "waiting"),
            (JobState::Joined, "joined another job"),
            (JobState::Running, "running"),
            (JobState::Backoff, "waiting for the next attempt"),
            (JobState::Succeeded, "succeeded"),
            (JobState::Cancelled("a whim".into()), "cancelled: a whim"),
        ] {
            assert_eq!(state.to_string(), words);
        }
        for (cause, words) in [
            (FailureCause::Error, "an error"),
            (FailureCause::TimedOut, "timed out"),
            (FailureCause::CircuitOpen, "the circuit is open"),
            (
                FailureCause::Duplicate,
                "an identical request was in flight",
            ),
            (FailureCause::Panicked, "the service panicked"),
            (FailureCause::Rejected, "a gate turned it away"),
        ] {
            let words = format!("failed: {words}");
            assert_eq!(JobState::Failed(cause).to_string(), words);
        }
    }
}
