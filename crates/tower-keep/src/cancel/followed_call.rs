//! A call that goes on with the body of its response: `CancelLayer::http`.

use std::{
    future::Future,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{body_watch::BodyWatch, cancellable_call::CancellableCall};
use crate::job::Cancelled;

pin_project! {
    /// A call that stays in hand until the end of the response body.
    #[must_use = "futures do nothing unless polled"]
    pub struct FollowedCall<F, K>
    where
        K: Eq,
        K: Hash,
    {
        #[pin]
        call: CancellableCall<F, K>,
        goes_on: bool,
    }
}

impl<F, K: Eq + Hash> FollowedCall<F, K> {
    pub(super) fn new(call: CancellableCall<F, K>) -> Self {
        Self {
            call,
            goes_on: false,
        }
    }
}

impl<F, K: Eq + Hash + Send + Sync + 'static> FollowedCall<F, K> {
    /// What goes on after the response head.
    pub(crate) fn into_watch(self: Pin<&mut Self>) -> Option<BodyWatch> {
        let this = self.project();
        std::mem::take(this.goes_on).then(|| this.call.into_watch())?
    }
}

impl<F, T, E, K: Eq + Hash> Future for FollowedCall<F, K>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<Result<T, E>, Cancelled>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let goes_on = this.goes_on;
        this.call.poll_deciding(cx, |watch, result| {
            *goes_on = result.is_ok() && !watch.is_stopped();
            *goes_on || watch.decide()
        })
    }
}

impl<F, K: Eq + Hash> std::fmt::Debug for FollowedCall<F, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FollowedCall")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}
