//! A server that always gives the same answer, and the moments of the attempts.

use std::{
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use http::header::HeaderValue;
use tokio::time::Instant;
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_keep::{RetryLayer, TimeoutLayer, retry::Jitter};
use tower_keep_tests::*;
use tower_service::Service;

use super::{Choice, Fields, request, response};

/// A request of one client, with its response.
pub(super) trait Exchange: Sized {
    type Response;
    fn request(method: &str, choice: Choice) -> Self;
    fn response(status: u16, fields: &Fields) -> Self::Response;
}

impl Exchange for http::Request<String> {
    type Response = http::Response<String>;

    fn request(method: &str, choice: Choice) -> Self {
        let mut request = request(method);
        match choice {
            Choice::Key(key) => {
                let key = HeaderValue::from_static(key);
                request.headers_mut().insert("idempotency-key", key);
            }
            Choice::KeyButForbidden => {
                let key = HeaderValue::from_static("k");
                request.headers_mut().insert("idempotency-key", key);
                let forbidden = tower_keep::RepeatRequest::Forbidden;
                request.extensions_mut().insert(forbidden);
            }
            Choice::Extension(repeat) => {
                request.extensions_mut().insert(repeat);
            }
            _ => {}
        }
        request
    }

    fn response(status: u16, fields: &Fields) -> Self::Response {
        response(status, fields)
    }
}

/// reqwest hides the extensions of its requests.
impl Exchange for reqwest::Request {
    type Response = reqwest::Response;

    fn request(method: &str, choice: Choice) -> Self {
        let request = <http::Request<String> as Exchange>::request(method, choice);
        request.try_into().unwrap()
    }

    fn response(status: u16, fields: &Fields) -> Self::Response {
        response(status, fields).into()
    }
}

/// Answers always in the same way, at once.
#[derive(Clone)]
pub(super) struct Server {
    status: u16,
    fields: &'static Fields,
    start: Instant,
    moments: Arc<Mutex<Vec<Duration>>>,
}

impl Server {
    pub(super) fn new(status: u16, fields: &'static Fields) -> Self {
        Self {
            status,
            fields,
            start: Instant::now(),
            moments: Arc::default(),
        }
    }

    pub(super) fn moments(&self) -> Vec<Duration> {
        self.moments.lock().unwrap().clone()
    }
}

impl<R: Exchange> Service<R> for Server {
    type Response = R::Response;
    type Error = BoxError;
    type Future = Ready<Result<R::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> Self::Future {
        self.moments.lock().unwrap().push(self.start.elapsed());
        ready(Ok(R::response(self.status, self.fields)))
    }
}

/// The moments of the attempts, with no jitter and within 50 s. The caller gets the server's answer.
macro_rules! attempts {
    ($name:ident, $request:ty) => {
        pub(super) async fn $name(
            method: &str,
            choice: Choice,
            status: u16,
            fields: &'static Fields,
        ) -> Vec<Duration> {
            let server = Server::new(status, fields);
            let calls = server.clone();
            let request = <$request as Exchange>::request(method, choice);
            let stack = ServiceBuilder::new().layer(TimeoutLayer::new(secs(50)));
            // Each call has its own budget.
            let retry = RetryLayer::http().jitter(Jitter::None);
            let answer = match choice {
                Choice::RepeatBy(choice) => {
                    let retry = retry.repeat_by(move |_: &$request| choice);
                    stack.layer(retry).service(server).oneshot(request).await
                }
                Choice::EveryMethod => {
                    let retry = retry.retry_every_method();
                    stack.layer(retry).service(server).oneshot(request).await
                }
                Choice::Status500 => {
                    let retry = retry.retry_status(http::StatusCode::INTERNAL_SERVER_ERROR);
                    stack.layer(retry).service(server).oneshot(request).await
                }
                _ => stack.layer(retry).service(server).oneshot(request).await,
            };
            assert_eq!(answer.unwrap().status(), status);
            calls.moments()
        }
    };
}

attempts!(of_http, http::Request<String>);
attempts!(of_reqwest, reqwest::Request);
