//! The context of code that continues elsewhere: in a shared execution, or in a detached task.

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

/// Whether the current call is part of this job's shared execution, and not one of the calls that
/// share it.
pub(crate) fn is_execution_of(job: JobId) -> bool {
    shared_execution().is_some_and(|(_, of)| of == Some(job))
}

/// The running shared execution.
pub(crate) fn execution() -> Option<ExecutionId> {
    shared_execution().map(|(execution, _)| execution)
}

/// The running shared execution and its job.
pub(in crate::job) fn shared_execution() -> Option<(ExecutionId, Option<JobId>)> {
    with(|context| context.execution.get())
}

/// The context of a piece of code apart from its job, to take along to another task. By default
/// without limits and signal.
#[derive(Clone, Default)]
pub(crate) struct Surroundings {
    pub(crate) limits: Option<Limits>,
    pub(crate) signal: Option<Arc<StopSignal>>,
    /// The shared execution that the code is part of.
    pub(crate) execution: Option<(ExecutionId, Option<JobId>)>,
}

impl Surroundings {
    /// The surroundings of a shared execution, which no caller's limits bound.
    pub(crate) fn of_execution(execution: ExecutionId, job: Option<JobId>) -> Self {
        Self {
            execution: Some((execution, job)),
            ..Self::default()
        }
    }

    /// The surroundings of a detached task. The current signal stops it too. Limits other than the
    /// job's own do not apply.
    pub(crate) fn of_detached_task() -> Self {
        Self {
            limits: limits().map(|limits| limits.for_detached()),
            signal: signal(),
            execution: shared_execution(),
        }
    }

    /// Runs `code` with exactly these surroundings.
    pub(crate) fn around<T>(&mut self, code: impl FnOnce() -> T) -> T {
        let _execution = Restore::set(|context| &context.execution, self.execution);
        // Most code has no limits, before and after.
        let limited = self.limits.is_some() || limits().is_some();
        let _limits = limited.then(|| under(self.limits));
        let _signal = under_stop_signal(&mut self.signal);
        code()
    }
}
