//! The innermost service of the dispatcher's own layers: each call brings its stack along and enters it.

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

/// A service that is always ready: the stack comes along with its request, and is made ready within the job.
#[derive(Clone, Copy)]
pub(super) struct EntryService;

/// A call of this stack.
pub(super) struct StackCall<S, Request>(pub(super) S, pub(super) Request);

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
    pub(super) struct EntryFuture<S, Request>
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
        // The job is there already, so that the call begins none.
        this.call.poll(this.membership, cx, |_| {})
    }
}

/// A call that the limit turned away: its job begins and ends, and nothing is executed.
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

/// What came out instead of a response.
pub(super) enum Failure<E> {
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

/// Keeps the two apart, as what the caller sees is not made before the job is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct SplitErrors;

impl<T, E> OnReject<Cancelled, T, E> for SplitErrors {
    type Error = Failure<E>;

    fn reject(&self, cancelled: Cancelled) -> Result<T, Failure<E>> {
        Err(Failure::Cancelled(cancelled))
    }

    fn pass(&self, error: E) -> Failure<E> {
        Failure::Own(error)
    }
}
