//! A layer's role in the stack that a call goes through.
//!
//! Each call finds out by the ambient phase whether it is the outermost layer of ours and whether the stack has a job.
//! The outermost layer owns the job: it makes it ambient for every poll and ends it, whichever layer began it. What a
//! call does, by what goes on around it:
//!
//! | phase | a layer that tracks no job | a layer that tracks | a layer that belongs to the ambient job |
//! |---|---|---|---|
//! | `Running`, `Open`, `Offered` | adopts a job that is begun below, and owns it | begins a job, and owns it | is a member: a foreign layer in between calls again |
//! | `Adopting` | is untracked; a member if a job is begun below | begins a job for the owner that adopts it; is a member | is a member, and tells the owner that the job has one |
//! | `Calling`, `Rejoined` | is a member | joins the ambient job; is a member | is a member |
//!
//! `Timeout` around `Log` around `Progress` around a service, called by code of no job:
//!
//! ```text
//! Timeout   Running  -> adopts      sets Adopting
//! Log       Adopting -> begins      makes its job ambient, sets Calling
//! Progress  Calling  -> joins
//! service   Calling
//! Timeout   takes the job over: owner; Log and Progress are members; Running again
//! ```
//!
//! A layer may call later than it was called, from a poll. `Timeout` around `Dedup` around `Log`:
//!
//! ```text
//! call  Timeout  Running  -> adopts, finds nothing: an owner without a job
//!       Dedup    Adopting -> untracked
//! poll  Timeout  polls      sets Open
//!       Dedup    Open     -> calls for itself: adopts Log's job on top of the job around, sets Offered; is a member
//!       Timeout  finds Offered, and takes the job over: an owner with a job
//! ```
//!
//! A job that is begun below lies over the job around the stack, which it remembers, until its owner takes it over and
//! makes the job around ambient again.

mod calls;
mod entry;
mod joining;

use std::{error::Error, fmt, sync::Arc, task::Poll};

use self::entry::{Entry, Layer};
pub(crate) use self::{
    calls::Labels,
    joining::{Joining, LayerId},
};
pub(crate) use super::core::Watcher;
use super::{
    adopt,
    context::{self, Phase},
    core::{Core, Ending},
    panic, verdict,
};
use crate::event::{EventKind, JobId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The outermost layer: owns the job, if there is one.
    Owner,
    /// Runs in the job of a caller that may leave before it: makes the job ambient, but does not end it.
    Borrower,
    /// Inside a stack whose job is ambient.
    Member,
    /// Inside a stack that has no job so far.
    Untracked,
}

/// Kept by every response future of ours, as its last field: what it wraps is dropped first, then the job ends.
#[derive(Debug)]
pub(crate) struct Membership {
    role: Role,
    job: Option<Arc<Core>>,
    /// What the layer wraps was ready, and the layer's own code has not come to its end yet: if the future is dropped
    /// now, that code panicked.
    settling: bool,
}

/// Calls the service for a Retry layer: the job of the stack, also a job that is begun below, has attempts. So it has if the
/// service panics.
#[inline(always)]
pub(crate) fn call_attempt<T>(call: impl FnOnce() -> T) -> T {
    let _mark = Attempts { called: true };
    call()
}

/// As [`call_attempt`], for a poll.
#[inline(always)]
pub(crate) fn poll_attempt<T>(poll: impl FnOnce() -> T) -> T {
    let _mark = Attempts { called: false };
    poll()
}

/// Marks the job once this is dropped.
struct Attempts {
    called: bool,
}

impl Drop for Attempts {
    #[inline(always)]
    fn drop(&mut self) {
        context::mark_attempts(self.called);
    }
}

impl Membership {
    fn new(role: Role, job: Option<Arc<Core>>) -> Self {
        Self {
            role,
            job,
            settling: false,
        }
    }

    fn member() -> Self {
        Self::new(Role::Member, None)
    }

