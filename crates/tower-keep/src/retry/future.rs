//! The response future.

use std::{
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
    backoff::Walk,
    before_attempt::BeforeAttempt,
    budgets::ChooseBudget,
    give_up::{GaveUp, OnGiveUp},
    handle::RetryBudget,
    next::{Over, attempt_ended, begin_attempt, described},
    policy::{Attempt, Decision, Policy},
    request::CloneRequest,
    retries::ChooseRetries,
    shared::{End, Shared},
};
use crate::{
    event::GiveUpReason,
    job::{
        membership::{Membership, call_attempt, poll_attempt},
        verdict::{self, Verdict, VerdictKind},
    },
    sharded::Shard,
};

pin_project! {
    /// The response future of [`Retry`](super::Retry).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Request, P, C, H, B, N, A>
    where
        S: Service<Request>,
        P: Policy<Request, S::Response, S::Error>,
        A: BeforeAttempt<Request, S::Response, S::Error>,
    {
        #[pin]
        state: State<S, S::Future, A::Future, A::Prepared>,
        // For the next attempt; `None` if the request cannot be repeated.
        next: Option<Next<S, Request>>,
        seen: P::Seen,
        // What the hook before the next attempt is to know of the last one.
        last: Option<A::Seen>,
        budget: Option<RetryBudget>,
        attempt: u32,
        max_retries: u32,
        end: End,
        walk: Option<Box<Walk>>,
        shared: Arc<Shard<Shared<P, C, H, B, N, A>>>,
        membership: Membership,
    }
}

type SharedByCalls<P, C, H, B, N, A> = Arc<Shard<Shared<P, C, H, B, N, A>>>;

