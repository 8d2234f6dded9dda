//! After a failed attempt: plans the wait before the next attempt, or gives up.
//!
//! A successful call runs none of this code.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    backoff::{Jitter, JitterState},
    budget::RetryBudget,
    policy::Decision,
    settings::RetrySettings,
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

/// A completed attempt that the policy did not accept.
pub(super) struct FailedAttempt<'a> {
    pub(super) settings: &'a RetrySettings,
    pub(super) membership: &'a Membership,
    /// The job counts on where a resumption begins to count again.
    pub(super) resumes: bool,
    pub(super) attempt: u32,
    /// From the request, or else from the layer.
    pub(super) max_retries: u32,
    /// Whether a request for another attempt exists.
    pub(super) repeatable: bool,
    /// The end of `max_total_time`.
    pub(super) total_deadline: Option<Instant>,
    /// Created for the first wait that depends on more than the retry's number.
    pub(super) jitter: &'a mut Option<Box<JitterState>>,
    /// The budget that the request chose; `None` means the layer's.
    pub(super) budget: Option<&'a RetryBudget>,
}

impl FailedAttempt<'_> {
    /// The wait before the next attempt, or the reason for giving up. Emits the matching event.
    /// `is_accepted`: the result is a response that is no failure. `describe` is the policy's
    /// description of the result.
    #[cold]
    pub(super) fn next<T, E: fmt::Display>(
        mut self,
        result: &Result<T, E>,
        decision: Decision,
        is_accepted: bool,
        describe: impl FnOnce() -> Option<Arc<str>>,
    ) -> Result<Duration, GiveUpReason> {
        if decision == Decision::Stop {
            if result.is_ok() {
                verdict::fail(describe());
            }
            return Err(GiveUpReason::NotRetryable);
        }
        let (attempt, max_retries) = (self.number(), self.max_retries);
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
                }
                if result.is_ok() && !is_accepted {
                    // The policy wanted to retry this response, or calls it a failure: the job fails.
                    verdict::fail(describe());
                }
                if decision != Decision::Never && self.settings.stops_outer_retries {
                    verdict::forbid(result);
                    self.forbid_outer_retries();
                }
                // Without retries there is no event about them.
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

    /// The number of the attempt in the job.
    fn number(&self) -> u32 {
        let in_job = || self.membership.with_job(|job| job.attempt());
        let number = if self.resumes { in_job() } else { None };
        number.unwrap_or(self.attempt)
    }

    /// Forbids retries to the job of the call, else to the job whose code made the call.
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
        if is_too_late(delay, context::nearest_limit()) {
            return Err(GiveUpReason::Deadline);
        }
        if is_too_late(delay, self.total_deadline) {
            return Err(GiveUpReason::TotalTime);
        }
        // Last, as a withdrawal is final.
        match self.budget.or(settings.budget.as_ref()) {
            Some(budget) if !budget.withdraw() => Err(GiveUpReason::Budget),
            _ => Ok(delay),
        }
    }

    /// Whether an inner retry, in a job that this job's code began, stopped outer retries.
    fn is_forbidden(&self) -> bool {
        self.membership
            .with_job(|job| job.state().retries_forbidden())
            .unwrap_or(false)
    }

    /// The delay that the service requested, never shorter unless clamped.
    fn requested(&mut self, delay: Duration) -> Result<Duration, GiveUpReason> {
        let max = self.settings.max_requested_delay;
        if delay > max {
            return match self.settings.clamps_requested_delay {
                false => Err(GiveUpReason::AskedTooLong),
                // Like a requested delay of zero.
                true if max.is_zero() => Ok(self.backoff()),
                true => Ok(max),
            };
        }
        if self.settings.backoff.jitter == Jitter::None {
            return Ok(delay);
        }
        Ok(self.jitter_state().lengthen(delay).min(max))
    }

    fn backoff(&mut self) -> Duration {
        let backoff = &self.settings.backoff;
        let retry = self.attempt - 1;
        if backoff.needs_state() {
            backoff.next(retry, self.jitter_state())
        } else {
            backoff.nominal(retry, None)
        }
    }

    fn jitter_state(&mut self) -> &mut JitterState {
        self.jitter
            .get_or_insert_with(|| Box::new(JitterState::new(self.settings.rng())))
    }
}

/// The policy's description of a result, shortened to the limit of an event.
pub(super) fn described(description: Option<std::borrow::Cow<'static, str>>) -> Option<Arc<str>> {
    description.map(|text| bounded_text(&text).into())
}

/// Whether an attempt after this wait would begin after the deadline.
fn is_too_late(delay: Duration, deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline.saturating_duration_since(Instant::now()) <= delay)
}

/// Records the end of an attempt in the job. `accepted`: the policy accepted an `Ok`, or did not
/// run.
#[inline(always)]
pub(super) fn attempt_ended<T, E>(
    membership: &Membership,
    result: &Result<T, E>,
    accepted: bool,
    verdict: Option<Verdict>,
) {
    // The outcome of a cancelled job, and so of its last attempt, is not known here.
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

/// Records the beginning of another attempt in the job.
#[cold]
pub(super) fn begin_attempt(
    membership: &Membership,
    resumes: bool,
    attempt: u32,
    max_retries: u32,
) {
    membership.with_job(|job| {
        let attempt = match resumes {
            true => job.attempt().saturating_add(1),
            false => attempt,
        };
        job.begin_attempt(attempt);
        context::emit(job, || EventKind::Retrying {
            attempt,
            max_retries,
        });
    });
}
