//! Pipelines that were built, and pipelines that are made of their clones.

use tower::{Layer, service_fn};
use tower_keep::{BoxError, CircuitBreakerLayer, Pipeline, TimeoutLayer, circuit_breaker::State};
use tower_keep_test::secs;

/// Rule 1: a service that a clone of the pipeline made is a use of its layers, also once the built
/// layer is gone, as a `ServiceBuilder` leaves it.
#[tokio::test(start_paused = true)]
async fn a_setter_leaves_the_services_of_a_built_clone_alone() {
    let breaker = CircuitBreakerLayer::new();
    let handle = breaker.handle();
    let base = Pipeline::new().circuit_breaker(breaker);
    let service = base
        .clone()
        .build()
        .unwrap()
        .layer(service_fn(|request: u32| async move {
            Ok::<_, BoxError>(request)
        }));
    let other = base.timeout(TimeoutLayer::new(secs(70))).build().unwrap();
    other.circuit_breaker().handle().force_open();
    assert_eq!(handle.state(), State::Closed, "the service's circuit");
    drop(service);
}
