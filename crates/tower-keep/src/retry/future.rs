//! `ResponseFuture` of the retry: attempts, waits and hooks as a state machine.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use super::{
    after_attempt::{FailedAttempt, attempt_ended, begin_attempt, described},
    backoff::JitterState,
    budget::RetryBudget,
    give_up::GaveUp,
    hooks::Hooks,
    next_attempt::Next,
    policy::{Attempt, Decision, Policy},
    respond::{Answered, Responds},
    shared_layer::{RetryDeadline, SharedLayer},
};
use crate::{
    event::GiveUpReason,
    job::{
        membership::{Membership, call_attempt, poll_attempt},
        verdict::{self, Verdict, VerdictKind},
    },
    sharded::Shard,
};

#[cfg(feature = "http")]
mod resumption;

pin_project! {
    /// The response future of [`Retry`](super::Retry).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Request, P, X>
    where
        S: Service<Request>,
        P: Policy<Request, S::Response, S::Error>,
        X: Hooks<Request, S::Response, S::Error>,
    {
        #[pin]
        state: State<S, S::Future, X::Prepare, X::Prepared, X::Drain>,
        // For the next attempt; `None` if the request cannot be repeated.
        next: Option<Next<S, X::Kept>>,
        seen: P::Seen,
        // Data from the last outcome for the hook before the next attempt.
        last: Option<X::Seen>,
        budget: Option<RetryBudget>,
        attempt: u32,
        max_retries: u32,
        deadline: RetryDeadline,
        jitter: Option<Box<JitterState>>,
        shared: SharedByCalls<P, X>,
        membership: Membership,
    }
}

pub(super) type SharedByCalls<P, X> = Arc<Shard<SharedLayer<P, X>>>;

/// The state of a call that comes from its request and its layer.
pub(super) struct RetryCall<Seen, P, X> {
    pub(super) seen: Seen,
    pub(super) budget: Option<RetryBudget>,
    pub(super) max_retries: u32,
    pub(super) deadline: RetryDeadline,
    pub(super) shared: SharedByCalls<P, X>,
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, H, R, D> {
        Calling { #[pin] future: F },
        // Holds no readiness of the inner service. `None` is a wait of zero: it needs no timer and
        // no runtime. `drain` reads what is left of the last response.
        Waiting { #[pin] sleep: Option<Sleep>, #[pin] drain: Option<D> },
        // The asynchronous hook is next. Holds no readiness. `first` is the request of the first
        // attempt; later requests are made of the kept request in `next`.
        Beginning { first: Option<R> },
        Preparing { #[pin] hook: H },
        // `None`: the request is made of the kept request in `next`.
        Readying { service: S, prepared: Option<R> },
    }
}

impl<S, F, H, R, D> State<S, F, H, R, D> {
    fn waiting(delay: Duration, drain: Option<D>) -> Self {
        Self::Waiting {
            drain,
            sleep: (!delay.is_zero()).then(|| tokio::time::sleep(delay)),
        }
    }
}

impl<S, Request, P, X> ResponseFuture<S, Request, P, X>
where
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
    X: Hooks<Request, S::Response, S::Error>,
{
    /// The first attempt has been called.
    #[inline(always)]
    pub(super) fn calling(
        future: S::Future,
        next: Option<(S, X::Kept)>,
        call: RetryCall<P::Seen, P, X>,
        membership: Membership,
    ) -> Self {
        let next = next.map(|(service, kept)| Next {
            service,
            kept: Some(kept),
        });
        Self::new(State::Calling { future }, next, call, membership)
    }

    /// The asynchronous hook comes before the first attempt. A job is held back until the call.
    pub(super) fn preparing(
        service: S,
        request: Request,
        call: RetryCall<P::Seen, P, X>,
        is_bodiless: bool,
    ) -> Self {
        let membership = Membership::without_call().begun(is_bodiless);
        membership.with_job(|job| job.flags.hold_back());
        let next = Next {
            service,
            kept: None,
        };
        let first = X::hold(request);
        Self::new(State::Beginning { first }, Some(next), call, membership)
    }

    #[inline(always)]
    fn new(
        state: State<S, S::Future, X::Prepare, X::Prepared, X::Drain>,
        next: Option<Next<S, X::Kept>>,
        call: RetryCall<P::Seen, P, X>,
        membership: Membership,
    ) -> Self {
        Self {
            state,
            next,
            seen: call.seen,
            last: None,
            budget: call.budget,
            attempt: 1,
            max_retries: call.max_retries,
            deadline: call.deadline,
            jitter: None,
            shared: call.shared,
            membership,
        }
    }

    /// The number of attempts begun so far, including the first. It can still be read after the
    /// future has completed.
    ///
    /// ```
    /// use std::pin::pin;
    /// use tower::{Layer, Service, service_fn};
    /// use tower_keep::{BoxError, RetryLayer};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let broken = service_fn(|_: ()| async { Err::<(), BoxError>("broken".into()) });
    /// let mut service = RetryLayer::new().max_retries(2).layer(broken);
    /// let mut call = pin!(service.call(()));
    /// assert_eq!(call.as_mut().await.unwrap_err().to_string(), "broken");
    /// assert_eq!(call.attempts(), 3);
    /// # });
    /// ```
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempt
    }
}

impl<S, Request, P, X> Future for ResponseFuture<S, Request, P, X>
where
    S: Service<Request> + Clone,
    S::Error: fmt::Display,
    P: Policy<Request, S::Response, S::Error>,
    X: Responds<S, Request, P>,
{
    type Output = Result<X::Output, S::Error>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.as_mut().poll_attempts(cx));
        let this = self.project();
        Poll::Ready(match result {
            Ok(response) => {
                let call = Answered {
                    next: this.next,
                    budget: this.budget,
                    attempt: *this.attempt,
                    max_retries: *this.max_retries,
                    deadline: *this.deadline,
                    shared: this.shared,
                    membership: this.membership,
                };
                Ok(call.shared.layer.hooks.respond(response, call))
            }
            Err(error) => {
                this.membership.finish(&Err::<Infallible, _>(&error));
                Err(error)
            }
        })
    }
}

