//! The service.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    before_attempt::{AsItIs, BeforeAttempt},
    budgets::{ChooseBudget, OneBudget},
    future::{Call, ResponseFuture},
    give_up::{KeepOutcome, OnGiveUp},
    layer::RetryLayer,
    policy::{Attempt, OnError, Policy},
    request::{ByClone, CloneRequest},
    retries::{ChooseRetries, FixedRetries},
    shared::Shared,
};
use crate::{
    job::{
        membership::{Membership, call_attempt},
        panic::before_service,
    },
    sharded::Sharded,
};

/// The service that [`RetryLayer`] makes.
pub struct Retry<
    S,
    P = OnError,
    C = ByClone,
    H = KeepOutcome,
    B = OneBudget,
    N = FixedRetries,
    A = AsItIs,
> {
    inner: S,
    shared: Sharded<Shared<P, C, H, B, N, A>>,
}

impl<S: Clone, P, C, H, B, N, A> Clone for Retry<S, P, C, H, B, N, A> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: self.shared.spread(),
        }
    }
}

impl<S, P, C, H, B, N, A> Layer<S> for RetryLayer<P, C, H, B, N, A>
where
    P: Clone,
    C: Clone,
    H: Clone,
    B: Clone,
    N: Clone,
    A: Clone,
{
    type Service = Retry<S, P, C, H, B, N, A>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry {
            inner,
            shared: Sharded::new(Shared::new(self.clone())),
        }
    }
}

impl<S, P, C, H, B, N, A, Request> Service<Request> for Retry<S, P, C, H, B, N, A>
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
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Request, P, C, H, B, N, A>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if A::WAITS {
            // The service is asked once the hook is through: nothing may be held meanwhile.
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, mut request: Request) -> Self::Future {
        self.shared.follow_thread();
        let layer = &self.shared.layer;
        let budget = before_service(|| layer.choose_budget.choose(&request));
        let end = self.shared.begin(budget.as_ref(), self.shared.number());
        let max_retries = before_service(|| layer.choose_retries.choose(&request))
            .unwrap_or(layer.settings.max_retries);
        let seen = before_service(|| layer.policy.see(&request));
        let call = Call {
            seen,
            budget,
            max_retries,
            end,
            shared: Arc::clone(&self.shared),
        };
        if A::WAITS {
            let next = self.inner.clone();
            let called = mem::replace(&mut self.inner, next);
            return ResponseFuture::preparing(called, request, call);
        }
        let kept = if max_retries > 0 {
            before_service(|| layer.clone_request.clone_request(&request))
        } else {
            None
        };
        if A::CHANGES {
            let membership = Membership::without_call();
            let first = Attempt::first(max_retries, &membership);
            before_service(|| layer.before_attempt.change(&mut request, &first));
        }
        let (membership, (future, next)) = Membership::call(|| {
            let future = call_attempt(|| self.inner.call(request));
            // A clone made after the call knows what the instance that was called has learnt. Without
            // a request for another attempt there is none.
            let next = kept.map(|request| (self.inner.clone(), request));
            (future, next)
        });
        ResponseFuture::calling(future, next, call, membership)
    }
}

impl<S: fmt::Debug, P, C, H, B, N, A> fmt::Debug for Retry<S, P, C, H, B, N, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("inner", &self.inner)
            .field("layer", &self.shared.layer)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharded::{SHARDS, of_threads};

    /// Calls of clones that several threads made write to no reference count together.
    #[test]
    fn a_clone_has_the_count_of_its_thread() {
        let service = RetryLayer::new().layer(());
        let numbers = of_threads(|| service.clone().clone().shared.number());
        assert!(numbers.len() > SHARDS / 2, "{numbers:?}");
    }

    /// So it is where one thread made the clones for all.
    #[test]
    fn a_call_has_the_count_of_its_thread() {
        let inner = tower::service_fn(|(): ()| async { Ok::<_, std::io::Error>(()) });
        let service = RetryLayer::new().layer(inner);
        let clones = std::sync::Mutex::new(vec![service.clone(); SHARDS * 4]);
        let numbers = of_threads(|| {
            let mut clone = clones.lock().unwrap().pop().unwrap();
            drop(clone.call(()));
            clone.shared.number()
        });
        assert!(numbers.len() > SHARDS / 2, "{numbers:?}");
    }
}
