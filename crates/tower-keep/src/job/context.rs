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

mod timing;

use std::{
    cell::{Cell, RefCell},
    mem::{self, ManuallyDrop},
    sync::Arc,
};

use tokio::time::Instant;

#[allow(unused_imports, reason = "only limits share a timer")]
pub(crate) use self::timing::{Timed, Timing, timed, wake_at};
use super::{
    core::{Core, Origin, sharing::ExecutionId, steps::Key},
    limits::Limits,
    stop_signal::StopSignal,
    verdict::{Carried, Explanation, Verdict, VerdictKind},
};
use crate::event::{EventKind, JobId, Report};

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

impl Context {
    #[inline(always)]
    fn verdict(&self) -> Option<Verdict> {
        self.verdict.get().map(|kind| {
            let (responded, forbids) = self.stop_marks.get();
            Verdict {
                kind,
                responded,
                forbids,
            }
        })
    }

    #[inline(always)]
    fn set_verdict(&self, verdict: Option<Verdict>) {
        self.verdict.set(verdict.map(|verdict| verdict.kind));
        if let Some(verdict) = verdict {
            self.stop_marks.set((verdict.responded, verdict.forbids));
        }
    }

    #[inline(always)]
    fn take_said(&self) -> Carried {
        let mut explanation = None;
        if !self.explanation.look(|explanation| explanation.is_none()) {
            self.explanation.swap(&mut explanation);
        }
        let verdict = self.verdict();
        self.verdict.set(None);
        Carried::new(verdict, explanation)
    }

