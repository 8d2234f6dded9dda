//! The response future where duplicates are rejected.

use std::{
    fmt,
    future::Future,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{error::Duplicate, execution::Execution};
use crate::{
    job::{
        membership::Membership,
        verdict::{self, VerdictKind},
    },
    reject::OnReject,
};

pin_project! {
    /// The response future of [`Dedup`](super::Dedup) where duplicates are rejected.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Request, K, O>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        #[pin]
        state: State<S, Request, K>,
        on_reject: O,
        membership: Membership,
    }
}

pin_project! {
    #[project = StateProj]
    pub(super) enum State<S, Request, K>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        Executing { #[pin] execution: Execution<S, Request, K> },
        Rejected { duplicate: Option<Duplicate> },
    }
}

impl<S, Request, K, O> ResponseFuture<S, Request, K, O>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    pub(super) fn new(state: State<S, Request, K>, on_reject: O, membership: Membership) -> Self {
        Self {
            state,
            on_reject,
            membership,
        }
    }
}

impl<S, Request, K, O> Future for ResponseFuture<S, Request, K, O>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
    O: OnReject<Duplicate, S::Response, S::Error>,
    O::Error: fmt::Display,
{
    type Output = Result<S::Response, O::Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.state.project() {
            StateProj::Executing { mut execution } => {
                let result = ready!(execution.as_mut().poll(this.membership, cx));
                execution.release();
                this.membership
                    .ask(|| result.map_err(|error| this.on_reject.pass(error)))
            }
            StateProj::Rejected { duplicate } => {
                let Some(duplicate) = duplicate.take() else {
                    panic!("a rejected call was polled after it was ready");
                };
                // First, as the closure may panic: its job has not started.
                verdict::leave(VerdictKind::Duplicate, this.on_reject.responds());
                this.membership.ask(|| this.on_reject.reject(duplicate))
            }
        };
        this.membership
            .finish_known(&result, |error| this.on_reject.as_error(error));
        Poll::Ready(result)
    }
}

impl<S, Request, K, O> fmt::Debug for ResponseFuture<S, Request, K, O>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
