use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use super::{
    backoff::Walk,
    next::{Over, begin_attempt},
    policy::{Attempt, Decision, Policy},
    request::CloneRequest,
    shared::{End, Shared},
};
use crate::job::{
    seat::Seat,
    stop::{self, StopKind},
};

pin_project! {
    /// The response future of [`Retry`](super::Retry).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Request, P, C>
    where
        S: Service<Request>,
    {
        #[pin]
        state: State<S, S::Future>,
        // For the next attempt; `None` if there is none left or the request cannot be repeated.
        request: Option<Request>,
        attempt: u32,
        end: End,
        walk: Option<Box<Walk>>,
        shared: Arc<Shared<S, P, C>>,
        seat: Seat,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        Calling { #[pin] future: F },
        // Nothing of the inner service is held while waiting.
        Waiting { #[pin] sleep: Sleep },
        Readying { service: S },
    }
}

impl<S, Request, P, C> ResponseFuture<S, Request, P, C>
where
    S: Service<Request>,
{
    #[inline(always)]
    pub(super) fn new(
        future: S::Future,
        request: Option<Request>,
        end: End,
        shared: Arc<Shared<S, P, C>>,
        seat: Seat,
    ) -> Self {
        Self {
            state: State::Calling { future },
            request,
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
    pub fn counted(self) -> Counted<S, Request, P, C> {
        Counted { future: self }
    }
}

impl<S, Request, P, C> Future for ResponseFuture<S, Request, P, C>
where
    S: Service<Request> + Clone,
    S::Error: fmt::Display,
    P: Policy<S::Response, S::Error>,
    C: CloneRequest<Request>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let layer = &this.shared.layer;
        let max_retries = layer.settings.max_retries;
        loop {
            let result = match this.state.as_mut().project() {
                StateProj::Calling { future } => ready!(this.seat.run(|| future.poll(cx))),
                StateProj::Waiting { sleep } => {
                    ready!(sleep.poll(cx));
                    *this.attempt = this.attempt.saturating_add(1);
                    begin_attempt(this.seat, *this.attempt, max_retries);
                    this.state.set(State::Readying {
                        service: this.shared.service(),
                    });
                    continue;
                }
                StateProj::Readying { service } => {
                    match ready!(this.seat.run(|| service.poll_ready(cx))) {
                        Ok(()) => {
                            let Some(request) = this.request.take() else {
                                unreachable!("a retry is scheduled only with a request at hand")
                            };
                            if *this.attempt <= max_retries {
                                *this.request = layer.clone_request.clone_request(&request);
                            }
                            this.seat.with_job(|job| job.attempt_runs());
                            let future = this.seat.recall(|| service.call(request));
                            this.state.set(State::Calling { future });
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            let delay = match decide(&result, this.shared, this.seat, *this.attempt) {
                Decision::Stop => None,
                decision => {
                    let over = Over {
                        settings: &layer.settings,
                        seat: this.seat,
                        attempt: *this.attempt,
                        repeatable: this.request.is_some(),
                        end: this.shared.end_at(*this.end),
                        walk: this.walk,
                    };
                    over.next(&result, decision)
                }
            };
            let Some(delay) = delay else {
                this.seat.finish(&result);
                return Poll::Ready(result);
            };
            // The next attempt speaks for itself.
            stop::take();
            this.seat.rest();
            this.state.set(State::Waiting {
                sleep: tokio::time::sleep(delay),
            });
        }
    }
}

#[inline(always)]
fn decide<S, P, C, T, E>(
    result: &Result<T, E>,
    shared: &Shared<S, P, C>,
    seat: &Seat,
    number: u32,
) -> Decision
where
    P: Policy<T, E>,
{
    let layer = &shared.layer;
    let max_retries = layer.settings.max_retries;
    if max_retries == 0 {
        return Decision::Stop;
    }
    let stop = stop::read().filter(|stop| stop.holds(result));
    match stop {
        Some(stop) if stop.forbids => return Decision::Stop,
        Some(stop) => match stop.kind {
            // Turned away or ended for good by a layer inside.
            StopKind::TimedOut
            | StopKind::CircuitOpen
            | StopKind::Duplicate
            | StopKind::Cancelled => return Decision::Stop,
            // Answered with a response, which the policy may not know for a failure.
            StopKind::AttemptTimedOut | StopKind::Panicked if result.is_ok() => {
                return Decision::Retry;
            }
            _ => {}
        },
        None => {}
    }
    let attempt = Attempt {
        number,
        max_retries,
        seat,
    };
    layer.policy.decide(result, &attempt)
}

impl<S, Request, P, C> fmt::Debug for ResponseFuture<S, Request, P, C>
where
    S: Service<Request>,
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
    pub struct Counted<S, Request, P, C>
    where
        S: Service<Request>,
    {
        #[pin]
        future: ResponseFuture<S, Request, P, C>,
    }
}

impl<S, Request, P, C> Future for Counted<S, Request, P, C>
where
    S: Service<Request> + Clone,
    S::Error: fmt::Display,
    P: Policy<S::Response, S::Error>,
    C: CloneRequest<Request>,
{
    type Output = (Result<S::Response, S::Error>, u32);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = self.project().future;
        let result = ready!(future.as_mut().poll(cx));
        Poll::Ready((result, future.attempts()))
    }
}

impl<S, Request, P, C> fmt::Debug for Counted<S, Request, P, C>
where
    S: Service<Request>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counted").field(&self.future).finish()
    }
}
