//! The ambient context of the running code, in one thread-local.
//!
//! Values for a piece of code are set before it and restored after it, by one of two guards:
//! [`Restore`] for a plain value, [`Swapped`] for a shared one. Inner layers leave some values for
//! outer layers, which take them: a verdict, a job for an adopting owner, the origin of a panic.
//! Nothing else is kept per thread. Below this module no code reads the context: the job and its
//! parts get what they need as arguments.
//!
//! Calls also happen while a thread ends, from the `Drop` of another crate's thread-local. So no
//! field has a destructor, which would remove the value earlier. If a platform removes the values
//! anyway, reads give the default (nothing is ambient) and writes do nothing.

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
    core::{Core, sharing::ExecutionId, steps::StepKey},
    limits::Limits,
    stop_signal::StopSignal,
    verdict::{Explanation, VerdictKind},
};
use crate::event::JobId;

thread_local! {
    static CONTEXT: Context = const { Context::new() };
}

struct Context {
    /// The job whose code runs.
    job: Slot<Core>,
    phase: Cell<Phase>,
    /// When the calls began that layers now pass down: they share one clock read. Meaningless in
    /// any other phase.
    called_at: Cell<Option<Instant>>,
    /// The time limits. They are not part of the job: the next attempt, or an outer layer, may have
    /// others.
    limits: Cell<Option<Limits>>,
    /// The outer time limit whose timer also wakes inner limits.
    timed: Cell<Option<Timed>>,
    /// When that timer must fire for an inner limit.
    wake_at: Cell<Option<Instant>>,
    /// The signal that stops this code while the job itself may go on.
    signal: Slot<StopSignal>,
    /// The step whose code runs, and its job.
    step: Cell<Option<(JobId, StepKey)>>,
    /// The running shared execution and its job.
    execution: Cell<Option<(ExecutionId, Option<JobId>)>>,
    /// The inner layers' verdict on the result of this poll: its kind and its marks. `None` is a
    /// value of the same byte, because the field is written and read several times per call.
    /// Reading more bytes than the last write would stall.
    verdict: Cell<Option<VerdictKind>>,
    stop_marks: Cell<(bool, bool)>,
    explanation: Slot<Explanation>,
    /// Why a layer is dropping its inner future.
    dropping: Cell<Option<VerdictKind>>,
    /// The job in which a closure panicked before the service call, while the panic travels to the
    /// owner.
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

/// A shared value. Guards, or the code that takes it, empty it. So nothing is left to drop with the
/// thread.
struct Slot<T>(RefCell<ManuallyDrop<Option<Arc<T>>>>);

impl<T> Slot<T> {
    const fn new() -> Self {
        Self(RefCell::new(ManuallyDrop::new(None)))
    }

    /// `look` must not use this slot itself.
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

/// Sets a plain field of the context while this exists.
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

/// Swaps a shared field of the context with the slot while this exists. Entering and leaving cost
/// no reference count.
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
