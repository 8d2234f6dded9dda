//! What follows a failed attempt. All of it is off the path of a call that succeeds.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    backoff::{Jitter, Walk},
    handle::RetryBudget,
    policy::Decision,
    settings::Settings,
};
use crate::{
    error_text::bounded_text,
    event::{AttemptOutcome, EventKind, FailureCause, GiveUpReason},
    job::{
        context,
        core::family::forbid_retries,
        membership::Membership,
        verdict::{self, Verdict, VerdictKind},
    },
};

/// An attempt that is over and that the policy did not accept.
pub(super) struct Over<'a> {
    pub(super) settings: &'a Settings,
    pub(super) membership: &'a Membership,
    pub(super) attempt: u32,
    /// The call's own number, or else the layer's.
    pub(super) max_retries: u32,
    /// There is a request for another attempt.
    pub(super) repeatable: bool,
    /// When all attempts are to be over, as far as this retry is concerned.
    pub(super) end: Option<Instant>,
    /// Made when the call first waits for a time that takes more than the retry's number to find.
    pub(super) walk: &'a mut Option<Box<Walk>>,
    /// The call's own budget, rather than the layer's.
    pub(super) budget: Option<&'a RetryBudget>,
}

impl Over<'_> {
    /// How long to wait before the next attempt, or why there is none. The job's observers learn of
    /// it. `describe` is what the policy says of the result.
    #[cold]
    pub(super) fn next<T, E: fmt::Display>(
        mut self,
        result: &Result<T, E>,
        decision: Decision,
        describe: impl FnOnce() -> Option<Arc<str>>,
    ) -> Result<Duration, GiveUpReason> {
        if decision == Decision::Stop {
            return Err(GiveUpReason::NotRetryable);
        }
        let (attempt, max_retries) = (self.attempt, self.max_retries);
        match self.plan(decision) {
            Ok(delay) => {
                self.membership.with_job(|job| {
                    job.attempt_over();
                    let took = job.attempt_took(Instant::now());
                    context::emit(job, || EventKind::RetryScheduled {
                        attempt,
                        max_retries,
                        took,
                        delay,
                        error: describe().unwrap_or_else(|| verdict::text(result)),
                    });
                });
                Ok(delay)
            }
            Err(reason) => {
                if decision == Decision::Never {
                    verdict::forbid(result);
                } else if result.is_ok() {
                    // The policy wanted better than this: the job fails with it.
                    verdict::fail(describe());
                }
                if decision != Decision::Never && self.settings.stops_outer_retries {
                    verdict::forbid(result);
                    self.forbid_outer_retries();
                }
                // Where retries are switched off, nobody expects to hear of them.
                if max_retries > 0 {
                    self.membership.emit(|| EventKind::RetryGivenUp {
                        attempt,
                        max_retries,
                        reason,
                    });
                }
                Err(reason)
            }
        }
    }

    /// Of the job that the call belongs to, or else of the one whose code made the call.
    fn forbid_outer_retries(&self) {
        let known = self.membership.with_job(|job| forbid_retries(job));
        if let (None, Some(job)) = (known, context::current()) {
            forbid_retries(&job);
        }
    }

    fn plan(&mut self, decision: Decision) -> Result<Duration, GiveUpReason> {
        let settings = self.settings;
        if decision == Decision::Never || self.is_forbidden() {
            return Err(GiveUpReason::Forbidden);
        }
        if self.attempt > self.max_retries {
            return Err(GiveUpReason::Exhausted);
        }
        if !self.repeatable {
            return Err(GiveUpReason::NotRepeatable);
        }
        let delay = match decision {
            Decision::RetryIn(delay) => delay,
            Decision::RetryAfter(delay) if !delay.is_zero() => self.requested(delay)?,
            _ => self.backoff(),
        };
        if is_in_vain(delay, context::nearest_limit()) {
            return Err(GiveUpReason::Deadline);
        }
        if is_in_vain(delay, self.end) {
            return Err(GiveUpReason::TotalTime);
        }
        // The last to be asked, as it gives nothing back.
        match self.budget.or(settings.budget.as_ref()) {
            Some(budget) if !budget.withdraw() => Err(GiveUpReason::Budget),
            _ => Ok(delay),
        }
    }

    /// Whether a retry of a job that this one's code began gave up for this one too.
    fn is_forbidden(&self) -> bool {
        self.membership
            .with_job(|job| job.state().retries_forbidden())
            .unwrap_or(false)
    }

    /// The wait that the service asked for, and never less.
    fn requested(&mut self, delay: Duration) -> Result<Duration, GiveUpReason> {
        let max = self.settings.max_requested_delay;
        if delay > max {
            return match self.settings.clamps_requested_delay {
                false => Err(GiveUpReason::AskedTooLong),
                // As where the service asks for no time at all.
                true if max.is_zero() => Ok(self.backoff()),
                true => Ok(max),
            };
        }
        if self.settings.backoff.jitter == Jitter::None {
            return Ok(delay);
        }
        Ok(self.walk().lengthen(delay).min(max))
    }

    fn backoff(&mut self) -> Duration {
        let backoff = &self.settings.backoff;
        let retry = self.attempt - 1;
        if backoff.is_walk() {
            backoff.next(retry, self.walk())
        } else {
            backoff.steady(retry, None)
        }
    }

    fn walk(&mut self) -> &mut Walk {
        self.walk
            .get_or_insert_with(|| Box::new(Walk::new(self.settings.chance())))
    }
}

/// What a policy says of a result, as much of it as an event carries.
pub(super) fn described(description: Option<std::borrow::Cow<'static, str>>) -> Option<Arc<str>> {
    description.map(|text| bounded_text(&text).into())
}

/// Whether an attempt after this wait would begin too late.
fn is_in_vain(delay: Duration, end: Option<Instant>) -> bool {
    end.is_some_and(|end| end.saturating_duration_since(Instant::now()) <= delay)
}

/// Tells the job that an attempt came to this result, which the policy may have `accepted`.
#[inline(always)]
pub(super) fn attempt_ended<T, E>(
    membership: &Membership,
    result: &Result<T, E>,
    accepted: bool,
    verdict: Option<Verdict>,
) {
    // How a cancelled job ends, and by that its last attempt, is not known here.
    if !membership.is_cancelled() {
        if verdict.is_some_and(|verdict| verdict.kind.is_gate()) {
            membership.with_job(|job| job.attempt_turned_away());
        } else if membership.is_observed() {
            tell_attempt_ended(membership, accepted && result.is_ok(), verdict);
        }
    }
}

#[cold]
fn tell_attempt_ended(membership: &Membership, accepted: bool, verdict: Option<Verdict>) {
    let outcome = match verdict.map(|verdict| verdict.kind) {
        None | Some(VerdictKind::Forbidden) if accepted => AttemptOutcome::Succeeded,
        kind => AttemptOutcome::Failed(kind.map_or(FailureCause::Error, VerdictKind::cause)),
    };
    membership.with_job(|job| job.attempt_ended(context::step_of(job.id()), outcome));
}

/// Tells the job that another attempt begins.
#[cold]
pub(super) fn begin_attempt(membership: &Membership, attempt: u32, max_retries: u32) {
    membership.with_job(|job| {
        job.begin_attempt(attempt);
        context::emit(job, || EventKind::Retrying {
            attempt,
            max_retries,
        });
    });
}
