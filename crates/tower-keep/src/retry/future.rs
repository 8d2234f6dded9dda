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
    budgets::ChooseBudget,
    give_up::{GaveUp, OnGiveUp},
    handle::RetryBudget,
    next::{Over, attempt_ended, begin_attempt, described},
    policy::{Attempt, Decision, Policy},
    request::CloneRequest,
    shared::{End, Shared},
};
use crate::{
    event::GiveUpReason,
    job::{
        seat::{Seat, in_attempts},
        stop::{self, Stop, StopKind},
    },
    sharded::Shard,
};

pin_project! {
    /// The response future of [`Retry`](super::Retry).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Request, P, C, H, B>
    where
        S: Service<Request>,
        P: Policy<Request, S::Response, S::Error>,
    {
        #[pin]
        state: State<S, S::Future>,
        // For the next attempt; `None` if the request cannot be repeated.
        next: Option<Next<S, Request>>,
        seen: P::Seen,
        budget: Option<RetryBudget>,
        attempt: u32,
        end: End,
        walk: Option<Box<Walk>>,
        shared: Arc<Shard<Shared<P, C, H, B>>>,
        seat: Seat,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        Calling { #[pin] future: F },
        // No readiness of the inner service is held while waiting.
        // `None` is no time at all: that takes no timer, nor the runtime that a timer needs.
        Waiting { #[pin] sleep: Option<Sleep> },
        Readying { service: S },
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

impl<S, F> State<S, F> {
    fn waiting(delay: Duration) -> Self {
        Self::Waiting {
            sleep: (!delay.is_zero()).then(|| tokio::time::sleep(delay)),
        }
    }
}

impl<S, Request, P, C, H, B> ResponseFuture<S, Request, P, C, H, B>
where
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
{
    #[inline(always)]
    pub(super) fn new(
        future: S::Future,
        next: Option<(S, Request)>,
        seen: P::Seen,
        budget: Option<RetryBudget>,
        end: End,
        shared: Arc<Shard<Shared<P, C, H, B>>>,
        seat: Seat,
    ) -> Self {
        Self {
            state: State::Calling { future },
            next: next.map(|(service, request)| Next {
                service,
                request: Some(request),
            }),
            seen,
            budget,
            attempt: 1,
            end,
            walk: None,
            shared,
            seat,
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
    pub fn counted(self) -> Counted<S, Request, P, C, H, B> {
        Counted { future: self }
    }
}

impl<S, Request, P, C, H, B> Future for ResponseFuture<S, Request, P, C, H, B>
where
    S: Service<Request> + Clone,
    S::Error: fmt::Display,
    P: Policy<Request, S::Response, S::Error>,
    C: CloneRequest<Request>,
    H: OnGiveUp<S::Response, S::Error>,
    B: ChooseBudget<Request>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let layer = &this.shared.layer;
        let max_retries = layer.settings.max_retries;
        loop {
            let result = match this.state.as_mut().project() {
                StateProj::Calling { future } => {
                    let poll = || in_attempts(|| future.poll(cx));
                    ready!(this.seat.run(poll))
                }
                StateProj::Waiting { sleep } => {
                    if let Some(sleep) = sleep.as_pin_mut() {
                        ready!(sleep.poll(cx));
                    }
                    *this.attempt = this.attempt.saturating_add(1);
                    begin_attempt(this.seat, *this.attempt, max_retries);
                    let Some(next) = this.next else {
                        unreachable!("a retry is scheduled only with a service at hand")
                    };
                    let service = this.seat.ask(|| next.service.clone());
                    this.state.set(State::Readying { service });
                    continue;
                }
                StateProj::Readying { service } => {
                    match ready!(this.seat.run(|| service.poll_ready(cx))) {
                        Ok(()) => {
                            let Some((next, request)) = this.next.as_mut().and_then(|next| {
                                next.request.take().map(|request| (next, request))
                            }) else {
                                unreachable!("a retry is scheduled only with a request at hand")
                            };
                            if *this.attempt <= max_retries {
                                next.request =
                                    (this.seat).ask(|| layer.clone_request.clone_request(&request));
                            }
                            this.seat.with_job(|job| job.attempt_runs());
                            let future = this.seat.recall(|| service.call(request));
                            std::mem::swap(&mut next.service, service);
                            this.state.set(State::Calling { future });
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            let stop = stop::read().filter(|stop| stop.holds(&result));
            let attempt = Attempt {
                number: *this.attempt,
                max_retries,
                seat: this.seat,
                stop: stop.map(|stop| stop.kind),
            };
            // What is never retried the policy is not asked about.
            let decision = if is_final(stop, this.seat) {
                None
            } else {
                let decide = || layer.policy.decide(this.seen, &result, &attempt);
                match this.seat.ask(decide) {
                    Decision::Stop if result.is_ok() => None,
                    decision => Some(decision),
                }
            };
            let accepted = matches!(decision, None | Some(Decision::Never));
            attempt_ended(this.seat, &result, accepted, stop);
            let Some(decision) = decision else {
                this.seat.finish(&result);
                return Poll::Ready(result);
            };
            let over = Over {
                settings: &layer.settings,
                seat: this.seat,
                attempt: *this.attempt,
                repeatable: (this.next.as_ref()).is_some_and(|next| next.request.is_some()),
                end: this.shared.end_at(*this.end),
                walk: this.walk,
                budget: this.budget.as_ref(),
            };
            let describe = || described(layer.policy.describe(&result));
            let delay = match this.seat.ask(|| over.next(&result, decision, describe)) {
                Ok(delay) => delay,
                Err(reason) => {
                    let attempts = *this.attempt;
                    let result =
                        (this.seat).ask(|| give_up(result, reason, attempts, &layer.on_give_up));
                    this.seat.finish(&result);
                    return Poll::Ready(result);
                }
            };
            // The next attempt speaks for itself.
            stop::clear();
            this.seat.rest();
            // What the attempt left is given up, and sees by its scope that the job goes on.
            this.seat.scoped(|| this.state.set(State::waiting(delay)));
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
fn is_final(stop: Option<Stop>, seat: &Seat) -> bool {
    stop.is_some_and(|stop| stop.forbids || stop.kind.is_gate() || stop.kind == StopKind::TimedOut)
        || seat.is_cancelled()
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
        stop::replace();
    }
    outcome
}

impl<S, Request, P, C, H, B> fmt::Debug for ResponseFuture<S, Request, P, C, H, B>
where
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
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
    pub struct Counted<S, Request, P, C, H, B>
    where
        S: Service<Request>,
        P: Policy<Request, S::Response, S::Error>,
    {
        #[pin]
        future: ResponseFuture<S, Request, P, C, H, B>,
    }
}

impl<S, Request, P, C, H, B> Future for Counted<S, Request, P, C, H, B>
where
    S: Service<Request> + Clone,
    S::Error: fmt::Display,
    P: Policy<Request, S::Response, S::Error>,
    C: CloneRequest<Request>,
    H: OnGiveUp<S::Response, S::Error>,
    B: ChooseBudget<Request>,
{
    type Output = (Result<S::Response, S::Error>, u32);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = self.project().future;
        let result = ready!(future.as_mut().poll(cx));
        Poll::Ready((result, future.attempts()))
    }
}

impl<S, Request, P, C, H, B> fmt::Debug for Counted<S, Request, P, C, H, B>
where
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counted").field(&self.future).finish()
    }
}
