//! Which instance of the inner service an attempt goes to.

use std::{
    future::{Future, Ready, ready},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tower::{Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimitLayer};
use tower_keep::{
    BoxError, CircuitBreakerLayer, LogLayer, Pipeline, RetryLayer, TimeoutLayer, retry::Decision,
};
use tower_keep_tests::*;

/// Each call goes to the next of three endpoints, the first of which is down. What comes next is
/// known to the instance alone.
#[derive(Clone)]
struct RoundRobin {
    next: usize,
    asked: Arc<Mutex<Vec<usize>>>,
}

impl RoundRobin {
    fn new() -> Self {
        Self {
            next: 0,
            asked: Arc::default(),
        }
    }
}

impl Service<u32> for RoundRobin {
    type Response = u32;
    type Error = BoxError;
    type Future = Ready<Result<u32, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        let endpoint = self.next;
        self.next = (endpoint + 1) % 3;
        self.asked.lock().unwrap().push(endpoint);
        ready(if endpoint == 0 {
            Err("down".into())
        } else {
            Ok(endpoint as u32)
        })
    }
}

/// R66 A retry goes to what the called instance would do next: a round-robin asks the next
/// endpoint.
#[tokio::test(start_paused = true)]
async fn a_round_robin_goes_on() {
    let inner = RoundRobin::new();
    let asked = inner.asked.clone();
    let service = RetryLayer::new().layer(inner);
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
    assert_eq!(*asked.lock().unwrap(), [0, 1]);
}

/// R66 A round robin goes on through the layers between the retry and the service, and in the
/// pipeline. The calls that follow go on where the called instance stands.
#[tokio::test(start_paused = true)]
async fn a_round_robin_goes_on_inside_other_layers() {
    let inner = RoundRobin::new();
    let asked = inner.asked.clone();
    let mut service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(RetryLayer::new())
        .layer(CircuitBreakerLayer::new())
        .layer(TimeoutLayer::new(secs(1)).per_attempt())
        .service(inner);
    for _ in 0..2 {
        service.ready().await.unwrap().call(0).await.unwrap();
    }
    // The called instance stands at endpoint 1 after the first call, whatever its retry asked.
    assert_eq!(*asked.lock().unwrap(), [0, 1, 1]);

    let inner = RoundRobin::new();
    let asked = inner.asked.clone();
    let service = Pipeline::new().build().unwrap().layer(inner);
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
    assert_eq!(*asked.lock().unwrap(), [0, 1]);
}

/// Three attempts, each at the next endpoint: what a retry has learnt is not lost for the one
/// after.
#[tokio::test(start_paused = true)]
async fn each_attempt_learns_from_the_one_before() {
    let inner = RoundRobin::new();
    let asked = inner.asked.clone();
    let retry = RetryLayer::new()
        .max_retries(4)
        .decide_with(|_: &Result<u32, BoxError>, _| Decision::Retry);
    assert_eq!(retry.layer(inner).oneshot(0).await.unwrap(), 1);
    assert_eq!(*asked.lock().unwrap(), [0, 1, 2, 0, 1]);
}

/// Connects when it is first made ready, and keeps the connection.
#[derive(Clone)]
struct Lazy {
    connected: bool,
    connections: Arc<AtomicUsize>,
}

impl Service<u32> for Lazy {
    type Response = u32;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<u32, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if !self.connected {
            self.connected = true;
            self.connections.fetch_add(1, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        Box::pin(async { Err("no".into()) })
    }
}

/// R66 A service that connects when it is made ready connects once for all attempts.
#[tokio::test(start_paused = true)]
async fn a_lazy_connection_is_kept() {
    let inner = Lazy {
        connected: false,
        connections: Arc::default(),
    };
    let connections = inner.connections.clone();
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(inner);
    service.oneshot(0).await.unwrap_err();
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

/// Counts its clones.
struct Counted(Arc<AtomicUsize>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl Service<u32> for Counted {
    type Response = u32;
    type Error = BoxError;
    type Future = Ready<Result<u32, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        ready(Ok(request))
    }
}

/// R66 Where no second attempt is possible the service is not cloned, else once, by the call that
/// may need it; putting the layer around it clones nothing.
#[tokio::test(start_paused = true)]
async fn only_a_repeatable_call_clones_the_service() {
    for (layer, odd_repeats, expected) in [
        (RetryLayer::new(), true, [1, 2]),
        (RetryLayer::new(), false, [1, 1]),
        (RetryLayer::new().max_retries(0), true, [0, 0]),
    ] {
        let clones = Arc::new(AtomicUsize::new(0));
        let layer = layer
            .clone_with(move |request: &u32| (odd_repeats || request % 2 == 0).then_some(*request));
        let mut service = layer.layer(Counted(clones.clone()));
        let counts = [0, 1].map(|request| {
            let done = futures::FutureExt::now_or_never(async {
                service.ready().await.unwrap().call(request).await.unwrap();
            });
            assert!(done.is_some());
            clones.load(Ordering::Relaxed)
        });
        assert_eq!(counts, expected);
    }
}
