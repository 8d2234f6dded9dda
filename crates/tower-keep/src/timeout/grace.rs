//! Grace periods: drop the work at its limit, or cancel it and let it clean up.

use std::{sync::Arc, time::Duration};

use super::deadline::Deadline;
use crate::job::{
    context::{is_execution_of, stop_signal_of},
    core::Core,
    stop_signal::StopSignal,
};

/// The action when the limit expires.
pub(super) enum AtLimit {
    /// Drop the work. `step_limit` is for a job that an inner layer begins. A layer that tracks the
    /// job passes it on at the call.
    Drop { step_limit: Option<Duration> },
    /// Cancel the work, and drop it after `grace`.
    Stop {
        grace: Duration,
        /// `Some` while the inner code does not run.
        signal: Option<Arc<StopSignal>>,
    },
}

impl AtLimit {
    /// For a layer that has the job. Created before the inner call, as that may share the
    /// execution.
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

    /// The slot of the signal that cancels the work.
    pub(super) fn signal(&mut self) -> Option<&mut Option<Arc<StopSignal>>> {
        match self {
            Self::Drop { .. } => None,
            Self::Stop { signal, .. } => Some(signal),
        }
    }

    /// Cancels the work and returns the grace period. `None` if the call runs no work that could
    /// clean up.
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
