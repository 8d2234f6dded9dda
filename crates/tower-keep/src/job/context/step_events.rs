//! The running step, the events and reports of its code, and code that belongs to no call.

use std::mem;

use super::{
    CONTEXT, Restore,
    current_job::{Phase, phase, with_current},
    with,
};
use crate::{
    event::{EventKind, JobId, Report},
    job::{
        core::{Core, sharing::ExecutionId, steps::StepKey},
        verdict::Carried,
    },
};

pub(in crate::job) fn in_step(job: JobId, step: StepKey) -> Restore<Option<(JobId, StepKey)>> {
    Restore::set(|context| &context.step, Some((job, step)))
}

/// The running step, if it belongs to this job.
#[inline(always)]
pub(crate) fn step_of(job: JobId) -> Option<StepKey> {
    with(|context| context.step.get()).and_then(|(of, key)| (of == job).then_some(key))
}

/// The last call or poll belongs to an attempt of a Retry layer: marks its job, or the job that it
/// began.
#[inline(always)]
pub(in crate::job) fn mark_attempts(called: bool) {
    if matches!(phase(), Phase::Calling | Phase::Rejoined | Phase::Offered) {
        with_current(|job| job.into_iter().for_each(|job| job.has_attempts(called)));
    }
}

/// Sends an event of this job, in the running step. `make` runs only if an event has a receiver.
#[inline]
pub(crate) fn emit(job: &Core, make: impl FnOnce() -> EventKind) {
    if job.is_heard() {
        job.emit(step_of(job.id()), make());
    }
}

/// Reports progress of this job.
pub(in crate::job) fn report(job: &Core, report: Report) {
    job.touch();
    emit(job, || EventKind::Progress(report));
}

/// Runs code that belongs to no call, such as an observer, in the middle of a call. Its calls begin
/// stacks of their own, and its verdicts do not affect the call.
pub(crate) fn apart(code: &mut dyn FnMut()) {
    /// Restores the state of the call.
    struct Call {
        carried: Carried,
        phase: Phase,
        execution: Option<(ExecutionId, Option<JobId>)>,
    }

    impl Drop for Call {
        fn drop(&mut self) {
            with(|context| {
                context.phase.set(self.phase);
                context.execution.set(self.execution);
                context.put_verdict(mem::take(&mut self.carried));
            });
        }
    }

    let _call = CONTEXT.try_with(|context| Call {
        carried: context.take_verdict(),
        phase: context.phase.replace(Phase::Running),
        execution: context.execution.take(),
    });
    code();
}
