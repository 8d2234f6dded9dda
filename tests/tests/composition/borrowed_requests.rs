//! Settings that a request gives, where the request is borrowed: one service for requests of any
//! lifetime.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
    time::Duration,
};

use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, RetryLayer, TimeoutLayer,
    retry::{Attempt, RetryBudget},
};
use tower_keep_tests::*;

/// Answers with the length of the text.
#[derive(Clone)]
struct Length;

impl<'a> Service<&'a str> for Length {
    type Response = usize;
    type Error = BoxError;
    type Future = Ready<Result<usize, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: &'a str) -> Self::Future {
        ready(Ok(request.len()))
    }
}

/// Each request lives for one call only.
async fn lengths<L>(layer: L) -> Vec<usize>
where
    L: Layer<Length>,
    L::Service: for<'a> Service<&'a str, Response = usize, Error = BoxError>,
{
    let mut service = layer.layer(Length);
    let mut lengths = Vec::new();
    for n in [5, 50, 500] {
        let request = n.to_string();
        let service = service.ready().await.unwrap();
        lengths.push(service.call(&request).await.unwrap());
    }
    lengths
}

fn limit(request: &&str) -> Option<Duration> {
    Some(secs(request.len() as u64))
}

fn retries(request: &&str) -> Option<u32> {
    request.parse().ok()
}

fn budget(_: &&str) -> Option<RetryBudget> {
    None
}

fn drop_first(request: &mut &str, _: &Attempt<'_>) {
    *request = &request[1..];
}

fn repeat<'a>(request: &&'a str) -> Option<&'a str> {
    Some(*request)
}

fn length(request: &&str) -> usize {
    request.len()
}

fn key(request: &&str) -> Option<usize> {
    Some(request.len())
}

/// R78: a function of a borrowed request is a setting of requests of every lifetime.
#[tokio::test(start_paused = true)]
async fn a_function_takes_requests_of_every_lifetime() {
    let all = [1, 2, 3];
    assert_eq!(lengths(TimeoutLayer::none().limit_by(limit)).await, all);
    assert_eq!(
        lengths(TimeoutLayer::none().step_limit_by(limit)).await,
        all
    );
    assert_eq!(
        lengths(RetryLayer::new().max_retries_by(retries)).await,
        all
    );
    assert_eq!(lengths(RetryLayer::new().budget_by(budget)).await, all);
    assert_eq!(lengths(RetryLayer::new().clone_with(repeat)).await, all);
    assert_eq!(
        lengths(RetryLayer::new().before_attempt(drop_first)).await,
        [0, 1, 2]
    );
    assert_eq!(
        lengths(CircuitBreakerLayer::new().per_key(length)).await,
        all
    );
    assert_eq!(lengths(CancelLayer::new().group_by(key)).await, all);
    assert_eq!(lengths(DedupLayer::new(key)).await, all);
}
