//! What becomes of the work at its limit.

use std::{sync::Arc, time::Duration};

use super::deadline::Deadline;
use crate::job::{
    context::{is_execution_of, stop_signal_of},
    core::Core,
    stop_signal::StopSignal,
};

/// What becomes of the work when its limit expires.
pub(super) enum AtLimit {
    /// The work is dropped. The step limit is for a job that is begun below: a layer that tracks the job tells it at
    /// the call.
    Drop { step_limit: Option<Duration> },
    /// The work is told to stop, and may go on for as long as `grace`.
    Stop {
        grace: Duration,
        /// In its slot while the code inside does not run.
        signal: Option<Arc<StopSignal>>,
    },
}

impl AtLimit {
    /// For a layer that has the job. Made before the call goes on, as what is called may share the execution.
    pub(super) fn in_job(
        job: &Core,
        deadline: Option<&mut Deadline>,
        grace: Option<Duration>,
    ) -> Self {
        match (deadline, grace) {
            (Some(deadline), Some(grace)) => {
                deadline.shared = is_execution_of(job.id());
                let signal = Some(StopSignal::new(
                    job.id(),
                    deadline.kind(),
                    stop_signal_of(job.id()),
                ));
                Self::Stop { grace, signal }
            }
            _ => Self::Drop { step_limit: None },
        }
    }

    pub(super) fn step_limit(&self) -> Option<Duration> {
        match self {
            Self::Drop { step_limit } => *step_limit,
            Self::Stop { .. } => None,
        }
    }

    /// What tells the work to stop.
    pub(super) fn signal(&mut self) -> Option<&mut Option<Arc<StopSignal>>> {
        match self {
            Self::Drop { .. } => None,
            Self::Stop { signal, .. } => Some(signal),
        }
    }

    /// Tells the work to stop, and for how long it may go on; not if nothing that this call could stop is running.
    pub(super) fn stop(&self, job: &Core, shared: bool) -> Option<Duration> {
        match self {
            Self::Stop { grace, signal } if job.can_clean_up(shared) => {
                if let Some(signal) = signal {
                    job.stop_by(signal);
                }
                Some(*grace)
            }
            _ => None,
        }
    }
}
