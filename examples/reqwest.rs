//! A reqwest client behind CircuitBreaker, Timeout and Retry: after a failure a GET is sent again,
//! a POST is not. Run it: `cargo run --example reqwest`

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use axum::{Router, http::StatusCode};
use reqwest::{Client, Method, Request, Response};
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::retry::RetryBudget;
use tower_keep::{BoxError, CircuitBreakerLayer, Outcome, RetryLayer, TimeoutLayer};

static REQUESTS: AtomicU32 = AtomicU32::new(0);

async fn origin() -> StatusCode {
    match REQUESTS.fetch_add(1, Relaxed) {
        0 | 1 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    }
}

/// For the circuit and the retry alike: without it a 503 would be a success, as it is no error of
/// the client.
fn classify(result: &Result<Response, BoxError>) -> Outcome {
    match result {
        Ok(response) if !response.status().is_server_error() => Outcome::Success,
        _ => Outcome::Failure,
    }
}

/// The origin may have carried out a POST that failed.
fn repeat(request: &Request) -> Option<Request> {
    let idempotent = request.method().is_idempotent();
    idempotent.then(|| request.try_clone())?
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, Router::new().fallback(origin)).into_future());

    let retry = RetryLayer::for_clients().budget(RetryBudget::default()); // with jitter
    let client = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new().classify(classify))
        .layer(TimeoutLayer::new(Duration::from_secs(30)))
        .layer(retry.classify(classify).clone_with(repeat))
        .layer(TimeoutLayer::new(Duration::from_secs(10)).per_attempt())
        .service(Client::builder().no_proxy().build()?);

    for (method, expected) in [(Method::GET, (200, 3)), (Method::POST, (503, 1))] {
        REQUESTS.store(0, Relaxed);
        let request = Request::new(method.clone(), url.parse()?);
        let status = client.clone().oneshot(request).await?.status();
        let requests = REQUESTS.load(Relaxed);
        println!("{method}: {status}, requests made: {requests}");
        assert_eq!((status.as_u16(), requests), expected);
    }
    Ok(())
}
