use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tower_service::Service;

use super::{
    future::ResponseFuture,
    layer::RetryLayer,
    policy::{ByClone, CloneRequest, OnError, Policy},
};
use crate::job::seat::Seat;

/// The service that [`RetryLayer`] makes.
#[derive(Clone)]
pub struct Retry<S, P = OnError, C = ByClone> {
    inner: S,
    shared: Arc<Shared<S, P, C>>,
}

/// What a call takes along with one reference count.
pub(super) struct Shared<S, P, C> {
    pub(super) layer: RetryLayer<P, C>,
    /// Cloned when a second attempt comes: a call that succeeds clones no service.
    template: Mutex<S>,
}

impl<S: Clone, P, C> Shared<S, P, C> {
    /// A service for another attempt, not ready.
    #[cold]
    pub(super) fn service(&self) -> S {
        // The service's own `Clone` runs under this lock. Nothing else ever does, so it could only wait for itself.
        self.template
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl<S: Clone, P, C> Retry<S, P, C> {
    pub(super) fn new(inner: S, layer: RetryLayer<P, C>) -> Self {
        let template = Mutex::new(inner.clone());
        Self {
            inner,
            shared: Arc::new(Shared { layer, template }),
        }
    }
}

impl<S, P, C, Request> Service<Request> for Retry<S, P, C>
where
    S: Service<Request> + Clone,
    S::Error: fmt::Display,
    P: Policy<S::Response, S::Error>,
    C: CloneRequest<Request>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Request, P, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.shared.layer;
        let kept = if layer.max_retries > 0 {
            layer.clone_request.clone_request(&request)
        } else {
            None
        };
        let (seat, future) = Seat::call(|| self.inner.call(request));
        ResponseFuture::new(future, kept, Arc::clone(&self.shared), seat)
    }
}

impl<S: fmt::Debug, P, C> fmt::Debug for Retry<S, P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("inner", &self.inner)
            .field("layer", &self.shared.layer)
            .finish()
    }
}
