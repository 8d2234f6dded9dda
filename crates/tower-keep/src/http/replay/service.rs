//! `Replay`, the service: wraps the body of each request.

use std::task::{Context, Poll};

use http::Request;
use http_body::Body;
use tower_service::Service;

use super::body::ReplayBody;

/// The service that [`ReplayLayer`](super::ReplayLayer) makes: it makes request bodies repeatable.
#[derive(Clone, Debug)]
pub struct Replay<S> {
    inner: S,
    max_body: usize,
}

impl<S> Replay<S> {
    pub(super) fn new(inner: S, max_body: usize) -> Self {
        Self { inner, max_body }
    }

    /// A reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// A mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B> Service<Request<B>> for Replay<S>
where
    S: Service<Request<ReplayBody<B>>>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let (mut head, body) = request.into_parts();
        let (body, watch) = ReplayBody::watched(body, self.max_body);
        match watch {
            Some(watch) => head.extensions.insert(watch),
            // One of an outer layer says nothing about this body.
            None => head.extensions.remove(),
        };
        self.inner.call(Request::from_parts(head, body))
    }
}
