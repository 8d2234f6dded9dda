//! The deadline of one call, and the actions at its expiry.

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

/// The deadline of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    // The limit in two parts: the padding of a `Duration` would make every future larger.
    secs: u64,
    nanos: u32,
    pub(crate) span: Span,
    pub(crate) measure: Measure,
    /// The name of the layer's limit. Static, as a call must not write to a shared reference count.
    name: Option<&'static str>,
    /// The call is a part of an execution that callers share, not the call of one caller.
    pub(super) shared: bool,
    /// The limit has expired, and the grace period runs.
    pub(super) in_grace: bool,
    /// The time of expiry. Progress moves the expiry of an idle limit.
    pub(crate) at: Instant,
}

impl Deadline {
    /// The deadline of a call that began at this time. `None` if the sum overflows.
    #[inline(always)]
    pub(crate) fn new(
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

    /// An idle limit of a response body. It expires at `at` only after a wait has begun.
    #[cfg(feature = "http")]
    pub(crate) fn of_body(limit: Duration, name: Option<&'static str>, at: Instant) -> Self {
        Self {
            secs: limit.as_secs(),
            nanos: limit.subsec_nanos(),
            span: Span::Attempt,
            measure: Measure::Idle,
            name,
            shared: false,
            in_grace: false,
            at,
        }
    }

    #[inline(always)]
    pub(crate) fn limit(&self) -> Duration {
        Duration::new(self.secs, self.nanos)
    }

    /// When the call was made.
    pub(super) fn began(&self) -> Instant {
        self.at - self.limit()
    }

    /// Whether the time of expiry is fixed: neither an idle limit nor a grace period.
    #[inline(always)]
    pub(super) fn is_fixed(&self) -> bool {
        self.measure == Measure::Total && !self.in_grace
    }

    /// The deadlines for the job and the inner code.
    #[inline(always)]
    pub(crate) fn limits(deadline: Option<&Self>, step: Option<Duration>) -> Limits {
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

    /// The verdict of an expiry: for outer layers, and for inner layers during a grace period.
    pub(crate) fn kind(&self) -> VerdictKind {
        match self.span {
            Span::Overall => VerdictKind::TimedOut,
            Span::Attempt => VerdictKind::AttemptTimedOut,
        }
    }

    /// Records the expiry in the job, then drops the inner future, if it still exists.
    #[cold]
    pub(crate) fn expire(
        &self,
        membership: &mut Membership,
        dropped: bool,
        drop_inner: impl FnOnce(),
    ) -> (Elapsed, VerdictKind) {
        let kind = self.kind();
        let attempt = membership.with_job(|job| {
            context::emit(job, || EventKind::TimedOut {
                scope: self.scope(),
                name: self.name.map(Into::into),
                limit: self.limit(),
                dropped,
            });
            // A shared execution continues its attempt for other callers.
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
        (self.elapsed(attempt.unwrap_or(1)), kind)
    }

    fn scope(&self) -> LimitScope {
        match (self.measure, self.span) {
            (Measure::Idle, _) => LimitScope::Idle,
            (Measure::Total, Span::Overall) => LimitScope::Overall,
            (Measure::Total, Span::Attempt) => LimitScope::Attempt,
        }
    }

    /// The error of an expiry in this attempt.
    pub(crate) fn elapsed(&self, attempt: u32) -> Elapsed {
        let elapsed = Elapsed::new(self.scope(), self.limit(), attempt);
        match self.name {
            Some(name) => elapsed.named(name),
            None => elapsed,
        }
    }
}
