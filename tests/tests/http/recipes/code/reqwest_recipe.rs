//! README: wrap a reqwest client.

use bytes::Bytes;
use http_body_util::BodyExt;
use reqwest::{
    Client, Method, Request, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderValue, RETRY_AFTER},
};
use std::{borrow::Cow, time::Duration};
use tower::{Service, ServiceBuilder};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, Classify, DedupLayer, LogLayer, Outcome,
    RetryLayer, TimeoutLayer, describe_error,
    retry::{RetryBudget, RetryBudgets},
};

pub(crate) type Page = http::Response<Bytes>;

/// What failed, for the log, the circuits and the retries alike.
#[derive(Clone, Copy)]
struct ServerErrors;

impl Classify<Page, BoxError> for ServerErrors {
    fn classify(&self, result: &Result<Page, BoxError>) -> Outcome {
        match result {
            Ok(page) if page.status().is_server_error() => Outcome::Failure,
            Ok(page) if page.status() == StatusCode::TOO_MANY_REQUESTS => Outcome::Failure,
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Failure,
        }
    }

    /// Reads `Retry-After` in seconds. For a date, the normal backoff applies.
    fn retry_after(&self, result: &Result<Page, BoxError>) -> Option<Duration> {
        let seconds = result
            .as_ref()
            .ok()?
            .headers()
            .get(RETRY_AFTER)?
            .to_str()
            .ok()?;
        seconds.parse().ok().map(Duration::from_secs)
    }

    fn describe(&self, result: &Result<Page, BoxError>) -> Option<Cow<'static, str>> {
        Some(match result {
            Ok(page) => format!("the server answered {}", page.status()).into(),
            Err(error) => describe_error(&**error).into(),
        })
    }
}

/// Only what may be done twice is tried again: not a POST, which may have placed an order before it
/// failed.
fn repeat(request: &Request) -> Option<Request> {
    request
        .method()
        .is_idempotent()
        .then(|| request.try_clone())
        .flatten()
}

/// Each host has a circuit and a retry budget of its own, so that one dead host does not block the
/// others.
fn host(request: &Request) -> String {
    request.url().origin().ascii_serialization()
}

/// What is asked for, and who asks. If the client uses cookies, they belong here too, as does any
/// other header that the answer depends on. `None` is never joined.
fn key(request: &Request) -> Option<(Url, Option<HeaderValue>)> {
    let user = request.headers().get(AUTHORIZATION).cloned();
    (request.method() == Method::GET).then(|| (request.url().clone(), user))
}

/// Within the stack, so that the limits cover the body and a response can be shared.
async fn collect(response: Response) -> Result<Page, reqwest::Error> {
    let (head, body) = http::Response::<reqwest::Body>::from(response).into_parts();
    Ok(http::Response::from_parts(
        head,
        body.collect().await?.to_bytes(),
    ))
}

pub(crate) fn fetcher(
    client: Client,
) -> impl Service<Request, Response = Page, Error = BoxError, Future: Send> + Clone {
    let budgets = RetryBudgets::new(RetryBudget::default());
    ServiceBuilder::new()
        .layer(LogLayer::new().classify(ServerErrors))
        .layer(CancelLayer::new())
        .layer(DedupLayer::new(key).join())
        .layer(
            CircuitBreakerLayer::new()
                .per_key(host)
                .classify(ServerErrors),
        )
        .layer(TimeoutLayer::new(Duration::from_secs(60)))
        .layer(
            RetryLayer::for_clients()
                .classify(ServerErrors)
                .clone_with(repeat)
                .budget_by(move |request: &Request| Some(budgets.get(&host(request)))),
        )
        .layer(TimeoutLayer::new(Duration::from_secs(10)).per_attempt())
        .and_then(collect)
        .service(client)
}
