//! Why a layer stopped a call is the business of that call alone.

use std::pin::pin;

use futures::{
    FutureExt,
    future::{Either, join, select},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, layer::layer_fn, service_fn};
use tower_keep::{BoxError, CircuitBreakerLayer, EventKind, RetryLayer, TimeoutLayer};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

/// Two calls that end at the same moment in tasks of their own, one by its time limit and one by
/// itself, are counted each by its own ending, whichever comes first.
#[tokio::test(start_paused = true)]
async fn calls_that_end_together_are_counted_apart() {
    for slow_first in [true, false] {
        let stack = |step: Step<u32, u32, BoxError>| {
            let breaker = CircuitBreakerLayer::new();
            let handle = breaker.handle();
            let service = ServiceBuilder::new()
                .layer(quiet())
                .layer(layer_fn(Spawned))
                .layer(breaker)
                .layer(TimeoutLayer::new(ms(10)).respond_with(|_| 99))
                .service(Scripted::new().step(step));
            (service.oneshot(0), handle)
        };
        let (slow, slow_circuit) = stack(Step::never());
        let (good, good_circuit) = stack(Step::answer(1).after(ms(10)));
        let (slow, good) = if slow_first {
            join(slow, good).await
        } else {
            let (good, slow) = join(good, slow).await;
            (slow, good)
        };
        assert_eq!((slow.unwrap(), good.unwrap()), (99, 1));
        assert_eq!(
            (
                slow_circuit.snapshot().failures_in_a_row,
                good_circuit.snapshot().failures_in_a_row
            ),
            (1, 0)
        );
    }
}

/// A call that an open circuit rejected in a task of its own does not keep the next call on that
/// thread from being retried.
#[tokio::test(start_paused = true)]
async fn a_rejection_in_a_task_stops_no_other_calls_retry() {
    let breaker = CircuitBreakerLayer::new();
    breaker.handle().force_open();
    let rejected = ServiceBuilder::new()
        .layer(quiet())
        .layer(layer_fn(Spawned))
        .layer(breaker.clone())
        .service(Scripted::<u32, u32>::new());
    let inner = Scripted::<u32, u32>::new().error("no").answer(1);
    let retried = ServiceBuilder::new()
        .layer(quiet())
        .layer(layer_fn(Spawned))
        .layer(RetryLayer::new())
        .service(inner.clone());
    let (rejected, retried) = join(rejected.oneshot(0), retried.oneshot(0)).await;
    rejected.unwrap_err();
    assert_eq!(retried, Ok(1));
    inner.calls().assert_finished();
}

/// A job that calls two services at once: the time limit of one says nothing about the other, whose
/// circuit counts a success.
#[tokio::test(start_paused = true)]
async fn one_branch_of_a_job_is_not_the_other() {
    let breaker = CircuitBreakerLayer::new();
    let handle = breaker.handle();
    let slow = TimeoutLayer::new(ms(10))
        .respond_with(|_| 99)
        .layer(Scripted::<u32, u32, BoxError>::new().never());
    let good = breaker.layer(Scripted::<u32, u32, BoxError>::new().answer_after(ms(10), 1));
    let both = service_fn(move |request: u32| {
        let (mut slow, mut good) = (slow.clone(), good.clone());
        for service_is_ready in [
            slow.ready().now_or_never().is_some(),
            good.ready().now_or_never().is_some(),
        ] {
            assert!(service_is_ready);
        }
        let (slow, good) = (slow.call(request), good.call(request));
        async move {
            let (slow, good) = join(slow, good).await;
            Ok::<_, BoxError>((slow?, good?))
        }
    });
    assert_eq!(quiet().layer(both).oneshot(0).await.unwrap(), (99, 1));
    assert_eq!(handle.snapshot().failures_in_a_row, 0);
}

/// A client call whose own time limit expired within it, and that goes on, is not why its parent
/// ends: the parent succeeds, and its circuit counts a success.
#[tokio::test(start_paused = true)]
async fn a_childs_timeout_is_not_its_parents() {
    let timeout = TimeoutLayer::new(ms(10))
        .per_attempt()
        .respond_with(|_| 9)
        .layer(Scripted::<u32, u32, BoxError>::new().never());
    // Swallows the response and waits on.
    let lingering = service_fn(move |request| {
        let call = timeout.clone().call(request);
        async move {
            let _swallowed = call.await;
            tokio::time::sleep(secs(1)).await;
            Ok::<u32, BoxError>(5)
        }
    });
    let client = quiet().layer(lingering);
    let (log, recorder) = recording();
    let breaker = CircuitBreakerLayer::new();
    let handle = breaker.handle();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(breaker)
        .service(service_fn(move |request| {
            let client = client.clone();
            async move {
                // The client call is polled, at the very moment its limit expires, before the wait
                // is seen to be over.
                let call = pin!(client.oneshot(request));
                match select(call, pin!(tokio::time::sleep(ms(10)))).await {
                    Either::Left(_) => Ok::<u32, BoxError>(0),
                    Either::Right(_) => Ok(1),
                }
            }
        }));
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
    assert_eq!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Succeeded)
    );
    assert_eq!(handle.snapshot().failures_in_a_row, 0);
}
