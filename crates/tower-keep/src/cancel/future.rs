//! The response future of `Cancel`.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::call_end::{FinishCall, Head};
use crate::{
    job::{
        Cancelled,
        membership::Membership,
        verdict::{self, VerdictKind},
    },
    reject::OnReject,
};

pin_project! {
    /// Waits for the response of a call to [`Cancel`](super::Cancel), or for its cancellation.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, O> {
        #[pin]
        state: State<F>,
        on_reject: O,
        membership: Membership,
    }
}

pin_project! {
    #[project = StateProj]
    pub(super) enum State<F> {
        Running { #[pin] call: F },
        Rejected { cancelled: Option<Cancelled> },
    }
}

impl<F, O> ResponseFuture<F, O> {
    pub(super) fn new(state: State<F>, on_reject: O, membership: Membership) -> Self {
        Self {
            state,
            on_reject,
            membership,
        }
    }
}

impl<F, O, T, E> Future for ResponseFuture<F, O>
where
    F: Future<Output = Result<Result<T, E>, Cancelled>>,
    O: OnReject<Cancelled, T, E>,
    F: FinishCall<T>,
    O::Error: fmt::Display,
{
    type Output = Result<F::Response, O::Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut kept = None;
        let outcome = match this.state.as_mut().project() {
            StateProj::Running { mut call } => {
                let outcome = ready!(this.membership.run(|| call.as_mut().poll(cx)));
                kept = call.keep();
                outcome
            }
            StateProj::Rejected { cancelled } => match cancelled.take() {
                Some(cancelled) => Err(cancelled),
                None => panic!("a cancellable call was polled after it was ready"),
            },
        };
        // A future that is kept after its end must not keep the job in the registry and its group.
        this.state.set(State::Rejected { cancelled: None });
        let result = match outcome {
            Ok(result) => this
                .membership
                .ask(|| result.map_err(|error| this.on_reject.pass(error))),
            Err(cancelled) => {
                verdict::leave(VerdictKind::Cancelled, this.on_reject.responds());
                this.membership.ask(|| this.on_reject.reject(cancelled))
            }
        };
        if !F::GOES_ON || result.is_err() {
            this.membership
                .finish_known(&result, |error| this.on_reject.as_error(error));
        }
        let membership = this.membership;
        Poll::Ready(F::finish(result, Head { membership, kept }))
    }
}

impl<F, O> fmt::Debug for ResponseFuture<F, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
