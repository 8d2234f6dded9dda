//! A layer's place in the stack that a call goes through.
//!
//! Each call finds out, without being told, whether it is the outermost layer of ours (the *root*) and whether the
//! stack has a job. The root owns the job: it makes it ambient for every poll and ends it. That holds even where the
//! root itself tracks none (a timeout around a log): it takes over the job that a layer below it began.

use std::{
    error::Error,
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use super::{
    core::{Core, Ending},
    frame::{self, Found},
    limits::{self, InForce, Limits},
    panic,
    scope::{self, Entered, InPhase, Phase},
    stop,
};
use crate::event::{JobId, JobName, Observer};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The outermost layer: owns the job, if there is one.
    Root,
    /// Runs in the job of a caller that may leave before it: makes the job ambient, but does not end it.
    Guest,
    /// Inside a stack whose job is ambient.
    Member,
    /// Inside a stack that has no job so far.
    Below,
}

/// Kept by every response future of ours, as its last field: what it wraps is dropped first, then the job ends.
#[derive(Debug)]
pub(crate) struct Seat {
    place: Place,
    job: Option<Arc<Core>>,
    /// What the layer wraps was ready, and the layer's own code has not come to its end yet: if the future is dropped
    /// now, that code panicked.
    settling: bool,
}

/// What a tracking layer brings to the job that it begins or joins.
pub(crate) struct Joining<'a> {
    pub(crate) observer: Option<&'a Arc<dyn Observer>>,
    /// The observer writes to tracing.
    pub(crate) traced: bool,
    pub(crate) layer: LayerId,
}

/// Tells a tracking layer of a stack from every other, and so a repeated call of it from a new one. Given when the
/// layer is put around a service and kept by that service's clones: a retry of somebody else's clones the service,
/// while another stack has an id of its own even where it has the same layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerId(NonZeroUsize);

impl LayerId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        // On a 32-bit machine the counter may wrap, at worst to the id of a service of long ago.
        Self(NonZeroUsize::new(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap_or(NonZeroUsize::MAX))
    }

    pub(super) fn get(self) -> usize {
        self.0.get()
    }
}

impl Seat {
    fn new(place: Place, job: Option<Arc<Core>>) -> Self {
        Self {
            place,
            job,
            settling: false,
        }
    }

    /// A seat for a future that stops the call before it goes further down.
    pub(crate) fn without_call() -> Self {
        let place = match scope::phase() {
            Phase::Running | Phase::Open | Phase::Offered => Place::Root,
            Phase::Adopting => Place::Below,
            Phase::Calling | Phase::Rejoined => Place::Member,
        };
        Self::new(place, None)
    }

    /// A seat for an execution that belongs to several callers: it runs in this job, or in one that is begun below.
    pub(crate) fn for_execution(job: Option<Arc<Core>>) -> Self {
        let place = if job.is_some() {
            Place::Guest
        } else {
            Place::Root
        };
        Self::new(place, job)
    }

    /// Calls the inner service for a layer that begins no job.
    #[inline(always)]
    pub(crate) fn call<T>(call: impl FnOnce() -> T) -> (Self, T) {
        match scope::phase() {
            Phase::Running | Phase::Open | Phase::Offered => Self::call_as_root(call),
            Phase::Adopting => {
                let future = call();
                let place = if scope::phase() == Phase::Adopting {
                    Place::Below
                } else {
                    Place::Member
                };
                (Self::new(place, None), future)
            }
            Phase::Calling | Phase::Rejoined => (Self::new(Place::Member, None), call()),
        }
    }

    /// As [`call`](Self::call), for a layer that sets limits: it tells the stack's job of them, or whichever is begun
    /// below.
    #[inline(always)]
    pub(crate) fn call_limited<T>(limits: Limits, call: impl FnOnce() -> T) -> (Self, T) {
        if limits.step.is_some() && matches!(scope::phase(), Phase::Calling | Phase::Rejoined) {
            scope::with_current(|job| {
                job.into_iter()
                    .for_each(|job| job.set_step_limit(limits.step));
            });
        }
        Self::call(|| {
            let _in_force = InForce::narrowed(limits);
            call()
        })
    }

