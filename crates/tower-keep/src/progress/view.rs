use tokio::{sync::watch, time::Instant};

use crate::event::{CancelReason, Event, EventKind, FailureCause, JobId, JobName, Report};

/// The latest state of one job.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobView {
    /// Which job.
    pub job: JobId,
    /// Its name, empty if it was given none.
    pub name: JobName,
    /// The job whose running code began this one.
    pub parent: Option<JobId>,
    /// The attempt that runs, or ran last, counted from 1.
    pub attempt: u32,
    /// When it was dispatched.
    pub dispatched_at: Instant,
    /// When this state was reached.
    pub changed_at: Instant,
    /// The last report; 0.0 before the first, 1.0 after success.
    pub report: Report,
    /// What it is doing, or how it ended.
    pub state: JobState,
}

/// What a job is doing, or how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobState {
    /// Dispatched, but held back by a gate of its stack.
    Waiting,
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

impl JobView {
    pub(super) fn new(event: &Event) -> Self {
        Self {
            job: event.job,
            name: event.name.clone(),
            parent: event.parent,
            attempt: event.attempt,
            dispatched_at: event.at,
            changed_at: event.at,
            report: Report::default(),
            state: JobState::Waiting,
        }
    }

    pub(super) fn apply(&mut self, event: &Event) {
        self.attempt = event.attempt;
        self.changed_at = event.at;
        match &event.kind {
            EventKind::Started | EventKind::Retrying { .. } | EventKind::StepStarted { .. } => {
                self.state = JobState::Running;
            }
            EventKind::Progress(report) => {
                self.state = JobState::Running;
                self.report = report.clone();
            }
            EventKind::RetryScheduled { .. } => self.state = JobState::Backoff,
            EventKind::Succeeded => {
                self.state = JobState::Succeeded;
                self.report = match self.report.steps() {
                    Some((_, total)) if total > 0 => Report::step(total, total),
                    _ => Report::new(1.0),
                };
            }
            EventKind::Failed { cause, .. } => self.state = JobState::Failed(*cause),
            EventKind::Cancelled { reason, .. } => self.state = JobState::Cancelled(reason.clone()),
            _ => {}
        }
    }
}

/// Watches one job: always its latest state, its ending included.
#[derive(Clone, Debug)]
pub struct Watch {
    pub(super) receiver: watch::Receiver<JobView>,
}

impl Watch {
    /// Of a job that no board was told of: its thread is being torn down.
    #[cfg(feature = "dispatch")]
    pub(crate) fn unseen(job: JobId) -> Self {
        let view = JobView::new(&Event::new(job, EventKind::Dispatched));
        Self {
            receiver: watch::channel(view).1,
        }
    }

    /// The latest state.
    #[must_use]
    pub fn latest(&self) -> JobView {
        self.receiver.borrow().clone()
    }

    /// Waits for a state that this has not returned yet. `None` once the ending was returned.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn changed(&mut self) -> Option<JobView> {
        // An error says that the job is over and its ending was seen.
        self.receiver.changed().await.ok()?;
        Some(self.receiver.borrow_and_update().clone())
    }

    /// Waits for the ending.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn ended(&mut self) -> JobView {
        // An error says that the sender is gone, which it is only after it sent the ending.
        let _ = self
            .receiver
            .wait_for(|view| view.state.is_terminal())
            .await;
        self.latest()
    }
}
