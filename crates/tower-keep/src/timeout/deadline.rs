//! The limit of one call.

use std::time::Duration;

use tokio::time::Instant;

use super::limit::{Measure, Span};
use crate::{
    event::{AttemptOutcome, EventKind, FailureCause, LimitScope},
    job::{
        Elapsed, context,
        limits::Limits,
        membership::Membership,
        verdict::{self, VerdictKind},
    },
};

/// The limit of one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    // The limit, in two parts: a `Duration` ends in a gap that would make every future larger.
    secs: u64,
    nanos: u32,
    pub(super) span: Span,
    pub(super) measure: Measure,
    /// That of the layer. Static, as a call must write to no reference count that others share.
    name: Option<&'static str>,
    /// The call is part of an execution that callers share, rather than one of their calls.
    pub(super) shared: bool,
    /// It has expired, and the work was told to stop.
    pub(super) in_grace: bool,
    /// When it expires; an idle one, unless there is progress.
    pub(super) at: Instant,
}

impl Deadline {
    /// Of a call that began at this time. A limit past the end of time is none.
    #[inline(always)]
    pub(super) fn new(
        limit: Duration,
        span: Span,
        measure: Measure,
        name: Option<&'static str>,
        began: Instant,
    ) -> Option<Self> {
        Some(Self {
            secs: limit.as_secs(),
            nanos: limit.subsec_nanos(),
            span,
            measure,
            name,
            shared: false,
            in_grace: false,
            at: began.checked_add(limit)?,
        })
    }

    #[inline(always)]
    pub(super) fn limit(&self) -> Duration {
        Duration::new(self.secs, self.nanos)
    }

    /// When the call was made.
    pub(super) fn began(&self) -> Instant {
        self.at - self.limit()
    }

    /// Whether it expires at its time, come what may, and has not yet.
    #[inline(always)]
    pub(super) fn is_fixed(&self) -> bool {
        self.measure == Measure::Total && !self.in_grace
    }

    /// What it is to the job and to the code inside.
    #[inline(always)]
    pub(super) fn limits(deadline: Option<&Self>, step: Option<Duration>) -> Limits {
        let at = |span| {
            deadline
                .filter(|deadline| deadline.span == span && deadline.measure == Measure::Total)
                .map(|deadline| deadline.at)
        };
        Limits {
            deadline: at(Span::Overall),
            until: at(Span::Attempt),
            step,
        }
    }

    /// What its expiry means to the layers around, and to those inside during a grace period.
    pub(super) fn kind(&self) -> VerdictKind {
        match self.span {
            Span::Overall => VerdictKind::TimedOut,
            Span::Attempt => VerdictKind::AttemptTimedOut,
        }
    }

    /// Tells the job, then drops the inner future, if it is still there.
    #[cold]
    pub(super) fn expire(
        &self,
        membership: &mut Membership,
        dropped: bool,
        drop_inner: impl FnOnce(),
    ) -> (Elapsed, VerdictKind) {
        let scope = match (self.measure, self.span) {
            (Measure::Idle, _) => LimitScope::Idle,
            (Measure::Total, Span::Overall) => LimitScope::Overall,
            (Measure::Total, Span::Attempt) => LimitScope::Attempt,
        };
        let kind = self.kind();
        let attempt = membership.with_job(|job| {
            context::emit(job, || EventKind::TimedOut {
                scope: scope.clone(),
                name: self.name.map(Into::into),
                limit: self.limit(),
                dropped,
            });
            // Otherwise the attempt goes on for other callers.
            if self.shared || !job.state().is_shared() {
                let outcome = AttemptOutcome::Failed(FailureCause::TimedOut);
                job.attempt_ended(context::step_of(job.id()), outcome);
            }
            if self.span == Span::Overall {
                job.expire();
            }
            job.attempt()
        });
        membership.scoped(|| verdict::dropping(kind, drop_inner));
        let elapsed = Elapsed::new(scope, self.limit(), attempt.unwrap_or(1));
        let elapsed = match self.name {
            Some(name) => elapsed.named(name),
            None => elapsed,
        };
        (elapsed, kind)
    }
}