    #[inline(always)]
    fn call_as_root<T>(call: impl FnOnce() -> T) -> (Self, T) {
        let _without = InForce::for_callee();
        let (found, future) = frame::adopt_on_call(call);
        let seat = match found {
            Found::Begun(job) => Self::new(Place::Root, Some(job)),
            Found::Again => Self::new(Place::Member, None),
            Found::Nothing => Self::new(Place::Root, None),
        };
        (seat, future)
    }

    /// Calls the inner service for a layer that tracks the job: joins the stack's, or begins one.
    #[inline(always)]
    pub(crate) fn track<T>(joining: &Joining<'_>, call: impl FnOnce() -> T) -> (Self, T) {
        Self::track_named(joining, None, call)
    }

    /// Whether a call of this layer, which would name the job, begins the job or finds it unnamed and unused.
    pub(crate) fn takes_name(layer: LayerId) -> bool {
        scope::with_current(|job| match scope::phase() {
            Phase::Calling | Phase::Rejoined => job.is_some_and(|job| job.is_nameable()),
            _ => job.is_none_or(|job| !job.has_member(layer.get())),
        })
    }

    /// As [`track`](Self::track); names the job where it [may](Self::takes_name).
    #[inline(always)]
    pub(crate) fn track_named<T>(
        joining: &Joining<'_>,
        name: Option<JobName>,
        call: impl FnOnce() -> T,
    ) -> (Self, T) {
        match scope::phase() {
            Phase::Calling | Phase::Rejoined => {
                if let Some(name) = name {
                    drop(scope::current().inspect(|job| job.set_name(name)));
                }
                match joining.observer {
                    // The handle is copied out, as the observer may enter a scope of its own.
                    Some(_) => drop(scope::current().inspect(|job| joining.join(job))),
                    None => {
                        scope::with_current(|job| job.into_iter().for_each(|job| joining.join(job)))
                    }
                }
                (Self::new(Place::Member, None), call())
            }
            phase => {
                let around = scope::current();
                if let Some(job) = around
                    .as_ref()
                    .filter(|job| job.has_member(joining.layer.get()))
                {
                    // The layer belongs to the job that runs around it: a foreign layer in between (a retry, a hedge)
                    // calls again.
                    joining.join(job);
                    let seat = Self::new(Place::Member, None);
                    if phase == Phase::Adopting {
                        scope::set_phase(Phase::Rejoined);
                        return (seat, call());
                    }
                    let _calling = InPhase::new(Phase::Calling);
                    return (seat, call());
                }
                Self::begin(name.unwrap_or(JobName::EMPTY), around, joining, call)
            }
        }
    }

    /// Begins a job and calls the inner service: as its owner, or for the root that adopts it.
    fn begin<T>(
        name: JobName,
        parent: Option<Arc<Core>>,
        joining: &Joining<'_>,
        call: impl FnOnce() -> T,
    ) -> (Self, T) {
        let job = Core::new(name, parent);
        joining.observe(&job);
        if scope::phase() == Phase::Adopting {
            job.add_member(joining.layer.get());
            if let Some(limits) = limits::limits() {
                job.set_step_limit(limits.step);
            }
            scope::lay_over(job);
            scope::set_phase(Phase::Calling);
            return (Self::new(Place::Member, None), call());
        }
        let _around = InForce::for_callee();
        Self::begin_as_root(job, call)
    }

    /// Begins a job that outlives whoever calls this: of the code around it knows only whose it is. `call` makes the
    /// future and no more: what limits or stops the code around still holds in it.
    pub(crate) fn begin_apart<T>(name: JobName, call: impl FnOnce() -> T) -> (Self, Arc<Core>, T) {
        let job = Core::apart(name, scope::current().map(|around| around.id()));
        let (seat, future) = Self::begin_as_root(Arc::clone(&job), call);
        (seat, job, future)
    }

