//! `ResumableCall`: the attempts that follow a response whose body broke off.

use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tower_service::Service;

use super::{
    after_attempt::{FailedAttempt, attempt_ended, described},
    backoff::JitterState,
    budget::RetryBudget,
    future::{ATTEMPTS_AT_ONCE, ResponseFuture, RetryCall, SharedByCalls, is_final},
    hooks::Hooks,
    policy::{Decision, Policy},
    respond::Answered,
    shared_layer::RetryDeadline,
};
use crate::{
    error::BoxError,
    error_text::describe_error,
    event::GiveUpReason,
    job::{core::Core, membership::Membership, verdict},
};

/// Why no attempt follows an error of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAttempt {
    /// The request or the error does not allow it.
    Forbidden,
    GaveUp(GiveUpReason),
}

type Attempts<S, Request, P, X> = Pin<Box<ResponseFuture<S, Request, P, X>>>;

/// A call whose response is read: what another attempt needs.
#[allow(missing_debug_implementations, reason = "it has no public name")]
pub struct ResumableCall<S, Request, P, X>
where
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
    X: Hooks<Request, S::Response, S::Error>,
{
    /// The service and the kept request. `None` while attempts have them, and if the request cannot
    /// be repeated any more.
    next: Option<(S, X::Kept)>,
    running: Option<Attempts<S, Request, P, X>>,
    budget: Option<RetryBudget>,
    /// Attempts since the last byte.
    attempt: u32,
    /// The task yields before the next attempt.
    yields: bool,
    max_retries: u32,
    deadline: RetryDeadline,
    jitter: Option<Box<JitterState>>,
    shared: SharedByCalls<P, X>,
    job: Option<Arc<Core>>,
}

impl<S, Request, P, X> Answered<'_, S, Request, P, X>
where
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
    X: Hooks<Request, S::Response, S::Error>,
{
    /// The accepted response will not be resumed: its attempt ends with its head.
    pub(crate) fn end_attempt(&mut self) {
        let verdict = verdict::read();
        attempt_ended(self.membership, &Ok::<_, BoxError>(()), true, verdict);
    }

    /// Takes what another attempt of this call needs. `None` if its request cannot be repeated.
    pub(crate) fn resumable(&mut self) -> Option<ResumableCall<S, Request, P, X>> {
        let next = self.next.take()?;
        Some(ResumableCall {
            next: Some((next.service, next.kept?)),
            running: None,
            budget: self.budget.take(),
            attempt: self.attempt,
            yields: false,
            max_retries: self.max_retries,
            deadline: self.deadline,
            jitter: None,
            shared: Arc::clone(self.shared),
            job: None,
        })
    }
}

impl<S, Request, P, X> ResumableCall<S, Request, P, X>
where
    S: Service<Request> + Clone,
    S::Error: fmt::Display,
    P: Policy<Request, S::Response, S::Error>,
    X: Hooks<Request, S::Response, S::Error>,
{
    /// The job of the call. Its limits and its cancellation hold for the attempts.
    pub(crate) fn in_job(mut self, job: Option<Arc<Core>>) -> Self {
        self.job = job;
        self
    }

    /// The body broke off with this error: plans the next attempt. `progressed`: something was read
    /// since the last attempt, so that the count begins again. `change` makes the request of the
    /// next attempts; `false`: there is none.
    #[cold]
    pub(crate) fn interrupted(
        &mut self,
        error: &BoxError,
        progressed: bool,
        change: impl FnOnce(&mut Request) -> bool,
    ) -> Result<(), NoAttempt> {
        let layer = &self.shared.layer;
        let membership = Membership::while_reading(self.job.clone());
        let result = Err::<(), _>(error);
        let verdict = verdict::read();
        if is_final(verdict, &membership) {
            return Err(NoAttempt::Forbidden);
        }
        let (service, kept) = self.next.take().ok_or(NoAttempt::Forbidden)?;
        let (mut request, _) = layer.hooks.again(kept, true);
        if !change(&mut request) {
            return Err(NoAttempt::Forbidden);
        }
        let seen = layer.policy.see_resumption(&request);
        let seen = seen.ok_or(NoAttempt::Forbidden)?;
        let kept = layer.hooks.keep(&mut request);
        drop(request);
        if progressed {
            self.attempt = 1;
            self.jitter = None;
        }
        attempt_ended(&membership, &result, false, verdict);
        let failed = FailedAttempt {
            settings: &layer.settings,
            membership: &membership,
            resumes: true,
            attempt: self.attempt,
            max_retries: self.max_retries,
            repeatable: kept
                .as_ref()
                .is_some_and(|kept| layer.hooks.can_repeat(kept)),
            total_deadline: self.shared.deadline_at(self.deadline),
            jitter: &mut self.jitter,
            budget: self.budget.as_ref(),
        };
        let describe = || described(Some(describe_error(&**error).to_string().into()));
        let delay =
            (failed.next(&result, Decision::Retry, false, describe)).map_err(NoAttempt::GaveUp)?;
        // Other tasks get a turn, and an outer limit or cancellation can end the body.
        self.yields = delay.is_zero() && self.attempt % ATTEMPTS_AT_ONCE == 0;
        // It does not apply to the next attempt.
        verdict::clear();
        let call = RetryCall {
            seen,
            budget: self.budget.clone(),
            max_retries: self.max_retries,
            deadline: self.deadline,
            shared: Arc::clone(&self.shared),
        };
        let kept = kept.map(|kept| (service, kept));
        let jitter = self.jitter.take();
        let attempts = ResponseFuture::waiting(delay, kept, call, self.attempt, jitter, membership);
        self.running = Some(Box::pin(attempts));
        Ok(())
    }

    /// Polls the attempts to their last result.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<S::Response, S::Error>> {
        if mem::take(&mut self.yields) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(running) = &mut self.running else {
            unreachable!("attempts begin before they are polled")
        };
        let result = ready!(running.as_mut().poll_attempts(cx));
        let rest = running.as_mut().take_rest(&result);
        self.next = rest.next;
        self.attempt = rest.attempt;
        self.jitter = rest.jitter;
        self.running = None;
        Poll::Ready(result)
    }

    /// The server answered the last attempt with this status.
    pub(crate) fn answered(&self, status: http::StatusCode) {
        if let Some(job) = &self.job {
            job.end_exchange(status);
        }
    }
}
