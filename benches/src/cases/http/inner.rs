//! The inner service: a server in memory, for requests of the crate http and of reqwest.

use std::{
    future::Future,
    hint::black_box,
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use reqwest::{ResponseBuilderExt, Url};
use reqwest_middleware::{Middleware, Next};
use tower::{BoxError, Service};

use super::{HttpRequest, URL};

/// Answers at once or after it was pending once. A clone costs a reference at most.
#[derive(Clone)]
pub(super) struct Server {
    pends: bool,
    /// Every other answer is a 503, if there is this.
    fails: Option<Arc<AtomicBool>>,
    url: Arc<Url>,
}

impl Server {
    pub(super) fn ready() -> Self {
        Self {
            pends: false,
            fails: None,
            url: Arc::new(URL.parse().expect("a valid URL")),
        }
    }

    pub(super) fn pending_once() -> Self {
        Self {
            pends: true,
            ..Self::ready()
        }
    }

    pub(super) fn failing_first() -> Self {
        Self {
            fails: Some(Arc::default()),
            ..Self::ready()
        }
    }

    fn status(&self) -> StatusCode {
        let fails = |fails: &Arc<AtomicBool>| !fails.fetch_xor(true, Ordering::Relaxed);
        match self.fails.as_ref().is_some_and(fails) {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::OK,
        }
    }

    fn answer<T, E>(&self, response: T) -> Answer<T, E> {
        Answer {
            pends: black_box(self.pends),
            response: Some(response),
            error: PhantomData,
        }
    }

    fn http(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = self.status();
        response
    }

    fn reqwest(&self) -> reqwest::Response {
        let response = Response::builder()
            .status(self.status())
            .url(Url::clone(&self.url))
            .body(reqwest::Body::default());
        response.expect("a valid response").into()
    }
}

impl Service<HttpRequest> for Server {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Answer<Self::Response, BoxError>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, _: HttpRequest) -> Self::Future {
        self.answer(self.http())
    }
}

impl Service<reqwest::Request> for Server {
    type Response = reqwest::Response;
    type Error = reqwest::Error;
    type Future = Answer<reqwest::Response, reqwest::Error>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), reqwest::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, _: reqwest::Request) -> Self::Future {
        self.answer(self.reqwest())
    }
}

/// As the last middleware, in place of the client. Its future is boxed, as the client's is there.
#[async_trait::async_trait]
impl Middleware for Server {
    async fn handle(
        &self,
        _: reqwest::Request,
        _: &mut http::Extensions,
        _: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        Ok(self.answer::<_, reqwest::Error>(self.reqwest()).await?)
    }
}

/// The future of the calls of [`Server`].
pub(super) struct Answer<T, E> {
    pends: bool,
    response: Option<T>,
    error: PhantomData<fn() -> E>,
}

impl<T: Unpin, E> Future for Answer<T, E> {
    type Output = Result<T, E>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::take(&mut self.pends) {
            return Poll::Pending;
        }
        Poll::Ready(Ok(self.response.take().expect("polled after it was ready")))
    }
}
