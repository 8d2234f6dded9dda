//! The service inside the dispatcher's own layers: each request brings its own clone of the stack.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, Pending, pending},
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    job::{Cancelled, membership::Membership, oneshot::Oneshot},
    reject::OnReject,
};

/// Always ready: the stack comes with the request, and is made ready within the job.
#[allow(missing_debug_implementations, reason = "it has no public name")]
#[derive(Clone, Copy)]
pub struct EntryService;

/// A request, with the stack to call.
#[allow(missing_debug_implementations, reason = "it has no public name")]
pub struct StackCall<S, Request>(pub(super) S, pub(super) Request);

impl<S, Request> Service<StackCall<S, Request>> for EntryService
where
    S: Service<Request>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = EntryFuture<S, Request>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, StackCall(stack, request): StackCall<S, Request>) -> Self::Future {
        let (membership, ()) = Membership::call(|| ());
        EntryFuture {
            call: Oneshot::new(stack, request, &membership),
            membership,
        }
    }
}

pin_project! {
    /// Makes the stack ready, and calls it.
    pub struct EntryFuture<S, Request>
    where
        S: Service<Request>,
    {
        #[pin]
        call: Oneshot<S, Request>,
        membership: Membership,
    }
}

impl<S, Request> Future for EntryFuture<S, Request>
where
    S: Service<Request>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The job exists already, so that the call begins none.
        this.call.poll(this.membership, cx, |_| {})
    }
}

/// A call that the limit refused: its job begins and ends without an execution.
pub(super) struct TurnedAway;

impl Service<TurnedAway> for EntryService {
    type Response = ();
    type Error = Infallible;
    type Future = Pending<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: TurnedAway) -> Self::Future {
        pending()
    }
}

/// The failure of a dispatched call.
#[allow(missing_debug_implementations, reason = "it has no public name")]
pub enum Failure<E> {
    /// The stack's own error.
    Own(E),
    /// The dispatcher's Cancel layer stopped the call.
    Cancelled(Cancelled),
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(error) => error.fmt(f),
            Self::Cancelled(cancelled) => cancelled.fmt(f),
        }
    }
}

/// Keeps the two kinds apart: the caller's error is made only once the job is over.
#[derive(Clone, Copy, Debug)]
pub struct SplitErrors;

impl<T, E> OnReject<Cancelled, T, E> for SplitErrors {
    type Error = Failure<E>;

    fn reject(&self, cancelled: Cancelled) -> Result<T, Failure<E>> {
        Err(Failure::Cancelled(cancelled))
    }

    fn pass(&self, error: E) -> Failure<E> {
        Failure::Own(error)
    }
}
