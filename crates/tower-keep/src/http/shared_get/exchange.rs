//! `Exchange`: runs a request once for all its callers, and collects an answer that they may share.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, response::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    answer::{Answer, Shared},
    body::{GetBody, ReadSoFar, with_bytes},
    request::GetRequest,
    response::ShareResponse,
    rules::{Shareable, shareable},
};
use crate::{
    error::BoxError,
    event::wall_time,
    job::verdict::{self, Carried},
};

/// The service that runs an exchange.
#[derive(Debug)]
pub struct Exchange<S> {
    inner: S,
    max_body: usize,
}

impl<S> Exchange<S> {
    pub(super) fn new(inner: S, max_body: usize) -> Self {
        Self { inner, max_body }
    }
}

impl<S, Request> Service<Request> for Exchange<S>
where
    S: Service<Request>,
    S::Response: ShareResponse,
    S::Error: Into<BoxError>,
    Request: GetRequest,
{
    type Response = Answer<<S::Response as ShareResponse>::Given>;
    type Error = BoxError;
    type Future = ExchangeFuture<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let asked = Asked {
            headers: request.headers().clone(),
            at: Instant::now(),
            max_body: self.max_body as u64,
        };
        ExchangeFuture {
            state: State::Calling {
                call: self.inner.call(request),
                asked: Some(asked),
            },
        }
    }
}

/// What the layer keeps of the request.
struct Asked {
    headers: HeaderMap,
    at: Instant,
    max_body: u64,
}

impl Asked {
    /// The values of the fields by which the answer varies.
    fn selecting(&self, vary: Vec<HeaderName>) -> Vec<(HeaderName, Vec<HeaderValue>)> {
        let values = |name| self.headers.get_all(name).iter().cloned().collect();
        vary.into_iter()
            .map(|name| (name.clone(), values(name)))
            .collect()
    }

    /// Whether an answer with this lifetime is still fresh: RFC 9111, section 4.2.
    fn is_fresh(&self, lifetime: Option<Duration>) -> bool {
        lifetime.is_none_or(|lifetime| self.at.elapsed() < lifetime)
    }
}

pin_project! {
    /// Waits for the head, and for the body of an answer that may be shared.
    pub struct ExchangeFuture<F, T>
    where
        T: ShareResponse,
    {
        #[pin]
        state: State<F, T>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, T>
    where
        T: ShareResponse,
    {
        Calling { #[pin] call: F, asked: Option<Asked> },
        Collecting { collecting: Option<Box<Collecting<T>>> },
    }
}

/// A body on its way.
struct Collecting<T: ShareResponse> {
    head: Parts,
    body: T::Body,
    read: ReadSoFar,
    asked: Asked,
    shareable: Shareable,
    /// What the layers inside said of the head.
    verdict: Carried,
}

impl<F, T, E> Future for ExchangeFuture<F, T>
where
    F: Future<Output = Result<T, E>>,
    T: ShareResponse,
    E: Into<BoxError>,
{
    type Output = Result<Answer<T::Given>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        if let StateProj::Calling { call, asked } = state.as_mut().project() {
            let response = ready!(call.poll(cx)).map_err(Into::into)?;
            let Some(asked) = asked.take() else {
                panic!("a call was polled after it was ready")
            };
            let now = wall_time(Instant::now());
            let shareable = shareable(response.status(), response.headers(), now)
                .filter(|shareable| asked.is_fresh(shareable.fresh))
                .filter(|_| response.least_length() <= asked.max_body);
            let Some(shareable) = shareable else {
                return Poll::Ready(Ok(Answer::of_one(response.pass())));
            };
            let (head, body) = response.split();
            let collecting = Collecting::<T> {
                head,
                body,
                read: ReadSoFar::default(),
                asked,
                shareable,
                verdict: verdict::peek(),
            };
            state.set(State::Collecting {
                collecting: Some(Box::new(collecting)),
            });
        }
        let StateProj::Collecting { collecting } = state.project() else {
            unreachable!("the head is there")
        };
        let Some(body) = collecting else {
            panic!("a call was polled after it was ready")
        };
        let is_whole = ready!(body.poll_read(cx))?;
        let Some(collecting) = collecting.take() else {
            unreachable!("it was polled")
        };
        let carried = collecting.verdict.clone();
        let answer = match is_whole && collecting.asked.is_fresh(collecting.shareable.fresh) {
            true => collecting.shared(),
            false => collecting.of_one(!is_whole),
        };
        verdict::leave_carried(carried);
        Poll::Ready(Ok(answer))
    }
}

impl<T: ShareResponse> Collecting<T> {
    /// Reads the body: to its end, or until it is too long (`false`).
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BoxError>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                return Poll::Ready(Ok(true));
            };
            match with_bytes(frame.map_err(Into::into)?).into_data() {
                Ok(data) => {
                    self.read.push(data);
                    if self.read.length() > self.asked.max_body {
                        return Poll::Ready(Ok(false));
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.read.trailers = Some(Box::new(trailers));
                    }
                }
            }
        }
    }

    fn shared(mut self) -> Answer<T::Given> {
        Answer::shared(Shared {
            head: self.head,
            trailers: self.read.trailers.take(),
            bytes: self.read.into_bytes(),
            vary: self.asked.selecting(self.shareable.vary),
        })
    }

    /// `goes_on`: the body has not ended.
    fn of_one(self, goes_on: bool) -> Answer<T::Given> {
        let rest = goes_on.then_some(self.body);
        let body = GetBody::resumed(self.read, rest);
        Answer::of_one(T::given(self.head, body))
    }
}

impl<F, T: ShareResponse> fmt::Debug for ExchangeFuture<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeFuture").finish_non_exhaustive()
    }
}
