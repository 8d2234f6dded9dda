//! The role of a layer in the stack that a call goes through: owner, member, borrower or untracked.
//!
//! The ambient phase tells each call whether its layer is the outermost, and whether the stack has
//! a job. The outermost layer owns the job: it makes the job ambient for every poll and ends it,
//! whichever layer began it. The role depends on the phase:
//!
//! | phase | non-tracking layer | tracking layer | layer that belongs to the ambient job |
//! |---|---|---|---|
//! | `Running`, `Open`, `Offered` | adopts a job that is begun below, and owns it | begins a job, and owns it | is a member: a foreign layer in between calls again |
//! | `Adopting` | is untracked; a member if a job is begun below | begins a job for the owner that adopts it; is a member | is a member, and tells the owner that the job has one |
//! | `Calling`, `Rejoined` | is a member | joins the ambient job; is a member | is a member |
//!
//! Example: `Timeout` around `Log` around `Progress` around a service, called by code outside any
//! job:
//!
//! ```text
//! Timeout   Running  -> adopts      sets Adopting
//! Log       Adopting -> begins      makes its job ambient, sets Calling
//! Progress  Calling  -> joins
//! service   Calling
//! Timeout   takes the job over: owner; Log and Progress are members; Running again
//! ```
//!
//! A layer may call its inner service later, from a poll. Example: `Timeout` around `Dedup` around
//! `Log`:
//!
//! ```text
//! call  Timeout  Running  -> adopts, finds nothing: an owner without a job
//!       Dedup    Adopting -> untracked
//! poll  Timeout  polls      sets Open
//!       Dedup    Open     -> calls for itself: adopts Log's job on top of the job around, sets Offered; is a member
//!       Timeout  finds Offered, and takes the job over: an owner with a job
//! ```
//!
//! A job that is begun below lies over the job around the stack, and remembers it. Its owner adopts
//! it and makes the outer job ambient again.

#[cfg(feature = "http")]
mod body;
mod calls;
mod entry;
mod joining;

use std::{error::Error, fmt, sync::Arc, task::Poll};

#[cfg(feature = "http")]
pub(crate) use self::body::Reading;
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
    /// The outermost layer, which owns the job, if there is one.
    Owner,
    /// Runs in the job of a caller that may leave first. Makes the job ambient, but does not end
    /// it.
    Borrower,
    /// Inside a stack with an ambient job.
    Member,
    /// Inside a stack without a job so far.
    Untracked,
}

/// The last field of each response future: the inner future is dropped first, then the job ends.
#[derive(Debug)]
pub(crate) struct Membership {
    role: Role,
    job: Option<Arc<Core>>,
    /// The inner future is ready, and the layer's own code has not finished. A drop now means that
    /// this code panicked.
    settling: bool,
    /// The response has no body, whatever its head says: it answers a HEAD request.
    #[cfg(feature = "http")]
    bodiless: bool,
}

/// Calls the service for a Retry layer: marks the stack's job, or the job that is begun below, as
/// one with attempts. Also if the service panics.
#[inline(always)]
pub(crate) fn call_attempt<T>(call: impl FnOnce() -> T) -> T {
    let _mark = Attempts { called: true };
    call()
}

/// Like [`call_attempt`], for a poll.
#[inline(always)]
pub(crate) fn poll_attempt<T>(poll: impl FnOnce() -> T) -> T {
    let _mark = Attempts { called: false };
    poll()
}

