//! A reqwest client behind the layers.

use std::{num::NonZeroU32, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use reqwest::{Method, Request, Response, Url};
use tower::{Service, ServiceBuilder};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, LogLayer, ProgressLayer, RetryLayer,
    TimeoutLayer,
};
use tower_keep_tests::servers::{LONG, SHORT, SOON, Server, reqwest_client};

use crate::layers::{Keep, upstream_errors};

mod cancellation;
mod circuit;
mod duplicates;
mod errors;
mod limits;
mod retries;

fn request(server: &Server, path: &str) -> Request {
    Request::new(Method::GET, server.url(path).parse().unwrap())
}

fn dedup_key(request: &Request) -> Option<(Method, Url)> {
    (request.method() == Method::GET).then(|| (request.method().clone(), request.url().clone()))
}

/// A response that can be cloned. Collected within the stack, so that a limit covers the body too.
async fn collect(response: Response) -> Result<http::Response<Bytes>, reqwest::Error> {
    let (head, body) = http::Response::<reqwest::Body>::from(response).into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(http::Response::from_parts(head, body))
}

/// All seven layers around reqwest, which streams its response.
fn client(
    attempt: Duration,
) -> (
    impl Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone,
    Keep,
) {
    let progress = ProgressLayer::new();
    let cancel = CancelLayer::new();
    let circuit = CircuitBreakerLayer::new()
        .named("upstream")
        .failure_threshold(1)
        .cooldown(SHORT)
        .probe_timeout(LONG)
        .half_open_probes(NonZeroU32::MIN)
        .classify(upstream_errors::<BoxError>);
    let keep = Keep::new(&progress, &cancel, circuit.handle());
    let client = ServiceBuilder::new()
        .layer(LogLayer::to(keep.seen.clone()).classify(upstream_errors::<BoxError>))
        .layer(progress)
        .layer(cancel)
        .layer(DedupLayer::new(dedup_key))
        .layer(circuit)
        .layer(TimeoutLayer::new(LONG))
        .layer(
            RetryLayer::new()
                .max_retries(2)
                .base_delay(SOON)
                .classify(upstream_errors::<BoxError>)
                .clone_with(tower_keep_tests::servers::repeat),
        )
        .layer(TimeoutLayer::new(attempt).per_attempt())
        .service(reqwest_client());
    (client, keep)
}
