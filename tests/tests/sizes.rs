//! How large the response futures are, in bytes, around a future of 16. A future is moved a few
//! times on its way to where it is polled, so each byte costs every call.
//!
//! The table holds upper bounds. A change that makes a future smaller lowers its line; a change
//! that raises a line has to be worth it.

#![cfg(target_pointer_width = "64")]

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use tower::{Layer, Service, ServiceBuilder};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, JobLayer, LogLayer, Pipeline,
    ProgressLayer, RetryLayer, TimeoutLayer,
};

/// As large as a handle to a client.
#[derive(Clone, Default)]
struct Inner(#[allow(dead_code, reason = "it takes its place")] Arc<()>);

struct Answer(u64, #[allow(dead_code, reason = "it takes its place")] u64);

impl Future for Answer {
    type Output = Result<u64, Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(self.0))
    }
}

impl Service<u64> for Inner {
    type Response = u64;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Answer {
        Answer(request, 0)
    }
}

fn size_with<L>(layer: L) -> usize
where
    L: Layer<Inner>,
    L::Service: Service<u64>,
{
    size_of_val(&layer.layer(Inner::default()).call(0))
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn futures_stay_small() {
    let key = |request: &u64| Some(*request);
    // What, how large it may be, how large it is.
    let table = [
        ("bare", 16, size_with(tower::layer::util::Identity::new())),
        ("JobLayer", 32, size_with(JobLayer::new("job"))),
        ("LogLayer", 32, size_with(LogLayer::new())),
        ("ProgressLayer", 32, size_with(ProgressLayer::new())),
        ("CancelLayer", 152, size_with(CancelLayer::new())),
        ("DedupLayer, reject", 80, size_with(DedupLayer::new(key))),
        (
            "DedupLayer, join",
            80,
            size_with(DedupLayer::new(key).join()),
        ),
        (
            "DedupLayer, latest",
            136,
            size_with(DedupLayer::new(key).latest()),
        ),
        (
            "DedupLayer, debounce",
            136,
            size_with(DedupLayer::new(key).debounce(MINUTE)),
        ),
        (
            "CircuitBreakerLayer",
            80,
            size_with(CircuitBreakerLayer::new()),
        ),
        ("TimeoutLayer", 224, size_with(TimeoutLayer::new(MINUTE))),
        (
            "TimeoutLayer, idle",
            224,
            size_with(TimeoutLayer::new(MINUTE).idle()),
        ),
        ("RetryLayer", 192, size_with(RetryLayer::new())),
        (
            "Log, Progress, Cancel",
            184,
            size_with(
                ServiceBuilder::new()
                    .layer(LogLayer::new())
                    .layer(ProgressLayer::new())
                    .layer(CancelLayer::new()),
            ),
        ),
        (
            "CircuitBreaker, Timeout, Retry",
            456,
            size_with(
                ServiceBuilder::new()
                    .layer(CircuitBreakerLayer::new())
                    .layer(TimeoutLayer::new(MINUTE))
                    .layer(RetryLayer::new()),
            ),
        ),
        (
            "Pipeline, no dedup",
            784,
            size_with(Pipeline::new().build().unwrap()),
        ),
        (
            "Pipeline, reject",
            824,
            size_with(Pipeline::new().dedup(DedupLayer::new(key)).build().unwrap()),
        ),
        (
            "Pipeline, join",
            824,
            size_with(
                Pipeline::new()
                    .dedup(DedupLayer::new(key).join())
                    .build()
                    .unwrap(),
            ),
        ),
    ];
    let mut larger = Vec::new();
    for (what, most, size) in table {
        println!("{what:32} {size:5} of {most:5}");
        if size > most {
            larger.push(format!("{what}: {size} bytes, {most} are allowed"));
        }
    }
    assert!(larger.is_empty(), "{larger:#?}");
}

/// A small HTTP client.
#[derive(Clone, Default)]
struct SmallClient(#[allow(dead_code, reason = "it takes its place")] Arc<()>);

struct SmallResponse(#[allow(dead_code, reason = "it takes its place")] [u64; 2]);

impl Future for SmallResponse {
    type Output = Result<http::Response<Full<Bytes>>, BoxError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(http::Response::default()))
    }
}

impl Service<http::Request<Full<Bytes>>> for SmallClient {
    type Response = http::Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = SmallResponse;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Full<Bytes>>) -> SmallResponse {
        SmallResponse([0; 2])
    }
}

/// The size of a type, and the length of its name: how long the compiler's messages and the symbols
/// of a program become.
#[derive(Clone, Copy, Debug)]
struct Extent {
    size: usize,
    name: usize,
}

impl Extent {
    const fn new(size: usize, name: usize) -> Self {
        Self { size, name }
    }

    fn of<T>() -> Self {
        Self::new(size_of::<T>(), std::any::type_name::<T>().len())
    }
}

/// The extents of a service and its future.
fn extents<S: Service<R>, R>(_: &S) -> [(&'static str, Extent); 2] {
    [
        ("service", Extent::of::<S>()),
        ("future", Extent::of::<S::Future>()),
    ]
}

/// The extent of the response body.
fn body_extent<S, R, B>(_: &S) -> (&'static str, Extent)
where
    S: Service<R, Response = http::Response<B>>,
{
    ("body", Extent::of::<B>())
}

/// R84 The stack of an HTTP client stays small: its service, its future and its response body, in
/// memory and by name. The bounds are a fifth above the present values.
#[test]
fn an_http_client_stays_small() {
    type Request = http::Request<Full<Bytes>>;

    let layer = Pipeline::http_client().build().unwrap();
    let small = layer.layer(SmallClient::default());
    let reqwest = layer.layer(reqwest::Client::new());
    let [service, future] = extents::<_, Request>(&small);
    let body = body_extent::<_, Request, _>(&small);
    let of_reqwest = extents::<_, reqwest::Request>(&reqwest);
    let found = [service, future, body].map(|found| ("small", found));
    let found = found
        .into_iter()
        .chain(of_reqwest.map(|found| ("reqwest", found)));
    let bounds = [
        Extent::new(490, 1618),
        Extent::new(1027, 1529),
        Extent::new(643, 750),
        Extent::new(490, 1638),
        Extent::new(1017, 1508),
    ];
    let mut larger = Vec::new();
    for ((client, (what, is)), most) in found.zip(bounds) {
        println!("{client:8} {what:8} {is:?} of {most:?}");
        if is.size > most.size || is.name > most.name {
            larger.push(format!("{what} of {client}: {is:?}, {most:?} is allowed"));
        }
    }
    assert!(larger.is_empty(), "{larger:#?}");
}
