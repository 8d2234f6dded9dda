//! Everything that is ambient for the code that runs now, in one thread-local.
//!
//! What holds for a piece of code is set for it and put back after it, by one of two guards: [`Restore`] for a plain
//! value, [`Swapped`] for a shared one. What comes up from below is left for the code around, which takes it away: what is
//! said of a result, a job that an owner adopts, a panic's origin. Nothing else that a call sees is kept in a thread, and
//! below this file nothing reads it: the job itself and its parts take what they need as arguments.
//!
//! Calls are made while a thread ends, too: from the `Drop` of what another crate keeps in it. So no field has a
//! destructor, as that would take the value away before the thread is gone. Where a platform takes the values away
//! nevertheless, a read gives the default, which is that nothing is ambient, and a write does nothing.

mod ambient_limits;
mod ambient_verdict;
mod current_job;
mod step_events;
mod stop;
mod surroundings;
mod timing;

use std::{
    cell::{Cell, RefCell},
    mem::{self, ManuallyDrop},
    sync::Arc,
};

use tokio::time::Instant;

pub(in crate::job) use self::ambient_verdict::*;
#[allow(unused_imports, reason = "only limits share a timer")]
pub(crate) use self::timing::{Timed, Timing, timed, wake_at};
pub(crate) use self::{
    ambient_limits::*, current_job::*, step_events::*, stop::*, surroundings::*,
};
use super::{
    core::{Core, sharing::ExecutionId, steps::Key},
    limits::Limits,
    stop_signal::StopSignal,
    verdict::{Explanation, VerdictKind},
};
use crate::event::JobId;

thread_local! {
    static CONTEXT: Context = const { Context::new() };
}

struct Context {
    /// Whose code runs.
    job: Slot<Core>,
    phase: Cell<Phase>,
    /// When the calls began that layers hand down now: one look at the clock does for all of them. Of no meaning in any
    /// other phase.
    called_at: Cell<Option<Instant>>,
    /// The limits in force. They are not the job's: the next attempt, or a layer outside, may be under others.
    limits: Cell<Option<Limits>>,
    /// The time limit around whose timer wakes for the limits inside, too.
    timed: Cell<Option<Timed>>,
    /// When that timer is to go off for a limit inside.
    wake_at: Cell<Option<Instant>>,
    /// What tells this code to stop, while the job itself may go on.
    signal: Slot<StopSignal>,
    /// The step whose code runs, and its job.
    step: Cell<Option<(JobId, Key)>>,
    /// The execution, which callers share, that runs now, and its job.
    execution: Cell<Option<(ExecutionId, Option<JobId>)>>,
    /// What the layers inside say of the result that comes up with this poll: the kind of stop, and its marks. A byte of
    /// its own says that there is none, as it is written and read several times a call: to read more bytes than were
    /// written last would wait for the write.
    verdict: Cell<Option<VerdictKind>>,
    stop_marks: Cell<(bool, bool)>,
    explanation: Slot<Explanation>,
    /// Why a layer drops what it wraps, while it does.
    dropping: Cell<Option<VerdictKind>>,
    /// The job in which a closure that a layer asked before the service panicked, on the panic's way to the owner.
    before_service: Cell<Option<JobId>>,
}

impl Context {
    const fn new() -> Self {
        const { assert!(!mem::needs_drop::<Self>()) };
        Self {
            job: Slot::new(),
            phase: Cell::new(Phase::Running),
            called_at: Cell::new(None),
            limits: Cell::new(None),
            timed: Cell::new(None),
            wake_at: Cell::new(None),
            signal: Slot::new(),
            step: Cell::new(None),
            execution: Cell::new(None),
            verdict: Cell::new(None),
            stop_marks: Cell::new((false, false)),
            explanation: Slot::new(),
            dropping: Cell::new(None),
            before_service: Cell::new(None),
        }
    }
}

/// A shared value. The guards, or the code that takes it away, empty it, so nothing is left to be dropped with the thread.
struct Slot<T>(RefCell<ManuallyDrop<Option<Arc<T>>>>);

impl<T> Slot<T> {
    const fn new() -> Self {
        Self(RefCell::new(ManuallyDrop::new(None)))
    }

    /// `look` must not use this slot in turn.
    #[inline(always)]
    fn look<R>(&self, look: impl FnOnce(Option<&Arc<T>>) -> R) -> R {
        look(self.0.borrow().as_ref())
    }

    #[inline(always)]
    fn swap(&self, other: &mut Option<Arc<T>>) {
        mem::swap(&mut **self.0.borrow_mut(), other);
    }

    fn get(&self) -> Option<Arc<T>> {
        self.look(|value| value.cloned())
    }
}

#[inline(always)]
fn with<T: Default>(look: impl FnOnce(&Context) -> T) -> T {
    CONTEXT.try_with(look).unwrap_or_default()
}

type Field<T> = fn(&Context) -> &T;

/// A plain field of the context has another value for as long as this lives.
pub(crate) struct Restore<T: Copy + 'static> {
    field: Field<Cell<T>>,
    before: T,
}

impl<T: Copy + Default> Restore<T> {
    #[inline(always)]
    fn set(field: Field<Cell<T>>, value: T) -> Self {
        let before = with(|context| field(context).replace(value));
        Self { field, before }
    }
}

impl<T: Copy> Drop for Restore<T> {
    #[inline(always)]
    fn drop(&mut self) {
        with(|context| (self.field)(context).set(self.before));
    }
}

/// A shared field of the context and what is in the slot have changed places for as long as this lives: entering and
/// leaving cost no reference count.
pub(crate) struct Swapped<'a, T: 'static> {
    field: Field<Slot<T>>,
    slot: &'a mut Option<Arc<T>>,
}

impl<'a, T> Swapped<'a, T> {
    #[inline(always)]
    fn new(field: Field<Slot<T>>, slot: &'a mut Option<Arc<T>>) -> Self {
        with(|context| field(context).swap(slot));
        Self { field, slot }
    }
}

impl<T> Drop for Swapped<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        with(|context| (self.field)(context).swap(self.slot));
    }
}