    fn put_said(&self, said: Carried) {
        let (verdict, mut explanation) = said.into_parts();
        self.set_verdict(verdict);
        self.explanation.swap(&mut explanation);
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

// ===== guards =====

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

// ===== job and phase =====

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
pub(super) fn set_phase(phase: Phase) -> Phase {
    with(|context| context.phase.replace(phase))
}

#[inline(always)]
pub(crate) fn in_phase(phase: Phase) -> Restore<Phase> {
    Restore::set(|context| &context.phase, phase)
}

/// Layers hand a call down from here on, since this time if it is known. Whatever sets a phase in which they do says so.
#[inline(always)]
pub(super) fn set_called_at(at: Option<Instant>) {
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
pub(super) fn origin(parent: Option<Arc<Core>>) -> Origin {
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
pub(super) fn lay_over(job: Arc<Core>) {
    job.replace_around(replace_job(None));
    replace_job(Some(job));
}

/// Makes the job around the stack ambient again, in place of the job that was laid over it.
#[cold]
pub(super) fn take_over() -> Option<Arc<Core>> {
    let job = replace_job(None)?;
    replace_job(job.replace_around(None));
    Some(job)
}

// ===== limits =====

/// The limits in force, if there are any.
#[inline(always)]
pub(crate) fn limits() -> Option<Limits> {
    with(|context| context.limits.get())
}

/// When the code that runs now is to be over.
pub(crate) fn nearest_limit() -> Option<Instant> {
    limits().and_then(|limits| limits.nearest())
}

#[inline(always)]
fn under(limits: Option<Limits>) -> Restore<Option<Limits>> {
    Restore::set(|context| &context.limits, limits)
}

/// Adds limits to those of the layers around.
#[inline(always)]
pub(crate) fn narrow(by: Limits) -> Restore<Option<Limits>> {
    let before = with(|context| {
        let around = context.limits.get();
        let narrowed = around.map_or(by, |around| around.and(by));
        context.limits.set(Some(narrowed));
        around
    });
    Restore {
        field: |context| &context.limits,
        before,
    }
}

/// Another stack begins. A limit on a job also limits its child jobs. Any other limit ends the code under it, and what
/// that code polls itself.
#[inline(always)]
pub(super) fn narrow_for_callee() -> Option<Restore<Option<Limits>>> {
    limits().map(|around| {
        let has_job = with_current(|job| job.is_some());
        under(Some(around.for_callee(has_job)))
    })
}

// ===== what tells this code to stop =====

/// The ambient signal to stop, whatever its job.
pub(crate) fn signal() -> Option<Arc<StopSignal>> {
    with(|context| context.signal.get())
}

#[inline]
fn with_stop_signal_of<T: Default>(job: JobId, look: impl FnOnce(&Arc<StopSignal>) -> T) -> T {
    with(|context| {
        (context.signal).look(|signal| signal.filter(|signal| signal.job() == job).map(look))
    })
    .unwrap_or_default()
}

/// That of the code that runs now, if it is in this job.
pub(crate) fn stop_signal_of(job: JobId) -> Option<Arc<StopSignal>> {
    with_stop_signal_of(job, |signal| Some(Arc::clone(signal)))
}

/// What told the code that runs now to stop, if it is in this job.
pub(crate) fn stopped_by(job: JobId) -> Option<VerdictKind> {
    with_stop_signal_of(job, |signal| signal.stopped_by())
}

/// Whether the code that runs now, in this job, is to stop: the job's token fired, or a limit gives this code a last
/// grace period.
#[inline]
pub(crate) fn is_stopping(job: &Core) -> bool {
    job.state().has_fired() || with_stop_signal_of(job.id(), |signal| signal.is_stopping())
}

#[inline(always)]
pub(crate) fn under_stop_signal(slot: &mut Option<Arc<StopSignal>>) -> Swapped<'_, StopSignal> {
    Swapped::new(|context| &context.signal, slot)
}

// ===== steps and events =====

pub(super) fn in_step(job: JobId, step: Key) -> Restore<Option<(JobId, Key)>> {
    Restore::set(|context| &context.step, Some((job, step)))
}

/// The step whose code runs now, if it is in this job.
#[inline(always)]
pub(crate) fn step_of(job: JobId) -> Option<Key> {
    with(|context| context.step.get()).and_then(|(of, key)| (of == job).then_some(key))
}

/// The code that was called or polled just now belongs to an attempt of a Retry layer: its job, or a job that it began, is
/// known by that.
#[inline(always)]
pub(super) fn mark_attempts(called: bool) {
    if matches!(phase(), Phase::Calling | Phase::Rejoined | Phase::Offered) {
        with_current(|job| job.into_iter().for_each(|job| job.has_attempts(called)));
    }
}

/// Sends an event of this job, in the step whose code runs now. `make` runs only if somebody may hear it.
#[inline]
pub(crate) fn emit(job: &Core, make: impl FnOnce() -> EventKind) {
    if job.is_heard() {
        job.emit(step_of(job.id()), make());
    }
}

/// Reports how far this job is.
pub(super) fn report(job: &Core, report: Report) {
    job.touch();
    emit(job, || EventKind::Progress(report));
}

/// Runs code that belongs to no call, though it runs in the middle of one, such as an observer: what it calls begins
/// stacks of its own, and what it leaves says nothing of the call.
pub(crate) fn apart(code: &mut dyn FnMut()) {
    /// Puts back what belongs to the call.
    struct Call {
        said: Carried,
        phase: Phase,
        execution: Option<(ExecutionId, Option<JobId>)>,
    }

    impl Drop for Call {
        fn drop(&mut self) {
            with(|context| {
                context.phase.set(self.phase);
                context.execution.set(self.execution);
                context.put_said(mem::take(&mut self.said));
            });
        }
    }

    let _call = CONTEXT.try_with(|context| Call {
        said: context.take_said(),
        phase: context.phase.replace(Phase::Running),
        execution: context.execution.take(),
    });
    code();
}

// ===== code that goes on elsewhere =====

/// Whether what is called now is a part of the execution of this job that callers share, rather than one of those calls.
pub(crate) fn is_execution_of(job: JobId) -> bool {
    shared_execution().is_some_and(|(_, of)| of == Some(job))
}

/// The shared execution whose code runs now.
pub(crate) fn execution() -> Option<ExecutionId> {
    shared_execution().map(|(execution, _)| execution)
}

/// With its job.
pub(super) fn shared_execution() -> Option<(ExecutionId, Option<JobId>)> {
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

// ===== what the layers inside say =====

#[inline(always)]
pub(super) fn said() -> Option<Verdict> {
    with(Context::verdict)
}

#[inline(always)]
pub(super) fn set_said(verdict: Option<Verdict>) {
    with(|context| context.set_verdict(verdict));
}

pub(super) fn explanation() -> Option<Arc<Explanation>> {
    with(|context| context.explanation.get())
}

pub(super) fn set_explanation(mut explanation: Option<Arc<Explanation>>) {
    // The one before is dropped outside the slot, at the end.
    with(|context| context.explanation.swap(&mut explanation));
}

/// Takes away what is said, unread.
#[inline(always)]
pub(super) fn clear_said() {
    with(|context| {
        context.verdict.set(None);
        if context
            .explanation
            .look(|explanation| explanation.is_some())
        {
            set_explanation(None);
        }
    });
}

/// Takes away what is said.
#[inline(always)]
pub(super) fn take_said() -> Carried {
    with(Context::take_said)
}

pub(super) fn put_said(said: Carried) {
    with(|context| context.put_said(said));
}

/// Why the layer around is dropping this future, if a layer does.
pub(super) fn dropping() -> Option<VerdictKind> {
    with(|context| context.dropping.get())
}

pub(super) fn drop_for(kind: VerdictKind) -> Restore<Option<VerdictKind>> {
    Restore::set(|context| &context.dropping, Some(kind))
}

// ===== panics =====

/// A closure that a layer asked before it called the service is panicking.
#[cold]
pub(super) fn note_panic_before_service() {
    // Otherwise the ambient job is one around this stack, whose own code runs.
    if is_calling() {
        let job = with_current(|job| job.map(|job| job.id()));
        with(|context| context.before_service.set(job));
    }
}

pub(super) fn take_panic_before_service() -> Option<JobId> {
    with(|context| context.before_service.take())
}