impl<S, Request, P, X> ResponseFuture<S, Request, P, X>
where
    S: Service<Request> + Clone,
    S::Error: fmt::Display,
    P: Policy<Request, S::Response, S::Error>,
    X: Hooks<Request, S::Response, S::Error>,
{
    /// Polls to the last result. The call is not over with it.
    #[inline(always)]
    pub(super) fn poll_attempts(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, S::Error>> {
        let mut this = self.project();
        let layer = &this.shared.layer;
        let max_retries = *this.max_retries;
        loop {
            let result = match this.state.as_mut().project() {
                StateProj::Calling { future } => {
                    let poll = || poll_attempt(|| future.poll(cx));
                    ready!(this.membership.run(poll))
                }
                StateProj::Waiting { sleep, mut drain } => {
                    let slept = match sleep.as_pin_mut() {
                        Some(sleep) => sleep.poll(cx),
                        None => Poll::Ready(()),
                    };
                    if X::DRAINS && drain.is_some() {
                        let _: Poll<()> = this.membership.attend(|| {
                            let reading = drain.as_mut().as_pin_mut();
                            let is_over = reading.is_none_or(|drain| drain.poll(cx).is_ready());
                            if is_over || slept.is_ready() {
                                drain.set(None);
                            }
                            Poll::Pending
                        });
                    }
                    ready!(slept);
                    *this.attempt = this.attempt.saturating_add(1);
                    begin_attempt(this.membership, X::RESUMES, *this.attempt, max_retries);
                    let next = match X::WAITS {
                        true => State::Beginning { first: None },
                        false => State::Readying {
                            service: this.membership.ask(|| Next::instance(this.next)),
                            prepared: None,
                        },
                    };
                    this.state.set(next);
                    continue;
                }
                StateProj::Beginning { first } => {
                    let first = first.take();
                    this.membership.with_job(|job| job.attempt_is_prepared());
                    let number = *this.attempt;
                    let last = this.last.take();
                    let membership = &*this.membership;
                    let hook = membership.ask(|| {
                        let request = match (first.map(X::request), this.next.as_mut()) {
                            (Some(mut request), Some(next)) => {
                                if max_retries > 0 {
                                    next.kept =
                                        membership.as_called(|| layer.hooks.keep(&mut request));
                                }
                                request
                            }
                            _ => Next::request(this.next, |kept| {
                                layer.hooks.again(kept, number > max_retries && !X::RESUMES)
                            }),
                        };
                        let attempt = Attempt {
                            number,
                            ..Attempt::first(max_retries, membership)
                        };
                        layer.hooks.prepare(request, &attempt, last)
                    });
                    this.state.set(State::Preparing { hook });
                    continue;
                }
                StateProj::Preparing { hook } => {
                    match ready!(this.membership.attend(|| hook.poll(cx))) {
                        Ok(prepared) => {
                            let service = this.membership.ask(|| Next::instance(this.next));
                            this.membership.scoped(|| {
                                this.state.set(State::Readying {
                                    service,
                                    prepared: Some(prepared),
                                });
                            });
                            continue;
                        }
                        // The attempt failed without a call.
                        Err(error) => {
                            this.membership.with_job(|job| job.attempt_was_prepared());
                            Err(error)
                        }
                    }
                }
                StateProj::Readying { service, prepared } => {
                    match ready!(this.membership.run(|| service.poll_ready(cx))) {
                        Ok(()) => {
                            let request = match prepared.take() {
                                Some(prepared) => X::request(prepared),
                                None => this.membership.ask(|| {
                                    let is_last = *this.attempt > max_retries && !X::RESUMES;
                                    let mut request = Next::request(this.next, |kept| {
                                        layer.hooks.again(kept, is_last)
                                    });
                                    if X::CHANGES {
                                        let attempt = Attempt {
                                            number: *this.attempt,
                                            ..Attempt::first(max_retries, this.membership)
                                        };
                                        layer.hooks.change(&mut request, &attempt);
                                    }
                                    request
                                }),
                            };
                            this.membership.with_job(|job| {
                                job.attempt_runs();
                                if X::WAITS {
                                    job.attempt_was_prepared();
                                }
                            });
                            let is_known = this.membership.has_job();
                            let future = this
                                .membership
                                .recall(|| call_attempt(|| service.call(request)));
                            if !is_known {
                                this.membership
                                    .with_job(|job| job.begun_in_attempt(*this.attempt));
                            }
                            if let Some(next) = this.next {
                                std::mem::swap(&mut next.service, service);
                            }
                            this.state.set(State::Calling { future });
                            continue;
                        }
                        Err(error) => {
                            if X::WAITS {
                                this.membership.with_job(|job| job.attempt_was_prepared());
                            }
                            Err(error)
                        }
                    }
                }
            };
            let verdict = verdict::read().filter(|verdict| verdict.holds(&result));
            let attempt = Attempt {
                number: *this.attempt,
                max_retries,
                membership: this.membership,
                verdict: verdict.map(|verdict| verdict.kind),
            };
            // The policy does not run for results that are never retried.
            let decision = if is_final(verdict, this.membership) {
                None
            } else {
                let decide = || {
                    let decision = layer.policy.decide(this.seen, &result, &attempt);
                    let is_accepted = matches!(decision, Decision::Stop | Decision::Never)
                        && (result.as_ref())
                            .is_ok_and(|response| !layer.policy.is_failure(response));
                    match decision {
                        Decision::Stop if is_accepted => None,
                        decision => Some((decision, is_accepted)),
                    }
                };
                this.membership.ask(decide)
            };
            let accepted = decision.is_none_or(|(_, is_accepted)| is_accepted);
            // A response that may be resumed ends its attempt with its body.
            if !(X::RESUMES && accepted && verdict.is_none() && result.is_ok()) {
                attempt_ended(this.membership, &result, accepted, verdict);
            }
            let Some((decision, is_accepted)) = decision else {
                return Poll::Ready(result);
            };
            let membership = &*this.membership;
            let describe = || described(layer.policy.describe(&result));
            let planned = membership.ask(|| {
                let kept = this.next.as_ref().and_then(|next| next.kept.as_ref());
                let failed = FailedAttempt {
                    settings: &layer.settings,
                    membership,
                    resumes: X::RESUMES,
                    attempt: *this.attempt,
                    max_retries,
                    repeatable: kept.is_some_and(|kept| layer.hooks.can_repeat(kept)),
                    total_deadline: this.shared.deadline_at(*this.deadline),
                    jitter: this.jitter,
                    budget: this.budget.as_ref(),
                };
                let planned = failed.next(&result, decision, is_accepted, describe);
                if let (Ok(_), Some(kept)) = (planned, kept) {
                    layer.hooks.claim(kept);
                }
                planned
            });
            let delay = match planned {
                Ok(delay) => delay,
                Err(reason) => {
                    let attempts = *this.attempt;
                    let result =
                        (this.membership).ask(|| give_up(result, reason, attempts, &layer.hooks));
                    return Poll::Ready(result);
                }
            };
            *this.last = this.membership.ask(|| layer.hooks.see(&result));
            let drain = match result {
                Ok(response) if X::DRAINS => {
                    let discard = || Poll::Ready(layer.hooks.discard(response));
                    match this.membership.attend(discard) {
                        Poll::Ready(drain) => drain,
                        Poll::Pending => None,
                    }
                }
                _ => None,
            };
            // The verdict does not apply to the next attempt.
            verdict::clear();
            this.membership.rest();
            // Drops the remains of the attempt in the job's scope: their `Drop` sees that the job
            // goes on.
            this.membership
                .scoped(|| this.state.set(State::waiting(delay, drain)));
            if delay.is_zero() && *this.attempt % ATTEMPTS_AT_ONCE == 0 {
                // Other tasks get a turn, and an outer limit or cancellation can end the call.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

/// The number of attempts without a wait after which the task yields.
pub(super) const ATTEMPTS_AT_ONCE: u32 = 16;

/// Whether the result must not be retried: an inner layer rejected the call, ended it, or forbids
/// another attempt, or the job is cancelled.
#[inline(always)]
pub(super) fn is_final(verdict: Option<Verdict>, membership: &Membership) -> bool {
    verdict.is_some_and(|verdict| {
        verdict.forbids || verdict.kind.is_gate() || verdict.kind == VerdictKind::TimedOut
    }) || membership.is_cancelled()
}

/// Passes the last outcome to the hook.
#[cold]
fn give_up<Request, T, E, X: Hooks<Request, T, E>>(
    outcome: Result<T, E>,
    reason: GiveUpReason,
    attempts: u32,
    hooks: &X,
) -> Result<T, E> {
    let failed = outcome.is_err();
    let outcome = hooks.give_up(outcome, GaveUp::new(reason, attempts));
    if failed && outcome.is_ok() {
        // A fallback: the verdict on the error does not apply to it.
        verdict::replace();
    }
    outcome
}

impl<S, Request, P, X> fmt::Debug for ResponseFuture<S, Request, P, X>
where
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
    X: Hooks<Request, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
