//! [`JobView`] and [`JobState`]: a job as boards and handles show it.

#[allow(clippy::disallowed_types, reason = "it is for showing only")]
use std::time::SystemTime;
use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::core::{
    details::{Doing, Facts, How},
    rate::time_left,
};
use crate::event::{CancelReason, FailureCause, JobId, JobName, Report, StepInfo, wall_time};

/// A snapshot of one job: state, progress, step, attempt, times.
///
/// The view of a stuck job shows a falling [`rate`](Self::rate) only if it is made again. A
/// [watch](crate::progress::Watch) keeps the view of the last change;
/// [`ProgressHandle::find`](crate::progress::ProgressHandle::find) makes a current one.
///
/// Times are [`Instant`]s of tokio's clock, which are monotonic and carry no date. Methods that end
/// in `_wall` return the [time of day](wall_time).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct JobView {
    /// The job's id.
    pub job: JobId,
    /// The job's name, or an empty name. It changes at most once, if a
    /// [`JobLayer`](crate::JobLayer) inside the Progress layer names the job.
    pub name: JobName,
    /// The external id from [`JobLayer::identified_by`](crate::JobLayer::identified_by) or the
    /// dispatcher. It changes at most once, if that layer is inside the Progress layer.
    pub external_id: Option<Arc<str>>,
    /// The job whose code began this one.
    pub parent: Option<JobId>,
    /// The current or last attempt, counted from 1.
    pub attempt: u32,
    /// When the service was called for this attempt. While a hook prepares a later attempt, or the
    /// attempt waits for the service's readiness, it is when that wait began. `None` before the job
    /// has started.
    pub attempt_started_at: Option<Instant>,
    /// When the next attempt begins: the retry's delay, counted from the failure. `None` if no
    /// attempt is scheduled, and once the job is cancelled.
    pub next_attempt_at: Option<Instant>,
    /// When the job was dispatched.
    pub dispatched_at: Instant,
    /// When the job passed every gate of its stack.
    pub started_at: Option<Instant>,
    /// When the job ended.
    pub ended_at: Option<Instant>,
    /// When this state was reached.
    pub changed_at: Instant,
    /// The last report. The fraction is 0.0 before the first report, and 1.0 after success.
    pub report: Report,
    /// Amount per second, as an exponentially weighted mean: a value 5 s ago weighs e times less.
    /// The rate falls while a report is overdue, down to 0.0 for a stuck job.
    ///
    /// `None` until the attempt has reported amounts for a quarter of a second. Also `None` once
    /// the job has ended, and if the last report has no amount. A smaller amount than before
    /// restarts the measurement.
    pub rate: Option<f64>,
    /// Time for the rest of the amount at that rate. `None` if the rate or the total is unknown,
    /// nothing is left, or the job is stuck.
    pub time_left: Option<Duration>,
    /// The running step, or the step in which the job failed or was cancelled; as in
    /// [`Event::step`](crate::Event::step).
    pub step: Option<StepInfo>,
    /// The current state, or how the job ended.
    pub state: JobState,
    /// The last error as text: of the last failed attempt while the job runs, of the job once it
    /// has failed. `None` after success and cancellation.
    pub error: Option<Arc<str>>,
}

/// State of a job: running, waiting, or how it ended.
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
    /// Another job does the work; this job shows its reports.
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
    /// Whether the job has ended.
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
    /// When the job was dispatched, as the [time of day](wall_time).
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

    /// When the job passed every gate of its stack, as the [time of day](wall_time).
    #[must_use]
    pub fn started_at_wall(&self) -> Option<SystemTime> {
        self.started_at.map(wall_time)
    }

    /// When the job ended, as the [time of day](wall_time).
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
    /// A view of a job of which only the id is known.
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
        // The error of an earlier attempt does not explain how the job ended.
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
