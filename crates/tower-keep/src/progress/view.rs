use std::{fmt, sync::Arc};

use tokio::time::Instant;

use crate::event::{
    CancelReason, Event, EventKind, FailureCause, JobId, JobName, Report, StepInfo,
};

/// The latest state of one job.
///
/// Its times are [`Instant`]s of tokio's clock, which measure and tell no date. The time of day is about that of now less
/// what has passed since: `SystemTime::now() - view.dispatched_at.elapsed()`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct JobView {
    /// Which job.
    pub job: JobId,
    /// Its name, empty if it has none. It changes at most once, where a [`JobLayer`](crate::JobLayer)
    /// inside the Progress layer names the job.
    pub name: JobName,
    /// The job whose running code began this one.
    pub parent: Option<JobId>,
    /// The attempt that runs, or ran last, counted from 1.
    pub attempt: u32,
    /// When it was dispatched.
    pub dispatched_at: Instant,
    /// When it got past every gate of its stack, if it has.
    pub started_at: Option<Instant>,
    /// When it ended, if it has.
    pub ended_at: Option<Instant>,
    /// When this state was reached.
    pub changed_at: Instant,
    /// The last report; 0.0 before the first, 1.0 after success.
    pub report: Report,
    /// The step that runs, or the one in which the job failed or was cancelled; as in [`Event::step`].
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

impl JobView {
    pub(super) fn new(event: &Event) -> Self {
        Self {
            job: event.job,
            name: event.name.clone(),
            parent: event.parent,
            attempt: event.attempt,
            dispatched_at: event.at,
            started_at: None,
            ended_at: None,
            changed_at: event.at,
            report: Report::default(),
            step: None,
            state: JobState::Waiting,
            error: None,
        }
    }

    /// A report came: of this job's work, whoever does it.
    fn runs(&mut self) {
        if self.state != JobState::Joined {
            self.state = JobState::Running;
        }
    }

    pub(super) fn apply(&mut self, event: &Event) {
        if self.name.is_empty() && !event.name.is_empty() {
            // A layer inside named the job.
            self.name = event.name.clone();
        }
        self.attempt = event.attempt;
        self.changed_at = event.at;
        self.step = match &event.kind {
            EventKind::StepSucceeded { within, .. } => within.clone(),
            _ => event.step.clone(),
        };
        if event.kind.is_terminal() {
            self.ended_at = Some(event.at);
        }
        match &event.kind {
            EventKind::Started => {
                self.started_at = Some(event.at);
                self.state = JobState::Running;
            }
            EventKind::Retrying { .. } => self.state = JobState::Running,
            EventKind::StepStarted { .. } | EventKind::StepSucceeded { .. } => self.runs(),
            EventKind::Progress(report) => {
                self.runs();
                self.report = report.clone();
            }
            EventKind::Duplicate { joined: true, .. } => self.state = JobState::Joined,
            EventKind::RetryScheduled { error, .. } => {
                self.state = JobState::Backoff;
                self.error = Some(Arc::clone(error));
            }
            EventKind::Succeeded => {
                self.state = JobState::Succeeded;
                self.error = None;
                self.report = match self.report.steps() {
                    Some((_, total)) if total > 0 => Report::step(total, total),
                    _ => Report::new(1.0),
                };
            }
            EventKind::Failed { cause, error } => {
                self.state = JobState::Failed(*cause);
                self.error = Some(Arc::clone(error));
            }
            EventKind::Cancelled { reason, .. } => {
                self.state = JobState::Cancelled(reason.clone());
                // What an earlier attempt failed with is not how the job ended.
                self.error = None;
            }
            _ => {}
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
