//! What holds for code that goes on elsewhere: in a shared execution, or in a detached task.

use std::sync::Arc;

use super::{
    Restore,
    ambient_limits::{limits, under},
    stop::{signal, under_stop_signal},
    with,
};
use crate::{
    event::JobId,
    job::{core::sharing::ExecutionId, limits::Limits, stop_signal::StopSignal},
};

/// Whether what is called now is a part of the execution of this job that callers share, rather than one of those calls.
pub(crate) fn is_execution_of(job: JobId) -> bool {
    shared_execution().is_some_and(|(_, of)| of == Some(job))
}

/// The shared execution whose code runs now.
pub(crate) fn execution() -> Option<ExecutionId> {
    shared_execution().map(|(execution, _)| execution)
}

/// With its job.
pub(in crate::job) fn shared_execution() -> Option<(ExecutionId, Option<JobId>)> {
    with(|context| context.execution.get())
}

/// What holds for a piece of code apart from its job, taken along where the code goes on elsewhere. By default no limit
/// holds, and nothing stops it.
#[derive(Clone, Default)]
pub(crate) struct Surroundings {
    pub(crate) limits: Option<Limits>,
    pub(crate) signal: Option<Arc<StopSignal>>,
    /// The shared execution that the code is a part of.
    pub(crate) execution: Option<(ExecutionId, Option<JobId>)>,
}

impl Surroundings {
    /// Those of an execution that callers share: it is under the limits of none of them.
    pub(crate) fn of_execution(execution: ExecutionId, job: Option<JobId>) -> Self {
        Self {
            execution: Some((execution, job)),
            ..Self::default()
        }
    }

    /// Of a detached task: what stops the code around stops it too. Any limit but the job's own may go with the caller.
    pub(crate) fn of_detached_task() -> Self {
        Self {
            limits: limits().map(|limits| limits.for_detached()),
            signal: signal(),
            execution: shared_execution(),
        }
    }

    /// Lets them hold, and no others, while `code` runs.
    pub(crate) fn around<T>(&mut self, code: impl FnOnce() -> T) -> T {
        let _execution = Restore::set(|context| &context.execution, self.execution);
        // Most code is under none, here and there.
        let limited = self.limits.is_some() || limits().is_some();
        let _limits = limited.then(|| under(self.limits));
        let _signal = under_stop_signal(&mut self.signal);
        code()
    }
}