    /// A membership for a future that stops the call before it goes further down.
    pub(crate) fn without_call() -> Self {
        let role = match Entry::of(context::phase(), Layer::Plain) {
            Entry::Adopt => Role::Owner,
            Entry::Untracked => Role::Untracked,
            _ => Role::Member,
        };
        Self::new(role, None)
    }

    /// A membership for an execution that belongs to several callers: it runs in this job, or in a job that is begun below.
    pub(crate) fn for_execution(job: Option<Arc<Core>>) -> Self {
        let role = if job.is_some() {
            Role::Borrower
        } else {
            Role::Owner
        };
        Self::new(role, job)
    }

    /// Polls what the layer wraps, in the job's scope.
    #[inline(always)]
    pub(crate) fn run<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        self.settling = false;
        // A note is about the result that comes up with it: what another future on this thread left is not for us, nor is
        // what was said of a result that a layer inside kept to itself.
        verdict::clear();
        let polled = self.run_in_place(poll);
        if polled.is_pending() {
            verdict::clear();
        } else {
            self.settling = true;
        }
        polled
    }

    /// Polls the user's code that the layer itself waits for, such as a hook, in the job's scope. It is not what the layer
    /// wraps: a job that it begins is none of the stack's.
    pub(crate) fn attend<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        self.settling = false;
        verdict::clear();
        let polled = match &self.job {
            Some(_) => {
                let ends = self.role == Role::Owner;
                adopt::within(&mut self.job, Phase::Running, ends, poll)
            }
            None => {
                let _running = context::is_calling().then(|| context::in_phase(Phase::Running));
                poll()
            }
        };
        if polled.is_pending() {
            verdict::clear();
        } else {
            self.settling = true;
        }
        polled
    }

    /// Polls an execution that several callers share. It has a membership of its own, for the job that it runs in: this one
    /// has nothing to adopt.
    #[inline(always)]
    pub(crate) fn wait<T>(&self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        debug_assert!(self.job.is_none());
        verdict::clear();
        let running = self.is_member() && context::is_calling();
        let _running = running.then(|| context::in_phase(Phase::Running));
        poll()
    }

    #[inline(always)]
    fn run_in_place<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        match self.role {
            Role::Member => {
                // Somebody polls within a call: what the polled code calls is not part of that.
                let _running = context::is_calling().then(|| context::in_phase(Phase::Running));
                poll()
            }
            Role::Untracked => {
                let polled = poll();
                if context::phase() == Phase::Offered {
                    // A layer below began the job, and the owner is about to take it.
                    self.role = Role::Member;
                }
                polled
            }
            Role::Owner | Role::Borrower if self.job.is_some() => {
                let ends = self.role == Role::Owner;
                let polled = adopt::within(&mut self.job, Phase::Running, ends, poll);
                self.note_start(ends && polled.is_ready());
                polled
            }
            Role::Owner | Role::Borrower => {
                let _limits = context::narrow_for_callee();
                let (found, polled) = adopt::adopt_on_poll(poll);
                self.job = found;
                self.note_start(false);
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
        let _entered = (self.job.is_some()).then(|| context::enter(&mut self.job, Phase::Running));
        code()
    }

    /// Runs the user's code that the layer itself asks after [`run`](Self::run), such as a policy. A panic of it ends
    /// the job of an owner with what it says; that of any other layer the owner's own `run` sees.
    #[inline(always)]
    pub(crate) fn ask<T>(&self, code: impl FnOnce() -> T) -> T {
        match (self.role, &self.job) {
            (Role::Owner, Some(job)) => panic::noticed(code, |panic| {
                panic.note_start(job, Phase::Running);
                panic.end(job);
            }),
            _ => code(),
        }
    }

    /// Once the inner future was polled and no gate turned the call away, the job has started. `is_over` says that it is
    /// about to end, perhaps.
    #[inline(always)]
    fn note_start(&self, is_over: bool) {
        if let Some(job) = &self.job {
            if !verdict::read().is_some_and(|stop| stop.kind.is_gate()) {
                match is_over {
                    true => job.started_and_over(),
                    false => job.started(false),
                }
            }
        }
    }

    /// Whether the job of the stack is owned by a layer around this one, so that it is ambient.
    fn is_member(&self) -> bool {
        self.role == Role::Member
    }

    /// The ambient job's id, where that is the stack's.
    #[inline(always)]
    pub(crate) fn ambient_id(&self) -> Option<JobId> {
        if self.is_member() {
            context::with_current(|job| job.map(|job| job.id()))
        } else {
            None
        }
    }

    /// Whether the job of the stack is cancelled.
    #[inline(always)]
    pub(crate) fn is_cancelled(&self) -> bool {
        match (&self.job, self.role) {
            (Some(job), _) => context::is_stopping(job),
            (None, Role::Member) => {
                context::with_current(|job| job.is_some_and(|job| context::is_stopping(job)))
            }
            _ => false,
        }
    }

    /// Whether an event of the stack's job reaches an observer.
    #[inline(always)]
    pub(crate) fn is_observed(&self) -> bool {
        match (&self.job, self.role) {
            (Some(job), _) => job.is_observed(),
            (None, Role::Member) => {
                context::with_current(|job| job.is_some_and(|job| job.is_observed()))
            }
            _ => false,
        }
    }

    /// Hands on the job of the stack, if there is one. Call it outside [`run`](Self::run).
    pub(crate) fn announce(&self, tell: impl FnOnce(Option<&Core>)) {
        match self.role {
            Role::Member => tell(context::current().as_deref()),
            _ => tell(self.job.as_deref()),
        }
    }

    /// Whether the stack's job is known.
    pub(crate) fn has_job(&self) -> bool {
        self.job.is_some() || self.role == Role::Member
    }

    /// Looks at the job of the stack, if there is one. `look` runs code of ours only.
    #[inline(always)]
    pub(crate) fn with_job<T>(&self, look: impl FnOnce(&Arc<Core>) -> T) -> Option<T> {
        match (self.role, &self.job) {
            (_, Some(job)) => Some(look(job)),
            (Role::Member, _) => context::current().map(|job| look(&job)),
            _ => None,
        }
    }

    /// Sends an event of the stack's job, if there is one. `make` runs only if somebody may hear it.
    pub(crate) fn emit(&self, make: impl FnOnce() -> EventKind) {
        self.with_job(|job| context::emit(job, make));
    }

    /// The layer's future is ready with this result: the owner takes the note of a stop away and ends
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
        if self.role == Role::Owner {
            if let Some(job) = &self.job {
                let said = verdict::carry();
                // The error's own `Display` may panic: then the membership is dropped with the job still
                // in it.
                job.end(context::step_of(job.id()), || Ending::of(result, &said));
                self.job = None;
            } else {
                verdict::clear();
            }
        }
        self.settling = false;
    }

    /// Whether somebody learns of what happens to the job.
    #[cold]
    pub(crate) fn is_heard(&self) -> bool {
        self.with_job(|job| job.is_heard()).unwrap_or(false)
    }

    /// Leaves the causes of this error for the layers around, where somebody watches the job.
    #[cold]
    fn explain<E: fmt::Display>(&self, error: &E, known: &(dyn Error + 'static)) {
        if self.is_heard() {
            verdict::explain(error, known);
        }
    }

    /// The call was given up, or its future panicked.
    #[cold]
    fn dropped(&mut self) {
        if let Some(job) = self.job.take() {
            let step = context::step_of(job.id());
            if self.settling {
                job.end(step, Ending::panicked);
            }
            // Where it ended just now, this does nothing.
            job.caller_gone(step);
        }
    }
}

impl Drop for Membership {
    #[inline(always)]
    fn drop(&mut self) {
        if self.role == Role::Owner && self.job.is_some() {
            self.dropped();
        }
    }
}

#[cfg(test)]
mod tests;
