//! The job and the phase of the code that runs on this thread now.
//!
//! Layers of one stack hand the request down at once, while the job's own code calls later, from a poll. The phase
//! tells the two apart, and so which job a call belongs to.

use std::{
    cell::{Cell, RefCell},
    mem,
    sync::Arc,
};

use super::core::Core;

/// What the code around a call is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Running a job, or nothing of ours: a call made now begins a stack of its own.
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
    static JOB: RefCell<Option<Arc<Core>>> = const { RefCell::new(None) };
}

#[inline(always)]
pub(crate) fn phase() -> Phase {
    PHASE.get()
}

/// Whether the ambient job is that of the stack that is being called.
pub(crate) fn is_calling() -> bool {
    matches!(phase(), Phase::Calling | Phase::Rejoined)
}

#[inline(always)]
pub(crate) fn set_phase(phase: Phase) -> Phase {
    PHASE.replace(phase)
}

/// The ambient job. `None` also while the thread's storage is being torn down.
pub(crate) fn current() -> Option<Arc<Core>> {
    JOB.try_with(|job| job.borrow().clone()).unwrap_or(None)
}

/// Makes this the ambient job and returns the one before it.
pub(crate) fn replace(job: Option<Arc<Core>>) -> Option<Arc<Core>> {
    JOB.try_with(|current| mem::replace(&mut *current.borrow_mut(), job))
        .unwrap_or(None)
}

/// Makes this the ambient job over the one around the stack, until the stack's root [takes it over](take_over).
pub(crate) fn lay_over(job: Arc<Core>) {
    job.set_around(replace(None));
    replace(Some(job));
}

/// Makes the job around the stack ambient again, in the place of the one that was laid over it.
#[cold]
pub(crate) fn take_over() -> Option<Arc<Core>> {
    let job = replace(None)?;
    replace(job.take_around());
    Some(job)
}

/// Looks at the ambient job without taking a handle to it.
#[inline(always)]
pub(crate) fn with_current<T>(look: impl FnOnce(Option<&Arc<Core>>) -> T) -> T {
    // Code of ours only: `look` must not enter or leave a scope.
    JOB.with(|job| look(job.borrow().as_ref()))
}

/// Whether this is the ambient job.
pub(crate) fn is_current(core: &Arc<Core>) -> bool {
    JOB.try_with(|job| {
        let job = job.borrow();
        job.as_ref().is_some_and(|job| Arc::ptr_eq(job, core))
    })
    .unwrap_or(false)
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
        Self::exchange(slot);
        let phase = set_phase(phase);
        Self { slot, phase }
    }

    fn exchange(slot: &mut Option<Arc<Core>>) {
        // Without storage (the thread ends) there is no scope, and nobody left to see it.
        let _ = JOB.try_with(|job| mem::swap(&mut *job.borrow_mut(), slot));
    }
}

impl Drop for Entered<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        Self::exchange(self.slot);
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
