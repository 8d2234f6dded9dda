//! `SendDeadline`, the service: sets the header.

use std::task::{Context, Poll};

use tokio::time::Instant;
use tower_service::Service;

use super::layer::SendDeadlineLayer;
use crate::{http::HttpRequest, job::context};

/// The service that [`SendDeadlineLayer`] makes: it sends the remaining time with each request.
#[derive(Clone, Debug)]
pub struct SendDeadline<S> {
    inner: S,
    layer: SendDeadlineLayer,
}

impl<S> SendDeadline<S> {
    pub(super) fn new(inner: S, layer: SendDeadlineLayer) -> Self {
        Self { inner, layer }
    }

    /// A reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// A mutable reference to the inner service. Direct calls to it send no deadline.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, R> Service<R> for SendDeadline<S>
where
    S: Service<R>,
    R: HttpRequest,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: R) -> S::Future {
        if let Some(limit) = context::nearest_limit() {
            let remaining = limit.saturating_duration_since(Instant::now());
            self.layer.send(request.headers_mut(), remaining);
        }
        self.inner.call(request)
    }
}
