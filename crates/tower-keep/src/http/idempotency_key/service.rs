//! `IdempotencyKeys`, the service: sets the header.

use std::task::{Context, Poll};

use tower_service::Service;

use super::{
    key::{KeySource, RandomKey},
    layer::IdempotencyKeyLayer,
};
use crate::{http::HttpRequest, job::panic::before_service};

/// The service that [`IdempotencyKeyLayer`] makes: it sets the key of each call.
#[derive(Clone, Debug)]
pub struct IdempotencyKeys<S, K = RandomKey> {
    inner: S,
    layer: IdempotencyKeyLayer<K>,
}

impl<S, K> IdempotencyKeys<S, K> {
    pub(super) fn new(inner: S, layer: IdempotencyKeyLayer<K>) -> Self {
        Self { inner, layer }
    }

    /// A reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// A mutable reference to the inner service. Direct calls to it get no key.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, K, R> Service<R> for IdempotencyKeys<S, K>
where
    S: Service<R>,
    R: HttpRequest,
    K: KeySource<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: R) -> S::Future {
        let layer = &self.layer;
        let needs_key =
            !request.method().is_idempotent() && !request.headers().contains_key(&layer.header);
        if needs_key {
            if let Some(key) = before_service(|| layer.key.key(&request)) {
                let value = layer.value(key);
                request.headers_mut().insert(layer.header.clone(), value);
            }
        }
        self.inner.call(request)
    }
}
