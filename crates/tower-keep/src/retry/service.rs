use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    future::ResponseFuture,
    layer::RetryLayer,
    policy::{OnError, Policy},
    request::{ByClone, CloneRequest},
    shared::Shared,
};
use crate::job::{panic::before_service, seat::Seat};

/// The service that [`RetryLayer`] makes.
#[derive(Clone)]
pub struct Retry<S, P = OnError, C = ByClone> {
    inner: S,
    shared: Arc<Shared<S, P, C>>,
}

impl<S: Clone, P, C> Retry<S, P, C> {
    pub(super) fn new(inner: S, layer: RetryLayer<P, C>) -> Self {
        let shared = Shared::new(layer, inner.clone());
        Self {
            inner,
            shared: Arc::new(shared),
        }
    }
}

impl<S: Clone, P: Clone, C: Clone> Layer<S> for RetryLayer<P, C> {
    type Service = Retry<S, P, C>;

    fn layer(&self, inner: S) -> Retry<S, P, C> {
        Retry::new(inner, self.clone())
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

    #[inline(always)]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: Request) -> Self::Future {
        let layer = &self.shared.layer;
        let end = self.shared.begin();
        let kept = if layer.settings.max_retries > 0 {
            before_service(|| layer.clone_request.clone_request(&request))
        } else {
            None
        };
        let (seat, future) = Seat::call(|| self.inner.call(request));
        ResponseFuture::new(future, kept, end, Arc::clone(&self.shared), seat)
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
