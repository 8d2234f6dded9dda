//! `CountUploads`, the service: wraps the body of each request.

use std::task::{Context, Poll};

use http::Request;
use http_body::Body;
use tower_service::Service;

use super::{body::UploadBody, count::UploadCount};

/// The service inside a [`ProgressLayer`](crate::ProgressLayer) with
/// [`uploads`](crate::ProgressLayer::uploads): `http::Request<B>` becomes
/// `http::Request<UploadBody<B>>`. Requests of reqwest stay as they are.
#[derive(Clone, Copy, Debug)]
pub struct CountUploads<S> {
    inner: S,
}

impl<S> CountUploads<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, mutably.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B> Service<Request<B>> for CountUploads<S>
where
    S: Service<Request<UploadBody<B>>>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> S::Future {
        let (head, body) = request.into_parts();
        let count = match super::is_empty(&body) {
            true => UploadCount::none(),
            false => UploadCount::of_call(&head.headers),
        };
        let body = UploadBody::new(body, count);
        self.inner.call(Request::from_parts(head, body))
    }
}

#[cfg(feature = "reqwest-0-13")]
impl<S> Service<reqwest::Request> for CountUploads<S>
where
    S: Service<reqwest::Request>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: reqwest::Request) -> S::Future {
        self.inner.call(request)
    }
}
