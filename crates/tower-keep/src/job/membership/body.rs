//! The job of a call while its response body is read: the owner ends it at the end of the body.

use std::{convert::Infallible, mem, sync::Arc, task::Poll};

use super::{Membership, Role};
use crate::{
    error::BoxError,
    job::{
        adopt,
        context::{self, Phase},
        core::{Core, Ending},
        verdict::{self, VerdictKind},
    },
};

/// The role of a layer in the job of a call, from the response head to the end of the body. Made by
/// [`Membership::follow`].
///
/// The owner ends the job by [`end`](Self::end). Any other layer has the job, but does not end it.
/// If the owner does not follow the body, it has ended the job at the head.
#[derive(Debug)]
pub(crate) struct Reading {
    membership: Membership,
    /// How the job ends if the body is no failure. `None`: it succeeds.
    head: Option<Box<Ending>>,
}

impl Membership {
    /// For a call that is made while the body of this job's response is read.
    #[cfg(feature = "retry")]
    pub(crate) fn while_reading(job: Option<Arc<Core>>) -> Self {
        Self::new(Role::Borrower, job)
    }

    /// Marks the call as one whose response has no body.
    pub(crate) fn expect_no_body(&mut self) {
        self.bodiless = true;
    }

    /// Whether the response has no body, whatever its head says.
    pub(crate) fn is_bodiless(&self) -> bool {
        self.bodiless
    }

    /// The layer's future is ready with a response whose body will be read. The owner takes the
    /// verdict on the head and ends the job with the body. Other layers leave the verdict.
    #[inline]
    pub(crate) fn follow(&mut self) -> Reading {
        self.settling = false;
        let mut membership = mem::replace(self, Self::member());
        // Each body ends its guard. A reading that is dropped instead is one whose body panicked
        // at the head.
        membership.settling = true;
        let mut head = None;
        match membership.role {
            Role::Owner => {
                let carried = verdict::carry();
                if membership.job.is_some() && carried.verdict.is_some() {
                    head = match Ending::of(&Ok::<_, Infallible>(()), &carried) {
                        Ending::Succeeded => None,
                        ending => Some(Box::new(ending)),
                    };
                }
            }
            // The code that reads the body may run in another job, or in none.
            Role::Member => {
                membership.job = context::current();
                membership.role = Role::Borrower;
            }
            Role::Borrower | Role::Untracked => {}
        }
        Reading { membership, head }
    }
}

impl Reading {
    /// For a response of no call.
    #[cfg(feature = "dispatch")]
    pub(crate) fn without_call() -> Self {
        Self {
            membership: Membership::new(Role::Untracked, None),
            head: None,
        }
    }

    /// Polls the body in the job's scope.
    #[inline(always)]
    pub(crate) fn poll<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let Membership { role, job, .. } = &mut self.membership;
        let owns = *role == Role::Owner;
        // Most often a layer around has entered the job, and notices a panic.
        let is_inside = match job {
            Some(job) => !owns && context::is_running(job),
            None => true,
        };
        // Each place compiles the inner bodies once more, so that two are enough.
        if is_inside {
            let is_called = job.is_none() && context::is_calling();
            let _running = is_called.then(|| context::in_phase(Phase::Running));
            poll()
        } else {
            adopt::within(job, Phase::Running, owns, poll)
        }
    }

    /// Whether this layer ends the job.
    pub(crate) fn ends_job(&self) -> bool {
        self.membership.role == Role::Owner
    }

    /// Reads the stack's job, if there is one. `look` runs only code of this library.
    pub(crate) fn with_job<T>(&self, look: impl FnOnce(&Arc<Core>) -> T) -> Option<T> {
        self.membership.job.as_ref().map(look)
    }

    /// Reports progress of the job.
    #[cfg(feature = "progress")]
    pub(crate) fn report(&self, report: crate::Report) {
        self.with_job(|job| context::report(job, report));
    }

    /// For a layer that ends the body early.
    #[cfg(feature = "timeout")]
    pub(crate) fn membership(&mut self) -> &mut Membership {
        &mut self.membership
    }

    /// The body has ended, or its reader dropped it.
    pub(crate) fn end(self) {
        self.end_as(|head| head.map_or(Ending::Succeeded, |head| *head));
    }

    /// The body ended with this error. A failure that the head showed stays the job's failure.
    #[cold]
    pub(crate) fn fail(self, error: &BoxError) {
        let is_heard = self.with_job(|job| job.is_heard()).unwrap_or(false);
        if is_heard {
            verdict::explain(error, &**error);
        }
        let is_over = self.with_job(|job| job.state().is_over()).unwrap_or(true);
        if self.membership.role == Role::Owner {
            let carried = verdict::carry();
            self.end_as(|head| match head {
                Some(head) => *head,
                None => Ending::of(&Err::<(), _>(error), &carried),
            });
        } else if is_over {
            // No layer around reads it.
            verdict::clear();
        }
    }

    /// The body is complete, and its trailers say that the call failed. A failure that the head
    /// showed stays the job's failure.
    #[cold]
    pub(crate) fn fail_with(self, describe: impl FnOnce() -> Arc<str>) {
        self.end_as(|head| match head {
            Some(head) => *head,
            None => Ending::Failed {
                cause: VerdictKind::Failure.cause(),
                error: describe(),
            },
        });
    }

    /// The body panicked.
    #[cold]
    pub(crate) fn panicked(self) {
        self.end_as(|_| Ending::panicked());
    }

    fn end_as(mut self, make: impl FnOnce(Option<Box<Ending>>) -> Ending) {
        let head = self.head.take();
        let Membership {
            role,
            job,
            settling,
            ..
        } = &mut self.membership;
        if let (Role::Owner, Some(job)) = (role, job) {
            // The error's own `Display` may panic. The membership is then dropped with the job
            // still in it.
            *settling = true;
            job.end(context::step_of(job.id()), || make(head));
            self.membership.job = None;
        }
    }
}
