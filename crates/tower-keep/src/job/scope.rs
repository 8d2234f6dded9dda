//! The job and the phase of the code that runs on this thread now.
//!
//! Layers of one stack hand the request down at once, while the job's own code calls later, from a poll. The phase
//! tells the two apart, and so which job a call belongs to.

use std::{cell::Cell, sync::Arc};

use super::{
    core::Core,
    local::{Local as _, Slot},
};

/// What the code around a call is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Running a job, or nothing of ours: a call made now begins a stack of its own.
    #[default]
    Running,
    /// As `Running`; around it is the root of a stack that has no job and would take one over.
    Open,
    /// As `Open`, and a layer inside left a job for that root: it is ambient.
    Offered,
    /// The outermost layer of a stack is being called and would take over a job begun below it. The ambient job is
    /// the one around the stack.
    Adopting,
    /// A stack is being called and the ambient job is its job.
    Calling,
    /// As `Calling`, but the job was found again by a layer that belongs to it: somebody else owns it.
    Rejoined,
}

thread_local! {
    static PHASE: Cell<Phase> = const { Cell::new(Phase::Running) };
    static JOB: Slot<Core> = const { Slot::new() };
}

#[inline(always)]
pub(crate) fn phase() -> Phase {
    PHASE.read()
}

/// Whether the ambient job is that of the stack that is being called.
pub(crate) fn is_calling() -> bool {
    matches!(phase(), Phase::Calling | Phase::Rejoined)
}

#[inline(always)]
pub(crate) fn set_phase(phase: Phase) -> Phase {
    PHASE.exchange(phase)
}

/// The ambient job.
pub(crate) fn current() -> Option<Arc<Core>> {
    with_current(|job| job.cloned())
}

/// Makes this the ambient job and returns the one before it.
fn replace(mut job: Option<Arc<Core>>) -> Option<Arc<Core>> {
    exchange(&mut job);
    job
}

#[inline(always)]
fn exchange(slot: &mut Option<Arc<Core>>) {
    let _ = JOB.try_with(|job| job.swap(slot));
}

/// Makes this the ambient job over the one around the stack, until the stack's root [takes it over](take_over).
pub(crate) fn lay_over(job: Arc<Core>) {
    job.set_around(replace(None));
    replace(Some(job));
}

/// Makes the job around the stack ambient again, in place of the job that was laid over it.
#[cold]
pub(crate) fn take_over() -> Option<Arc<Core>> {
    let job = replace(None)?;
    replace(job.take_around());
    Some(job)
}

/// Looks at the ambient job without taking a handle to it.
#[inline(always)]
pub(crate) fn with_current<T>(mut look: impl FnMut(Option<&Arc<Core>>) -> T) -> T {
    // Code of ours only: `look` must not enter or leave a scope.
    JOB.try_with(|job| job.look(&mut look))
        .unwrap_or_else(|_| look(None))
}

/// Whether this is the ambient job.
pub(crate) fn is_current(core: &Arc<Core>) -> bool {
    with_current(|job| job.is_some_and(|job| Arc::ptr_eq(job, core)))
}

/// Exchanges the ambient job with the one in `slot` for as long as the guard lives. Back and forth the two only
/// change places, so that entering costs no reference count.
pub(crate) struct Entered<'a> {
    slot: &'a mut Option<Arc<Core>>,
    phase: Phase,
}

impl<'a> Entered<'a> {
    #[inline(always)]
    pub(crate) fn new(slot: &'a mut Option<Arc<Core>>, phase: Phase) -> Self {
        exchange(slot);
        let phase = set_phase(phase);
        Self { slot, phase }
    }
}

impl Drop for Entered<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        exchange(self.slot);
        set_phase(self.phase);
    }
}

/// Sets the phase for as long as the guard lives.
pub(crate) struct InPhase(Phase);

impl InPhase {
    #[inline(always)]
    pub(crate) fn new(phase: Phase) -> Self {
        Self(set_phase(phase))
    }
}

impl Drop for InPhase {
    #[inline(always)]
    fn drop(&mut self) {
        set_phase(self.0);
    }
}