/// Marks the job on drop.
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
            #[cfg(feature = "http")]
            bodiless: false,
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

    /// A membership for a shared execution: it runs in this job, or in a job that is begun below.
    pub(crate) fn for_execution(job: Option<Arc<Core>>) -> Self {
        let role = if job.is_some() {
            Role::Borrower
        } else {
            Role::Owner
        };
        Self::new(role, job)
    }

    /// Polls the inner future in the job's scope.
    #[inline(always)]
    pub(crate) fn run<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        self.settling = false;
        // A verdict belongs to the result of this poll. Verdicts from other futures on this thread,
        // or on results that an inner layer kept, do not count.
        verdict::clear();
        let polled = self.run_in_place(poll);
        if polled.is_pending() {
            verdict::clear();
        } else {
            self.settling = true;
        }
        polled
    }

    /// Polls user code that the layer waits for, such as a hook, in the job's scope. A job that it
    /// begins is not the stack's.
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

    /// Polls a shared execution. It has its own membership for its job, so this one has nothing to
    /// adopt.
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
                // A poll within a call: what the polled code calls is not part of that call.
                let _running = context::is_calling().then(|| context::in_phase(Phase::Running));
                poll()
            }
            Role::Untracked => {
                let polled = poll();
                if context::phase() == Phase::Offered {
                    // A layer below began the job, and the owner is about to adopt it.
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

    /// The layer continues to wait for its own purposes.
    pub(crate) fn rest(&mut self) {
        self.settling = false;
    }

    /// Runs code in the job's scope that is neither a call nor a poll, such as dropping the inner
    /// future.
    pub(crate) fn scoped<T>(&mut self, code: impl FnOnce() -> T) -> T {
        let _entered = (self.job.is_some()).then(|| context::enter(&mut self.job, Phase::Running));
        code()
    }

    /// Runs user code after [`run`](Self::run), such as a policy. Its panic ends the owner's job
    /// with the panic's message. For any other layer, the owner's own `run` sees the panic.
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

    /// Runs code during a poll that otherwise runs during the call of the stack.
    pub(crate) fn as_called<T>(&self, code: impl FnOnce() -> T) -> T {
        let _calling = self.is_member().then(|| context::in_phase(Phase::Calling));
        code()
    }

    /// Marks the job as started after a poll of the inner future, unless a gate rejected the call.
    /// `is_over`: the job may end at once.
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

    /// Whether an outer layer owns the stack's job, so that the job is ambient.
    fn is_member(&self) -> bool {
        self.role == Role::Member
    }

    /// The ambient job's id, if it is the stack's job.
    #[inline(always)]
    pub(crate) fn ambient_id(&self) -> Option<JobId> {
        if self.is_member() {
            context::with_current(|job| job.map(|job| job.id()))
        } else {
            None
        }
    }

    /// Whether the stack's job is cancelled.
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

    /// Passes on the stack's job, if there is one. Call it outside [`run`](Self::run).
    pub(crate) fn announce(&self, look: impl FnOnce(Option<&Core>)) {
        match self.role {
            Role::Member => look(context::current().as_deref()),
            _ => look(self.job.as_deref()),
        }
    }

    /// Whether the stack's job is known.
    pub(crate) fn has_job(&self) -> bool {
        self.job.is_some() || self.role == Role::Member
    }

    /// Reads the stack's job, if there is one. `look` runs only code of this library.
    #[inline(always)]
    pub(crate) fn with_job<T>(&self, look: impl FnOnce(&Arc<Core>) -> T) -> Option<T> {
        match (self.role, &self.job) {
            (_, Some(job)) => Some(look(job)),
            (Role::Member, _) => context::current().map(|job| look(&job)),
            _ => None,
        }
    }

    /// Sends an event of the stack's job, if there is one. `make` runs only if an event has a
    /// receiver.
    pub(crate) fn emit(&self, make: impl FnOnce() -> EventKind) {
        self.with_job(|job| context::emit(job, make));
    }

    /// The layer's future is ready with this result: the owner takes the verdict and ends the job.
    #[inline(always)]
    pub(crate) fn finish<T, E: fmt::Display>(&mut self, result: &Result<T, E>) {
        self.finish_known(result, |_| None);
    }

    /// Like [`finish`](Self::finish), for a layer that may know more of its error than its
    /// `Display`.
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
                let carried = verdict::carry();
                // The error's own `Display` may panic. The membership is then dropped with the job
                // still in it.
                job.end(context::step_of(job.id()), || Ending::of(result, &carried));
                self.job = None;
            } else {
                verdict::clear();
            }
        }
        self.settling = false;
    }

    /// Whether the job has a reader or an observer.
    #[cold]
    pub(crate) fn is_heard(&self) -> bool {
        self.with_job(|job| job.is_heard()).unwrap_or(false)
    }

    /// Records the causes of this error for the outer layers, if the job has a reader or an
    /// observer.
    #[cold]
    fn explain<E: fmt::Display>(&self, error: &E, known: &(dyn Error + 'static)) {
        if self.is_heard() {
            verdict::explain(error, known);
        }
    }

    /// The call was dropped, or its future panicked.
    #[cold]
    fn dropped(&mut self) {
        if let Some(job) = self.job.take() {
            let step = context::step_of(job.id());
            if self.settling {
                job.end(step, Ending::panicked);
            }
            // If the job ended just now, this does nothing.
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
