//! The service inside a Retry, a Timeout or a CircuitBreaker can be reached, and nothing that it or
//! the layer knows is lost.

use tower::{Layer, Service, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, RetryLayer, TimeoutLayer,
    circuit_breaker::{CircuitBreaker, State},
    retry::Retry,
    timeout::Timeout,
};

use tower_keep_tests::*;

/// Counts its calls, and fails while `fails` is set.
#[derive(Clone, Debug, Default)]
struct Counting {
    calls: u32,
    fails: bool,
}

impl Service<u32> for Counting {
    type Response = u32;
    type Error = BoxError;
    type Future = std::future::Ready<Result<u32, BoxError>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        self.calls += 1;
        std::future::ready(match self.fails {
            true => Err("broken".into()),
            false => Ok(request),
        })
    }
}

/// R17 Around a success the inner service of a retry is the instance that was called.
#[tokio::test(start_paused = true)]
async fn of_a_retry() {
    let mut service: Retry<Counting> = RetryLayer::new().layer(Counting::default());
    for request in 0..3 {
        let answer = service.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(answer, request);
    }
    assert_eq!(service.get_ref().calls, 3);
    service.get_mut().fails = true;
    // The attempts after the first go to a clone made after it.
    service.ready().await.unwrap().call(0).await.unwrap_err();
    assert_eq!(service.get_ref().calls, 4);
    let inner = service.into_inner();
    assert!(inner.fails && inner.calls == 4);
}

/// R12 The inner service of a time limit, with a limit that tracks the job too.
#[tokio::test(start_paused = true)]
async fn of_a_timeout() {
    for layer in [
        TimeoutLayer::new(secs(1)),
        TimeoutLayer::new(secs(1)).idle(),
        TimeoutLayer::new(secs(1)).grace(secs(1)),
    ] {
        let mut service: Timeout<Counting> = layer.layer(Counting::default());
        service.ready().await.unwrap().call(1).await.unwrap();
        assert_eq!(service.get_ref().calls, 1);
        service.get_mut().fails = true;
        service.ready().await.unwrap().call(1).await.unwrap_err();
        let inner = service.into_inner();
        assert!(inner.fails && inner.calls == 2);
    }
}

/// R38 A circuit outlives the service: what was counted stays with the layer, and a direct call is
/// not counted.
#[tokio::test(start_paused = true)]
async fn of_a_circuit_breaker() {
    let layer = CircuitBreakerLayer::new().failure_threshold(1);
    let handle = layer.handle();
    let mut service: CircuitBreaker<Counting> = layer.layer(Counting::default());
    service.get_mut().fails = true;
    service.ready().await.unwrap().call(1).await.unwrap_err();
    assert_eq!(service.get_ref().calls, 1);
    service.get_mut().call(1).await.unwrap_err();
    assert_eq!(handle.snapshot().failures_in_a_row, 1);
    let inner = service.into_inner();
    assert!(inner.fails && inner.calls == 2);
    let mut again = layer.layer(inner);
    again.ready().await.unwrap().call(1).await.unwrap_err();
    assert_eq!(handle.state(), State::Open);
}

/// R38 A service that is taken apart while it is ready gives back the place that its readiness
/// reserved.
#[tokio::test(start_paused = true)]
async fn a_reserved_probe_is_given_back() {
    let layer = CircuitBreakerLayer::new().backpressure();
    let handle = layer.handle();
    handle.force_open_for(secs(1));
    tokio::time::sleep(secs(1)).await;
    let mut service = layer.layer(Counting::default());
    service.ready().await.unwrap();
    assert_eq!(handle.snapshot().probes, 1);
    let inner = service.into_inner();
    assert_eq!(handle.snapshot().probes, 0);
    layer.layer(inner).oneshot(1).await.unwrap();
    assert_eq!(handle.state(), State::Closed);
}
