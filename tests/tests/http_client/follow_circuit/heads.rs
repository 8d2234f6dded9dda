//! What the head of a response decides, before its body is read.

use std::{num::NonZeroU32, time::Duration};

use tower::{Layer, ServiceExt};
use tower_keep::{
    CircuitBreakerLayer, Ratio,
    circuit_breaker::{State, Window},
};

use super::{super::follow::get, circuit, cut, in_a_row, page, read, server};

/// R84 A probe is decided by the head: its slot is free, and the circuit closes, while the body is
/// not read.
#[tokio::test(start_paused = true)]
async fn a_probe_ends_with_the_head() {
    let breaker = CircuitBreakerLayer::http().failure_threshold(0);
    let circuits = breaker.handle();
    let service = breaker.layer(server([(503, page()), (200, page()), (200, page())]));
    drop(service.clone().oneshot(get()).await.unwrap());
    assert_eq!(circuit(&circuits).state(), State::Open);
    tokio::time::advance(Duration::from_secs(31)).await;
    let probe = service.clone().oneshot(get()).await.unwrap();
    assert_eq!(circuit(&circuits).state(), State::Closed);
    let other = service.clone().oneshot(get()).await.unwrap();
    assert_eq!(read(other).await, Ok(()));
    assert_eq!(read(probe).await, Ok(()));
    assert_eq!(circuit(&circuits).snapshot().probes, 0);
    assert_eq!(circuit(&circuits).state(), State::Closed);
}

/// R84 A failed head of a probe opens the circuit at once.
#[tokio::test(start_paused = true)]
async fn a_failed_probe_opens_at_the_head() {
    let breaker = CircuitBreakerLayer::http().failure_threshold(0);
    let circuits = breaker.handle();
    let service = breaker.layer(server([(503, page()), (502, cut())]));
    drop(service.clone().oneshot(get()).await.unwrap());
    tokio::time::advance(Duration::from_secs(31)).await;
    let probe = service.oneshot(get()).await.unwrap();
    assert_eq!(circuit(&circuits).state(), State::Open);
    assert_eq!(circuit(&circuits).snapshot().opened, 2);
    assert!(read(probe).await.is_err());
    assert_eq!(circuit(&circuits).snapshot().opened, 2);
}

/// R84 The window has the head's outcome at the head, and the time of a slow call ends there.
#[tokio::test(start_paused = true)]
async fn the_head_is_in_the_window() {
    let breaker = CircuitBreakerLayer::http()
        .slow_call_rate(Ratio::HALF)
        .window(Window::calls(NonZeroU32::new(10).unwrap()));
    let circuits = breaker.handle();
    let service = breaker.layer(server([(200, page()), (200, cut())]));
    let first = service.clone().oneshot(get()).await.unwrap();
    assert_eq!(circuit(&circuits).snapshot().calls, 1);
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(read(first).await, Ok(()));
    let counts = circuit(&circuits).snapshot();
    assert_eq!(
        (counts.calls, counts.failures, counts.slow_calls),
        (1, 0, 0)
    );

    let second = service.oneshot(get()).await.unwrap();
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(read(second).await.is_err());
    let counts = circuit(&circuits).snapshot();
    // The head, and one more failure.
    assert_eq!(
        (counts.calls, counts.failures, counts.slow_calls),
        (3, 1, 0)
    );
}

/// R84 A failed head counts once, whatever its body does.
#[tokio::test(start_paused = true)]
async fn a_failed_head_counts_once() {
    let breaker = CircuitBreakerLayer::http();
    let circuits = breaker.handle();
    let service = breaker.layer(server([(503, cut()), (500, page())]));
    let first = service.clone().oneshot(get()).await.unwrap();
    assert_eq!(in_a_row(&circuits), 1);
    assert!(read(first).await.is_err());
    assert_eq!(in_a_row(&circuits), 1);
    let second = service.oneshot(get()).await.unwrap();
    assert_eq!(read(second).await, Ok(()));
    // A body that was read says nothing against the failed head.
    assert_eq!(in_a_row(&circuits), 2);
}

/// R84 A head that is ignored leaves the count. Its body can still fail.
#[tokio::test(start_paused = true)]
async fn an_ignored_head_counts_nothing() {
    let breaker = CircuitBreakerLayer::http();
    let circuits = breaker.handle();
    let service = breaker.layer(server([(503, page()), (429, page()), (429, cut())]));
    for (in_a_row_after, is_read) in [(1, true), (1, true), (2, false)] {
        let response = service.clone().oneshot(get()).await.unwrap();
        assert_eq!(read(response).await.is_ok(), is_read);
        assert_eq!(in_a_row(&circuits), in_a_row_after);
    }
}