    fn begin_as_root<T>(job: Arc<Core>, call: impl FnOnce() -> T) -> (Self, T) {
        let mut seat = Self::new(Place::Root, Some(job));
        let future = frame::within(&mut seat.job, Phase::Calling, true, call);
        (seat, future)
    }

    /// Calls the inner service again (or for the first time) from within a poll: the call belongs to the same job.
    pub(crate) fn recall<T>(&mut self, call: impl FnOnce() -> T) -> T {
        match (self.place, &self.job) {
            (Place::Member, _) => {
                let _calling = InPhase::new(Phase::Calling);
                call()
            }
            (_, Some(_)) => {
                // The job is in the slot, not ambient: `run` is not around this call.
                let ends = self.place == Place::Root;
                frame::within(&mut self.job, Phase::Calling, ends, call)
            }
            (Place::Below, None) => self.recall_below(call),
            (_, None) => {
                let (seat, future) = Self::call_as_root(call);
                *self = seat;
                future
            }
        }
    }

    fn recall_below<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let (found, future) = frame::adopt_on_call(call);
        match found {
            Found::Begun(job) if scope::phase() == Phase::Open => {
                // The root polls this future right now: leave the job where the root finds it.
                scope::lay_over(job);
                scope::set_phase(Phase::Offered);
                self.place = Place::Member;
            }
            // The future was moved to a task of its own: it is a root there.
            Found::Begun(job) => *self = Self::new(Place::Root, Some(job)),
            Found::Again => self.place = Place::Member,
            Found::Nothing => {}
        }
        future
    }

    /// Polls what the layer wraps, in the job's scope.
    #[inline(always)]
    pub(crate) fn run<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        self.settling = false;
        // A note is about the result that comes up with it: one that another future on this thread left is not for us,
        // nor is one whose result somebody inside kept to itself.
        stop::clear();
        let polled = self.run_in_place(poll);
        if polled.is_pending() {
            stop::clear();
        } else {
            self.settling = true;
        }
        polled
    }

    #[inline(always)]
    fn run_in_place<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        match self.place {
            Place::Member => {
                // Somebody polls within a call: what the polled code calls is not part of that.
                let calling = matches!(scope::phase(), Phase::Calling | Phase::Rejoined);
                let _running = calling.then(|| InPhase::new(Phase::Running));
                poll()
            }
            Place::Below => {
                let polled = poll();
                if scope::phase() == Phase::Offered {
                    // A layer below began the job, and the root is about to take it.
                    self.place = Place::Member;
                }
                polled
            }
            Place::Root | Place::Guest if self.job.is_some() => {
                let ends = self.place == Place::Root;
                let polled = frame::within(&mut self.job, Phase::Running, ends, poll);
                self.note_start();
                polled
            }
            Place::Root | Place::Guest => {
                let _without = InForce::for_callee();
                let (found, polled) = frame::adopt_on_poll(poll);
                self.job = found;
                self.note_start();
                polled
            }
        }
    }

    /// The layer goes on to wait for something of its own.
    pub(crate) fn rest(&mut self) {
        self.settling = false;
    }

    /// Runs code that is neither a call nor a poll of the inner future, such as dropping it, in the job's scope.
    pub(crate) fn scoped<T>(&mut self, code: impl FnOnce() -> T) -> T {
        let _entered = (self.job.is_some()).then(|| Entered::new(&mut self.job, Phase::Running));
        code()
    }

    /// Runs the user's code that the layer itself asks after [`run`](Self::run), such as a policy. A panic of it ends
    /// the job of a root with what it says; that of any other layer the root's own `run` sees.
    #[inline(always)]
    pub(crate) fn ask<T>(&self, code: impl FnOnce() -> T) -> T {
        match (self.place, &self.job) {
            (Place::Root, Some(job)) => panic::noticed(code, |panic| {
                panic.note_start(job, Phase::Running);
                job.end(|| panic.ending());
            }),
            _ => code(),
        }
    }

    /// Once the inner future was polled and no gate turned the call away, the job has started.
    #[inline(always)]
    fn note_start(&self) {
        if let Some(job) = &self.job {
            if !stop::read().is_some_and(|stop| stop.kind.is_gate()) {
                job.started();
            }
        }
    }

    /// Whether the job of the stack is owned by a layer around this one, so that it is ambient.
    fn is_member(&self) -> bool {
        self.place == Place::Member
    }

    /// The ambient job's id, where that is the stack's.
    #[inline(always)]
    pub(crate) fn ambient_id(&self) -> Option<JobId> {
        if self.is_member() {
            scope::with_current(|job| job.map(|job| job.id()))
        } else {
            None
        }
    }

    /// Whether the job of the stack is cancelled.
    #[inline(always)]
    pub(crate) fn is_cancelled(&self) -> bool {
        match (&self.job, self.place) {
            (Some(job), _) => job.is_cancelled(),
            (None, Place::Member) => {
                scope::with_current(|job| job.is_some_and(|job| job.is_cancelled()))
            }
            _ => false,
        }
    }

    /// Hands on the job of the stack, if there is one. Call it outside [`run`](Self::run).
    pub(crate) fn announce(&self, tell: impl FnOnce(Option<&Core>)) {
        match self.place {
            Place::Member => tell(scope::current().as_deref()),
            _ => tell(self.job.as_deref()),
        }
    }

    /// Whether the stack's job is known.
    pub(crate) fn has_job(&self) -> bool {
        self.job.is_some() || self.place == Place::Member
    }

    /// Looks at the job of the stack, if there is one. `look` runs code of ours only.
    #[inline(always)]
    pub(crate) fn with_job(&self, look: impl FnOnce(&Arc<Core>)) {
        match (self.place, &self.job) {
            (_, Some(job)) => look(job),
            (Place::Member, _) => {
                if let Some(job) = scope::current() {
                    look(&job);
                }
            }
            _ => {}
        }
    }

    /// The layer's future is ready with this result: the root takes the note of a stop away and ends
    /// the job.
    #[inline(always)]
    pub(crate) fn finish<T, E: fmt::Display>(&mut self, result: &Result<T, E>) {
        self.finish_known(result, |_| None);
    }

    /// As [`finish`](Self::finish), for a layer that may know more of its error than its `Display`.
    #[inline(always)]
    pub(crate) fn finish_known<T, E: fmt::Display>(
        &mut self,
        result: &Result<T, E>,
        know: impl for<'a> FnOnce(&'a E) -> Option<&'a (dyn Error + 'static)>,
    ) {
        if let Err(error) = result {
            if let Some(known) = know(error) {
                self.explain(error, known);
            }
        }
        if self.place == Place::Root {
            let said = stop::carry();
            if let Some(job) = &self.job {
                // The error's own `Display` may panic: then the seat is dropped with the job still
                // in it.
                job.end(|| Ending::of(result, &said));
                self.job = None;
            }
        }
        self.settling = false;
    }

    /// Whether somebody learns of what happens to the job.
    #[cold]
    pub(crate) fn is_heard(&self) -> bool {
        let mut heard = false;
        self.with_job(|job| heard = job.is_heard());
        heard
    }

    /// Leaves the causes of this error for the layers around, where somebody watches the job.
    #[cold]
    fn explain<E: fmt::Display>(&self, error: &E, known: &(dyn Error + 'static)) {
        if self.is_heard() {
            stop::explain(error, known);
        }
    }
}

impl Drop for Seat {
    #[inline(always)]
    fn drop(&mut self) {
        if self.place == Place::Root {
            if let Some(job) = self.job.take() {
                if self.settling {
                    job.end(Ending::panicked);
                }
                // Where it ended just now, this does nothing.
                job.caller_gone();
            }
        }
    }
}

impl Joining<'_> {
    fn join(&self, job: &Core) {
        job.add_member(self.layer.get());
        self.observe(job);
    }

    fn observe(&self, job: &Core) {
        match self.observer {
            Some(observer) if self.traced => job.observe_for_tracing(observer),
            Some(observer) => job.observe(observer),
            None => {}
        }
    }
}
