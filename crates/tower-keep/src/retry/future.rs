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
    policy::{CloneRequest, Decision, Policy},
    shared::Shared,
};
use crate::{
    event::EventKind,
    job::{
        seat::Seat,
        stop::{self, StopKind},
    },
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
        shared: Arc<Shared<S, P, C>>,
        seat: Seat,
    ) -> Self {
        Self {
            state: State::Calling { future },
            request,
            attempt: 1,
            shared,
            seat,
        }
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
        loop {
            let result = match this.state.as_mut().project() {
                StateProj::Calling { future } => ready!(this.seat.run(|| future.poll(cx))),
                StateProj::Waiting { sleep } => {
                    ready!(sleep.poll(cx));
                    begin_attempt(this.seat, *this.attempt, this.shared.layer.max_retries);
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
                            let layer = &this.shared.layer;
                            if *this.attempt <= layer.max_retries {
                                *this.request = layer.clone_request.clone_request(&request);
                            }
                            let future = this.seat.recall(|| service.call(request));
                            this.state.set(State::Calling { future });
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            match next_delay(
                &result,
                this.request.is_some(),
                this.shared,
                this.seat,
                *this.attempt,
            ) {
                None => {
                    this.seat.finish(&result);
                    return Poll::Ready(result);
                }
                Some(delay) => {
                    // The next attempt speaks for itself.
                    stop::take();
                    this.seat.rest();
                    *this.attempt = this.attempt.saturating_add(1);
                    this.state.set(State::Waiting {
                        sleep: tokio::time::sleep(delay),
                    });
                }
            }
        }
    }
}

/// How long to wait before the next attempt; `None` if this result is final.
#[inline(always)]
fn next_delay<S, P, C, T, E>(
    result: &Result<T, E>,
    repeatable: bool,
    shared: &Shared<S, P, C>,
    seat: &Seat,
    attempt: u32,
) -> Option<Duration>
where
    P: Policy<T, E>,
    E: fmt::Display,
{
    let layer = &shared.layer;
    if attempt > layer.max_retries || !repeatable {
        return None;
    }
    let decision = match stop::read()
        .filter(|stop| stop.holds(result))
        .map(|stop| stop.kind)
    {
        // Turned away or ended for good by a layer inside.
        Some(
            StopKind::TimedOut | StopKind::CircuitOpen | StopKind::Duplicate | StopKind::Cancelled,
        ) => return None,
        // Answered with a response, which the policy may not know for a failure.
        Some(StopKind::AttemptTimedOut | StopKind::Panicked) if result.is_ok() => Decision::Retry,
        _ => layer.policy.decide(result, attempt),
    };
    let delay = match decision {
        Decision::Stop => return None,
        Decision::Retry => layer.backoff.delay(attempt - 1),
        Decision::RetryAfter(delay) => delay.min(layer.backoff.max),
    };
    schedule(result, seat, attempt, layer.max_retries, delay).then_some(delay)
}

/// Tells the job that another attempt follows; `false` if it is cancelled and none may.
#[cold]
fn schedule<T, E: fmt::Display>(
    result: &Result<T, E>,
    seat: &Seat,
    attempt: u32,
    max_retries: u32,
    delay: Duration,
) -> bool {
    let mut cancelled = false;
    seat.with_job(|job| {
        cancelled = job.is_cancelled();
        if !cancelled {
            job.attempt_over();
            job.emit(|| EventKind::RetryScheduled {
                attempt,
                max_retries,
                delay,
                error: match result {
                    Err(error) => error.to_string().into(),
                    Ok(_) => StopKind::Failure.describe().into(),
                },
            });
        }
    });
    !cancelled
}

#[cold]
fn begin_attempt(seat: &Seat, attempt: u32, max_retries: u32) {
    seat.with_job(|job| {
        job.set_attempt(attempt);
        job.emit(|| EventKind::Retrying {
            attempt,
            max_retries,
        });
    });
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
