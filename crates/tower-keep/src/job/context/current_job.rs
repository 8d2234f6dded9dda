//! The ambient job, and the phase of the code around a call.

use std::sync::Arc;

use tokio::time::Instant;

use super::{CONTEXT, Restore, Swapped, stop::stop_signal_of, with};
use crate::job::core::{Core, Origin};

/// What the code around a call is doing. Layers of one stack pass the request down at once, while
/// the job's own code calls later, from a poll. The phase distinguishes the two, and so decides
/// which job a call belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Running a job, or no code of this library: a call begins a stack of its own.
    #[default]
    Running,
    /// Like `Running`, under the owner of a stack without a job, which would adopt one.
    Open,
    /// Like `Open`, but an inner layer has left a job for that owner as the ambient one.
    Offered,
    /// The outermost layer of a stack is being called, and would adopt a job begun below it. The
    /// ambient job is the job around the stack.
    Adopting,
    /// A stack is being called, and the ambient job is its job.
    Calling,
    /// Like `Calling`, but a layer that belongs to the job found it again: another layer owns it.
    /// The adopting owner reads this after its call, and is a member instead.
    Rejoined,
}

#[inline(always)]
pub(crate) fn phase() -> Phase {
    with(|context| context.phase.get())
}

/// Whether the ambient job is the job of the stack that is being called.
pub(crate) fn is_calling() -> bool {
    matches!(phase(), Phase::Calling | Phase::Rejoined)
}

/// Returns the previous phase.
#[inline(always)]
pub(in crate::job) fn set_phase(phase: Phase) -> Phase {
    with(|context| context.phase.replace(phase))
}

#[inline(always)]
pub(crate) fn in_phase(phase: Phase) -> Restore<Phase> {
    Restore::set(|context| &context.phase, phase)
}

/// Layers pass a call down from now on; `at` is the time, if known. Set with every phase in which
/// layers do so.
#[inline(always)]
pub(in crate::job) fn set_called_at(at: Option<Instant>) {
    with(|context| context.called_at.set(at));
}

/// When the current calls began, or else the current time.
#[inline(always)]
pub(crate) fn called_at() -> Instant {
    with(|context| match context.phase.get() {
        Phase::Calling | Phase::Rejoined | Phase::Adopting => context.called_at.get(),
        Phase::Running | Phase::Open | Phase::Offered => None,
    })
    .unwrap_or_else(Instant::now)
}

/// The ambient job.
pub(crate) fn current() -> Option<Arc<Core>> {
    with(|context| context.job.get())
}

/// Reads the ambient job without cloning the handle. `look` runs only code of this library.
#[inline(always)]
pub(crate) fn with_current<T>(mut look: impl FnMut(Option<&Arc<Core>>) -> T) -> T {
    CONTEXT
        .try_with(|context| context.job.look(&mut look))
        .unwrap_or_else(|_| look(None))
}

/// The origin of a new job that this job's code begins.
pub(in crate::job) fn origin(parent: Option<Arc<Core>>) -> Origin {
    parent.map_or(Origin::Nobody, |parent| Origin::Parent {
        within: stop_signal_of(parent.id()),
        parent,
    })
}

pub(crate) fn is_current(core: &Arc<Core>) -> bool {
    with_current(|job| job.is_some_and(|job| Arc::ptr_eq(job, core)))
}

/// Whether the code of this job runs already.
#[cfg(feature = "http")]
#[inline(always)]
pub(in crate::job) fn is_running(core: &Arc<Core>) -> bool {
    with(|context| {
        context.phase.get() == Phase::Running
            && (context.job).look(|job| job.is_some_and(|job| Arc::ptr_eq(job, core)))
    })
}

/// Makes the job in the slot the ambient one.
#[inline(always)]
pub(crate) fn enter(
    slot: &mut Option<Arc<Core>>,
    phase: Phase,
) -> (Swapped<'_, Core>, Restore<Phase>) {
    (Swapped::new(|context| &context.job, slot), in_phase(phase))
}

fn replace_job(mut job: Option<Arc<Core>>) -> Option<Arc<Core>> {
    with(|context| context.job.swap(&mut job));
    job
}

/// Makes this the ambient job over the job around the stack, until the stack's owner
/// [adopts](take_over) it.
pub(in crate::job) fn lay_over(job: Arc<Core>) {
    job.replace_outer(replace_job(None));
    replace_job(Some(job));
}

/// Makes the job around the stack ambient again, and returns the job that was laid over it.
#[cold]
pub(in crate::job) fn take_over() -> Option<Arc<Core>> {
    let job = replace_job(None)?;
    replace_job(job.replace_outer(None));
    Some(job)
}
