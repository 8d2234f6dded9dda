//! `Retry`, the service: starts the first attempt and returns the response future.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    future::{ResponseFuture, RetryCall},
    hooks::HookSet,
    layer::RetryLayer,
    policy::{Attempt, OnError, Policy},
    respond::Responds,
    shared_layer::SharedLayer,
};
use crate::{
    job::{
        membership::{Membership, call_attempt},
        panic::before_service,
    },
    sharded::Sharded,
};

/// The service that [`RetryLayer`] makes: it retries failed calls of the inner service.
pub struct Retry<S, P = OnError, X = HookSet> {
    inner: S,
    shared: Sharded<SharedLayer<P, X>>,
}

impl<S, P, X> Retry<S, P, X> {
    /// A reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// A mutable reference to the inner service. Direct calls to it are not retried.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service: the instance that the next call would use.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone, P, X> Clone for Retry<S, P, X> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: self.shared.spread(),
        }
    }
}

impl<S, P, X> Layer<S> for RetryLayer<P, X>
where
    P: Clone,
    X: Clone,
{
    type Service = Retry<S, P, X>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry {
            inner,
            shared: Sharded::new(SharedLayer::new(self.clone())),
        }
    }
}

impl<S, P, X, Request> Service<Request> for Retry<S, P, X>
where
    S: Service<Request> + Clone,
    S::Error: fmt::Display,
    P: Policy<Request, S::Response, S::Error>,
    X: Responds<S, Request, P>,
{
    type Response = X::Output;
    type Error = S::Error;
    type Future = ResponseFuture<S, Request, P, X>;

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if X::WAITS {
            // `poll_ready` of the inner service comes after the hook: the hook must hold no
            // readiness.
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, mut request: Request) -> Self::Future {
        self.shared.follow_thread();
        let layer = &self.shared.layer;
        let budget = match X::BUDGET_YIELDS && layer.settings.budget.is_some() {
            true => None,
            false => before_service(|| layer.hooks.budget(&request)),
        };
        let deadline = self.shared.begin(budget.as_ref(), self.shared.number());
        let max_retries = before_service(|| layer.hooks.max_retries(&request))
            .unwrap_or(layer.settings.max_retries);
        let seen = before_service(|| layer.policy.see(&request));
        let is_bodiless = layer.hooks.is_bodiless(&request);
        let call = RetryCall {
            seen,
            budget,
            max_retries,
            deadline,
            shared: Arc::clone(&self.shared),
        };
        if X::WAITS {
            let next = self.inner.clone();
            let called = mem::replace(&mut self.inner, next);
            return ResponseFuture::preparing(called, request, call, is_bodiless);
        }
        let kept = if max_retries > 0 {
            before_service(|| layer.hooks.keep(&mut request))
        } else {
            None
        };
        if X::CHANGES {
            let membership = Membership::without_call();
            let first = Attempt::first(max_retries, &membership);
            before_service(|| layer.hooks.change(&mut request, &first));
        }
        let (membership, (future, next)) = Membership::call(|| {
            let future = call_attempt(|| self.inner.call(request));
            // A clone made after the call has the state of the called instance. It is made only if
            // the request can be repeated.
            let next = kept.map(|kept| (self.inner.clone(), kept));
            (future, next)
        });
        ResponseFuture::calling(future, next, call, membership.begun(is_bodiless))
    }
}

impl<S: fmt::Debug, P, X> fmt::Debug for Retry<S, P, X> {
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

    /// Clones made in several threads use different reference counts.
    #[test]
    fn a_clone_has_the_count_of_its_thread() {
        let service = RetryLayer::new().layer(());
        let numbers = of_threads(|| service.clone().clone().shared.number());
        assert!(numbers.len() > SHARDS / 2, "{numbers:?}");
    }

    /// This also holds if one thread made all clones.
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