/// What is known of a call once its request was looked at.
pub(super) struct Call<Seen, P, C, H, B, N, A> {
    pub(super) seen: Seen,
    pub(super) budget: Option<RetryBudget>,
    pub(super) max_retries: u32,
    pub(super) end: End,
    pub(super) shared: SharedByCalls<P, C, H, B, N, A>,
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, H, R> {
        Calling { #[pin] future: F },
        // No readiness of the inner service is held while waiting.
        // `None` is no time at all: that takes no timer, nor the runtime that a timer needs.
        Waiting { #[pin] sleep: Option<Sleep> },
        // The hook that takes its time is to be asked, and nothing is held.
        Beginning,
        Preparing { #[pin] hook: H },
        // `None` is the request that is kept for this attempt.
        Readying { service: S, prepared: Option<R> },
    }
}

/// What another attempt is made with.
struct Next<S, Request> {
    /// The instance that was called last, or a clone made after that call: it knows what the service
    /// has learnt. Each attempt gets a clone of it, as a service whose readiness failed must not be
    /// used again.
    service: S,
    /// `None` if no attempt is left, or the request cannot be repeated once more.
    request: Option<Request>,
}

impl<S: Clone, Request> Next<S, Request> {
    /// The instance for one attempt.
    fn instance(next: &Option<Self>) -> S {
        match next {
            Some(next) => next.service.clone(),
            None => unreachable!("an attempt begins only with a service at hand"),
        }
    }

    /// The request for one attempt. Another one like it is kept if `again`.
    fn request<C: CloneRequest<Request>>(
        next: &mut Option<Self>,
        again: bool,
        clone: &C,
    ) -> Request {
        let Some((next, request)) =
            (next.as_mut()).and_then(|next| next.request.take().map(|request| (next, request)))
        else {
            unreachable!("an attempt begins only with a request at hand")
        };
        if again {
            next.request = clone.clone_request(&request);
        }
        request
    }
}

impl<S, F, H, R> State<S, F, H, R> {
    fn waiting(delay: Duration) -> Self {
        Self::Waiting {
            sleep: (!delay.is_zero()).then(|| tokio::time::sleep(delay)),
        }
    }
}

impl<S, Request, P, C, H, B, N, A> ResponseFuture<S, Request, P, C, H, B, N, A>
where
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
    A: BeforeAttempt<Request, S::Response, S::Error>,
{
    /// The first attempt is under way.
    #[inline(always)]
    pub(super) fn calling(
        future: S::Future,
        next: Option<(S, Request)>,
        call: Call<P::Seen, P, C, H, B, N, A>,
        membership: Membership,
    ) -> Self {
        let next = next.map(|(service, request)| Next {
            service,
            request: Some(request),
        });
        Self::new(State::Calling { future }, next, call, membership)
    }

    /// The first attempt is to be prepared. The job, if there is one, is held back until the service is called.
    pub(super) fn preparing(
        service: S,
        request: Request,
        call: Call<P::Seen, P, C, H, B, N, A>,
    ) -> Self {
        let membership = Membership::without_call();
        membership.with_job(|job| job.flags.hold_back());
        let next = Next {
            service,
            request: Some(request),
        };
        Self::new(State::Beginning, Some(next), call, membership)
    }

    #[inline(always)]
    fn new(
        state: State<S, S::Future, A::Future, A::Prepared>,
        next: Option<Next<S, Request>>,
        call: Call<P::Seen, P, C, H, B, N, A>,
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
            end: call.end,
            walk: None,
            shared: call.shared,
            membership,
        }
    }

    /// How many attempts were begun so far, the first one included. Also of use once the future is ready, as long as
    /// it is at hand; [`counted`](Self::counted) is for where it is not.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Makes the future's output the result and how many attempts it took.
    ///
    /// ```
    /// use tower::{Layer, Service, service_fn};
    /// use tower_keep::{BoxError, RetryLayer};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let broken = service_fn(|_: ()| async { Err::<(), BoxError>("broken".into()) });
    /// let mut service = RetryLayer::new().max_retries(2).layer(broken);
    /// let (result, attempts) = service.call(()).counted().await;
    /// assert_eq!((result.unwrap_err().to_string(), attempts), ("broken".to_owned(), 3));
    /// # });
    /// ```
    pub fn counted(self) -> Counted<S, Request, P, C, H, B, N, A> {
        Counted { future: self }
    }
}

impl<S, Request, P, C, H, B, N, A> Future for ResponseFuture<S, Request, P, C, H, B, N, A>
where
    S: Service<Request> + Clone,
    S::Error: fmt::Display,
    P: Policy<Request, S::Response, S::Error>,
    C: CloneRequest<Request>,
    H: OnGiveUp<S::Response, S::Error>,
    B: ChooseBudget<Request>,
    N: ChooseRetries<Request>,
    A: BeforeAttempt<Request, S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let layer = &this.shared.layer;
        let max_retries = *this.max_retries;
        loop {
            let result = match this.state.as_mut().project() {
                StateProj::Calling { future } => {
                    let poll = || poll_attempt(|| future.poll(cx));
                    ready!(this.membership.run(poll))
                }
                StateProj::Waiting { sleep } => {
                    if let Some(sleep) = sleep.as_pin_mut() {
                        ready!(sleep.poll(cx));
                    }
                    *this.attempt = this.attempt.saturating_add(1);
                    begin_attempt(this.membership, *this.attempt, max_retries);
                    let next = match A::WAITS {
                        true => State::Beginning,
                        false => State::Readying {
                            service: this.membership.ask(|| Next::instance(this.next)),
                            prepared: None,
                        },
                    };
                    this.state.set(next);
                    continue;
                }
                StateProj::Beginning => {
                    this.membership.with_job(|job| job.attempt_is_prepared());
                    let number = *this.attempt;
                    let last = this.last.take();
                    let membership = &*this.membership;
                    let hook = membership.ask(|| {
                        let again = number <= max_retries;
                        let request = Next::request(this.next, again, &layer.clone_request);
                        let attempt = Attempt {
                            number,
                            ..Attempt::first(max_retries, membership)
                        };
                        layer.before_attempt.prepare(request, &attempt, last)
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
                        // The attempt has failed, without a call.
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
                                Some(prepared) => A::request(prepared),
                                None => this.membership.ask(|| {
                                    let again = *this.attempt <= max_retries;
                                    let mut request =
                                        Next::request(this.next, again, &layer.clone_request);
                                    if A::CHANGES {
                                        let attempt = Attempt {
                                            number: *this.attempt,
                                            ..Attempt::first(max_retries, this.membership)
                                        };
                                        layer.before_attempt.change(&mut request, &attempt);
                                    }
                                    request
                                }),
                            };
                            this.membership.with_job(|job| {
                                job.attempt_runs();
                                if A::WAITS {
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
                            if A::WAITS {
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
            // What is never retried the policy is not asked about.
            let decision = if is_final(verdict, this.membership) {
                None
            } else {
                let decide = || layer.policy.decide(this.seen, &result, &attempt);
                match this.membership.ask(decide) {
                    Decision::Stop if result.is_ok() => None,
                    decision => Some(decision),
                }
            };
            let accepted = matches!(decision, None | Some(Decision::Never));
            attempt_ended(this.membership, &result, accepted, verdict);
            let Some(decision) = decision else {
                this.membership.finish(&result);
                return Poll::Ready(result);
            };
            let over = Over {
                settings: &layer.settings,
                membership: this.membership,
                attempt: *this.attempt,
                max_retries,
                repeatable: (this.next.as_ref()).is_some_and(|next| next.request.is_some()),
                end: this.shared.end_at(*this.end),
                walk: this.walk,
                budget: this.budget.as_ref(),
            };
            let describe = || described(layer.policy.describe(&result));
            let delay = match this
                .membership
                .ask(|| over.next(&result, decision, describe))
            {
                Ok(delay) => delay,
                Err(reason) => {
                    let attempts = *this.attempt;
                    let result = (this.membership)
                        .ask(|| give_up(result, reason, attempts, &layer.on_give_up));
                    this.membership.finish(&result);
                    return Poll::Ready(result);
                }
            };
            *this.last = this.membership.ask(|| layer.before_attempt.see(&result));
            // The next attempt speaks for itself.
            verdict::clear();
            this.membership.rest();
            // What the attempt left is given up, and sees by its scope that the job goes on.
            this.membership
                .scoped(|| this.state.set(State::waiting(delay)));
            if delay.is_zero() && *this.attempt % ATTEMPTS_AT_ONCE == 0 {
                // Others have their turn, and a limit or a cancellation around can end this.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }
}

/// How many attempts may follow each other without a wait before the task yields.
const ATTEMPTS_AT_ONCE: u32 = 16;

/// Whether a layer inside turned the call away, ended it for good or forbids another attempt, or the
/// job is cancelled.
#[inline(always)]
fn is_final(verdict: Option<Verdict>, membership: &Membership) -> bool {
    verdict.is_some_and(|verdict| {
        verdict.forbids || verdict.kind.is_gate() || verdict.kind == VerdictKind::TimedOut
    }) || membership.is_cancelled()
}

/// Hands the last outcome to the hook.
#[cold]
fn give_up<T, E, H: OnGiveUp<T, E>>(
    outcome: Result<T, E>,
    reason: GiveUpReason,
    attempts: u32,
    hook: &H,
) -> Result<T, E> {
    let failed = outcome.is_err();
    let outcome = hook.give_up(outcome, GaveUp::new(reason, attempts));
    if failed && outcome.is_ok() {
        // A fallback: what was said of the error does not hold for it.
        verdict::replace();
    }
    outcome
}

impl<S, Request, P, C, H, B, N, A> fmt::Debug for ResponseFuture<S, Request, P, C, H, B, N, A>
where
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
    A: BeforeAttempt<Request, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// A call that says how many attempts it took. Made by [`ResponseFuture::counted`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Counted<S, Request, P, C, H, B, N, A>
    where
        S: Service<Request>,
        P: Policy<Request, S::Response, S::Error>,
        A: BeforeAttempt<Request, S::Response, S::Error>,
    {
        #[pin]
        future: ResponseFuture<S, Request, P, C, H, B, N, A>,
    }
}

impl<S, Request, P, C, H, B, N, A> Future for Counted<S, Request, P, C, H, B, N, A>
where
    S: Service<Request> + Clone,
    S::Error: fmt::Display,
    P: Policy<Request, S::Response, S::Error>,
    C: CloneRequest<Request>,
    H: OnGiveUp<S::Response, S::Error>,
    B: ChooseBudget<Request>,
    N: ChooseRetries<Request>,
    A: BeforeAttempt<Request, S::Response, S::Error>,
{
    type Output = (Result<S::Response, S::Error>, u32);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = self.project().future;
        let result = ready!(future.as_mut().poll(cx));
        Poll::Ready((result, future.attempts()))
    }
}

impl<S, Request, P, C, H, B, N, A> fmt::Debug for Counted<S, Request, P, C, H, B, N, A>
where
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
    A: BeforeAttempt<Request, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counted").field(&self.future).finish()
    }
}
