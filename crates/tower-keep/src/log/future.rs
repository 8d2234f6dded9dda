//! The response future of Log, which classifies the result.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use crate::{
    classify::{Classify, Outcome, describe},
    job::{membership::Membership, verdict},
};

pin_project! {
    /// The response future of [`Log`](super::Log).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, C> {
        #[pin]
        future: F,
        classify: C,
        membership: Membership,
    }
}

impl<F, C> ResponseFuture<F, C> {
    pub(super) fn new(membership: Membership, future: F, classify: C) -> Self {
        Self {
            future,
            classify,
            membership,
        }
    }
}

impl<F, C, T, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<T, E>>,
    E: fmt::Display,
    C: Classify<T, E>,
{
    type Output = Result<T, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.membership.run(|| this.future.poll(cx)));
        if result.is_err() {
            let describe = || describe(this.classify, &result);
            if let Some(text) = this
                .membership
                .is_heard()
                .then(|| this.membership.ask(describe))
                .flatten()
            {
                verdict::describe(text, false);
            }
        } else if this.classify.judges_responses() {
            this.membership
                .ask(|| match this.classify.classify(&result) {
                    Outcome::Failure => verdict::fail(describe(this.classify, &result)),
                    _ => verdict::succeed(),
                });
        }
        this.membership.finish(&result);
        Poll::Ready(result)
    }
}

impl<F: fmt::Debug, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("future", &self.future)
            .finish_non_exhaustive()
    }
}
