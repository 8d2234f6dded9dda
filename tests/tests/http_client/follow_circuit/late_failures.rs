//! Which ends of a body count as one more failure.

use std::{num::NonZeroU32, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tower::{Layer, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelReason, CircuitBreakerLayer, LimitScope, cancel::Cancelled,
    circuit_breaker::State, find, timeout::Elapsed,
};

use super::{
    super::follow::{
        Step::{Data, Panics, Pends},
        get, poll,
    },
    circuit, cut, in_a_row, page, read, server,
};

/// R84 A server that truncates every body opens its circuit, with the error as the cause, although
/// every head is a success.
#[tokio::test(start_paused = true)]
async fn truncated_bodies_open_the_circuit() {
    let breaker = CircuitBreakerLayer::http().failure_threshold(2);
    let circuits = breaker.handle();
    let service = breaker.layer(server((0..3).map(|_| (200, cut()))));
    for failures in 1..=3 {
        let response = service.clone().oneshot(get()).await.unwrap();
        assert_eq!(circuit(&circuits).state(), State::Closed);
        assert!(read(response).await.is_err());
        if failures < 3 {
            assert_eq!(in_a_row(&circuits), failures);
        }
    }
    assert_eq!(circuit(&circuits).state(), State::Open);
    let cause = circuit(&circuits).snapshot().cause.unwrap();
    assert_eq!(&*cause, "unexpected end of file");
}

/// R84 A body that is read, or dropped by its reader at any point, ends the failures in a row.
#[tokio::test(start_paused = true)]
async fn other_ends_end_the_streak() {
    for frames in 0..=2 {
        let breaker = CircuitBreakerLayer::http().count_dropped();
        let circuits = breaker.handle();
        let body = vec![Data("a "), Data("page"), Pends];
        let service = breaker.layer(server([(200, cut()), (200, body), (200, page())]));
        let first = service.clone().oneshot(get()).await.unwrap();
        assert!(read(first).await.is_err());
        assert_eq!(in_a_row(&circuits), 1);
        let mut body = service.clone().oneshot(get()).await.unwrap().into_body();
        for _ in 0..frames {
            assert!(poll(&mut body).is_ready());
        }
        if frames == 2 {
            assert!(poll(&mut body).is_pending());
        }
        // The head alone says nothing yet.
        assert_eq!(in_a_row(&circuits), 1);
        drop(body);
        assert_eq!(in_a_row(&circuits), 0, "{frames}");
    }
}

/// R84 A body that fails after its probe closed the circuit is a failure of the closed circuit.
#[tokio::test(start_paused = true)]
async fn a_probe_whose_body_fails() {
    for threshold in [0, 1] {
        let breaker = CircuitBreakerLayer::http().failure_threshold(threshold);
        let circuits = breaker.handle();
        let heads = [(503, page()), (503, page())];
        let heads = heads.into_iter().take(threshold as usize + 1);
        let service = breaker.layer(server(heads.chain([(200, cut())])));
        for _ in 0..=threshold {
            drop(service.clone().oneshot(get()).await.unwrap());
        }
        tokio::time::advance(Duration::from_secs(31)).await;
        let probe = service.oneshot(get()).await.unwrap();
        assert_eq!(circuit(&circuits).state(), State::Closed);
        assert!(read(probe).await.is_err());
        if threshold == 0 {
            assert_eq!(circuit(&circuits).state(), State::Open);
        } else {
            assert_eq!(circuit(&circuits).state(), State::Closed);
            assert_eq!(in_a_row(&circuits), 1);
        }
    }
}

/// R84 A body that fails while more probes are needed opens the circuit again.
#[tokio::test(start_paused = true)]
async fn a_body_fails_in_the_half_open_state() {
    let breaker = CircuitBreakerLayer::http()
        .failure_threshold(0)
        .half_open_successes(NonZeroU32::new(2).unwrap());
    let circuits = breaker.handle();
    let service = breaker.layer(server([(503, page()), (200, cut()), (200, page())]));
    drop(service.clone().oneshot(get()).await.unwrap());
    tokio::time::advance(Duration::from_secs(31)).await;
    let probe = service.oneshot(get()).await.unwrap();
    assert_eq!(circuit(&circuits).state(), State::HalfOpen);
    assert_eq!(circuit(&circuits).snapshot().probes, 0);
    assert!(read(probe).await.is_err());
    assert_eq!(circuit(&circuits).state(), State::Open);
    assert_eq!(circuit(&circuits).snapshot().opened, 2);
}

/// R84 A body that fails after the circuit opened, or opened and closed, counts nothing.
#[tokio::test(start_paused = true)]
async fn a_later_generation_does_not_count_it() {
    for closes in [false, true] {
        let breaker = CircuitBreakerLayer::http().failure_threshold(0);
        let circuits = breaker.handle();
        let service = breaker.layer(server([(200, cut()), (503, page()), (200, page())]));
        let early = service.clone().oneshot(get()).await.unwrap();
        drop(service.clone().oneshot(get()).await.unwrap());
        assert_eq!(circuit(&circuits).state(), State::Open);
        let cause = circuit(&circuits).snapshot().cause;
        if closes {
            tokio::time::advance(Duration::from_secs(31)).await;
            drop(service.clone().oneshot(get()).await.unwrap());
            assert_eq!(circuit(&circuits).state(), State::Closed);
        }
        let state = circuit(&circuits).state();
        assert!(read(early).await.is_err());
        assert_eq!(circuit(&circuits).state(), state);
        assert_eq!(circuit(&circuits).snapshot().opened, 1);
        assert_eq!(circuit(&circuits).snapshot().cause, cause);
    }
}

/// R84 The same after a manual change, and in a disabled circuit.
#[tokio::test(start_paused = true)]
async fn manual_changes() {
    for change in ["reset", "disable", "force_open"] {
        let breaker = CircuitBreakerLayer::http().failure_threshold(0);
        let circuits = breaker.handle();
        let service = breaker.layer(server([(200, cut())]));
        let early = service.oneshot(get()).await.unwrap();
        let handle = circuit(&circuits);
        match change {
            "reset" => handle.reset(),
            "disable" => handle.disable(),
            _ => handle.force_open(),
        }
        assert!(read(early).await.is_err());
        assert_eq!(handle.snapshot().opened, 0, "{change}");
    }
}

/// The failures in a row after a call whose body ends with this error.
async fn ended_by(error: BoxError, ignore_timeouts: bool) -> u32 {
    let mut breaker = CircuitBreakerLayer::http();
    if ignore_timeouts {
        breaker = breaker.ignore_timeouts();
    }
    let circuits = breaker.handle();
    let error = std::sync::Mutex::new(Some(error));
    let service = breaker.layer(service_fn(move |_: Request<String>| {
        let error = error.lock().unwrap().take().unwrap();
        let frames = [Ok(Frame::data(Bytes::from("a "))), Err(error)];
        let response = Response::new(StreamBody::new(stream::iter(frames)));
        async move { Ok::<_, BoxError>(response) }
    }));
    let response = service.oneshot(get()).await.unwrap();
    response.into_body().collect().await.unwrap_err();
    in_a_row(&circuits)
}

/// R84 Only what speaks against the server counts: a local limit or a cancellation does not. A
/// limit on the time without progress, or on an attempt, is the server's.
#[tokio::test(start_paused = true)]
async fn which_errors_count() {
    let limit = |scope| Box::new(Elapsed::new(scope, Duration::from_secs(1), 1));
    let cancelled = |reason| Box::new(Cancelled::new(reason));
    let io = |kind| Box::new(std::io::Error::from(kind));
    for (scope, counts, ignoring) in [
        (LimitScope::Attempt, 1, 1),
        (LimitScope::Idle, 1, 0),
        (LimitScope::Overall, 0, 0),
        (LimitScope::Step("parse".into()), 0, 0),
    ] {
        assert_eq!(ended_by(limit(scope.clone()), false).await, counts);
        assert_eq!(ended_by(limit(scope), true).await, ignoring);
    }
    assert_eq!(ended_by(cancelled(CancelReason::Requested), false).await, 0);
    assert_eq!(ended_by(cancelled(CancelReason::TimedOut), false).await, 0);
    for kind in [
        std::io::ErrorKind::ConnectionReset,
        std::io::ErrorKind::UnexpectedEof,
        std::io::ErrorKind::TimedOut,
    ] {
        assert_eq!(ended_by(io(kind), false).await, 1, "{kind}");
    }
    assert_eq!(ended_by("unknown".into(), false).await, 1);
}

/// R84 A body that panics counts as a failure, as a call that panics does. The panic reaches the
/// reader.
#[tokio::test(start_paused = true)]
async fn a_body_that_panics() {
    let breaker = CircuitBreakerLayer::http().failure_threshold(0);
    let circuits = breaker.handle();
    let service = breaker.layer(server([(200, vec![Data("a "), Panics])]));
    let response = service.oneshot(get()).await.unwrap();
    let read = std::panic::AssertUnwindSafe(read(response)).catch_unwind();
    assert!(read.await.is_err());
    let cause = circuit(&circuits).snapshot().cause.unwrap();
    assert_eq!(&*cause, "a response body panicked");
}

/// R84 The error keeps its type through the guard.
#[tokio::test(start_paused = true)]
async fn the_error_keeps_its_type() {
    let service = CircuitBreakerLayer::http().layer(server([(200, cut())]));
    let body = service.oneshot(get()).await.unwrap().into_body();
    let error = body.collect().await.unwrap_err();
    assert!(find::<std::io::Error>(&*error).is_some());
}
