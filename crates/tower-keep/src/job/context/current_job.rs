//! The ambient job, and what the code around a call is doing: its phase.

use std::sync::Arc;

use tokio::time::Instant;

use super::{CONTEXT, Restore, Swapped, stop::stop_signal_of, with};
use crate::job::core::{Core, Origin};

/// What the code around a call is doing. Layers of one stack hand the request down at once, while the job's own code
/// calls later, from a poll: the phase tells the two apart, and so which job a call belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Running a job, or nothing of ours: a call made now begins a stack of its own.
    #[default]
    Running,
    /// As `Running`; around it is the owner of a stack that has no job and would take one over.
    Open,
    /// As `Open`, and a layer inside left a job for that owner: it is ambient.
    Offered,
    /// The outermost layer of a stack is being called and would take over a job begun below it. The ambient job is
    /// the one around the stack.
    Adopting,
    /// A stack is being called and the ambient job is its job.
    Calling,
    /// As `Calling`, but the job was found again by a layer that belongs to it: another layer owns it. The owner that would
    /// adopt it, and reads this once its call is back, is a member instead.
    Rejoined,
}

#[inline(always)]
pub(crate) fn phase() -> Phase {
    with(|context| context.phase.get())
}

/// Whether the ambient job is that of the stack that is being called.
pub(crate) fn is_calling() -> bool {
    matches!(phase(), Phase::Calling | Phase::Rejoined)
}

/// Returns the phase before.
#[inline(always)]
pub(in crate::job) fn set_phase(phase: Phase) -> Phase {
    with(|context| context.phase.replace(phase))
}

#[inline(always)]
pub(crate) fn in_phase(phase: Phase) -> Restore<Phase> {
    Restore::set(|context| &context.phase, phase)
}

/// Layers hand a call down from here on, since this time if it is known. Whatever sets a phase in which they do says so.
#[inline(always)]
pub(in crate::job) fn set_called_at(at: Option<Instant>) {
    with(|context| context.called_at.set(at));
}

/// When the calls began that are handed down now, or else the time.
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

/// Looks at the ambient job without taking a handle to it. `look` runs code of ours only.
#[inline(always)]
pub(crate) fn with_current<T>(mut look: impl FnMut(Option<&Arc<Core>>) -> T) -> T {
    CONTEXT
        .try_with(|context| context.job.look(&mut look))
        .unwrap_or_else(|_| look(None))
}

/// A new job's origin where this job's code begins it.
pub(in crate::job) fn origin(parent: Option<Arc<Core>>) -> Origin {
    parent.map_or(Origin::Nobody, |parent| Origin::Parent {
        within: stop_signal_of(parent.id()),
        parent,
    })
}

pub(crate) fn is_current(core: &Arc<Core>) -> bool {
    with_current(|job| job.is_some_and(|job| Arc::ptr_eq(job, core)))
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

/// Makes this the ambient job over the one around the stack, until the stack's owner [takes it over](take_over).
pub(in crate::job) fn lay_over(job: Arc<Core>) {
    job.replace_around(replace_job(None));
    replace_job(Some(job));
}

/// Makes the job around the stack ambient again, in place of the job that was laid over it.
#[cold]
pub(in crate::job) fn take_over() -> Option<Arc<Core>> {
    let job = replace_job(None)?;
    replace_job(job.replace_around(None));
    Some(job)
}
