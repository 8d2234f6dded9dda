//! The details of a job that views show: last report, step, state, ending.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::rate::Rate;
use crate::{
    error_text::bounded_id,
    event::{CancelReason, EventKind, FailureCause, JobId, JobName, Report, StepInfo},
};

/// Details beyond the beginning, the start and the end. Most jobs have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details {
    pub(crate) external_id: Option<Arc<str>>,
    pub(crate) report: Report,
    /// The rate of the reported amounts.
    pub(crate) rate: Rate,
    pub(crate) step: Option<StepInfo>,
    pub(crate) error: Option<Arc<str>>,
    pub(crate) doing: Doing,
    /// When the next attempt begins, during backoff.
    pub(crate) next_attempt: Option<Instant>,
    /// Nanoseconds since the job's beginning.
    pub(crate) changed: u64,
}

/// The current state of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Waiting before the start, running after it.
    #[default]
    AsStarted,
    Joined,
    Running,
    Backoff,
}

/// How and when a job ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Nanoseconds since the job's beginning.
    pub(crate) nanos: u64,
    pub(crate) how: How,
}

#[derive(Clone, Debug)]
pub(crate) enum How {
    Succeeded,
    Failed(FailureCause, Arc<str>),
    Cancelled(CancelReason),
}

impl From<&EventKind> for How {
    fn from(terminal: &EventKind) -> Self {
        match terminal {
            EventKind::Failed { cause, error } => Self::Failed(*cause, Arc::clone(error)),
            EventKind::Cancelled { reason, .. } => Self::Cancelled(reason.clone()),
            _ => Self::Succeeded,
        }
    }
}

/// Everything that a view is made of.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) id: JobId,
    pub(crate) parent: Option<JobId>,
    pub(crate) name: JobName,
    pub(crate) attempt: u32,
    /// When the attempt began, in nanoseconds since the job's beginning.
    pub(crate) attempt_at: u64,
    /// The job is cancelled.
    pub(crate) cancelled: bool,
    pub(crate) born: Instant,
    /// When the job started, in nanoseconds since its beginning.
    pub(crate) started: Option<u64>,
    pub(crate) shown: Option<Arc<Details>>,
    pub(crate) ended: Option<Ended>,
}

impl Facts {
    /// Whether this is the job's external id.
    pub(crate) fn is_known_as(&self, external_id: &str) -> bool {
        let known = self
            .shown
            .as_ref()
            .and_then(|shown| shown.external_id.as_deref());
        known.is_some_and(|known| known == bounded_id(external_id))
    }

    pub(crate) fn ended_at(&self) -> Instant {
        let nanos = self.ended.as_ref().map_or(0, |ended| ended.nanos);
        self.born + Duration::from_nanos(nanos)
    }
}

impl Details {
    pub(super) fn apply(
        &mut self,
        kind: &EventKind,
        at: Instant,
        since_born: u64,
        step: Option<StepInfo>,
        rate: Option<Rate>,
    ) {
        self.changed = since_born;
        self.step = match kind {
            EventKind::StepSucceeded { within, .. } => within.clone(),
            _ => step,
        };
        match kind {
            EventKind::Started | EventKind::Retrying { .. } => self.doing = Doing::Running,
            EventKind::StepStarted { .. } | EventKind::StepSucceeded { .. } => self.runs(),
            EventKind::Progress(report) => {
                self.runs();
                match rate {
                    Some(rate) => self.rate = rate,
                    None => self.rate.note(report, at),
                }
                self.report = report.clone();
            }
            EventKind::Duplicate { joined: true, .. } => self.doing = Doing::Joined,
            EventKind::RetryScheduled { error, delay, .. } => {
                self.doing = Doing::Backoff;
                // The next attempt restarts the amount, or resumes it after a pause.
                self.rate = Rate::default();
                self.next_attempt = at.checked_add(*delay);
                self.error = Some(Arc::clone(error));
            }
            _ => {}
        }
    }

    /// A report arrived: of this job's own work, or of its leader's.
    fn runs(&mut self) {
        if self.doing != Doing::Joined {
            self.doing = Doing::Running;
        }
    }
}
