//! Grace periods, and what stands inside them.

use std::sync::Arc;

use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CircuitBreakerLayer, Job, LogLayer, RetryLayer, TimeoutLayer, find, timeout::Elapsed,
};
use tower_keep_test::{Readiness, Recorder, Scripted, secs};

/// A retry that waits for its service to be ready has nothing running that could clean up: no grace, and no attempt
/// begins in it.
#[tokio::test(start_paused = true)]
async fn no_attempt_begins_in_the_grace_period() {
    for readiness in [Readiness::ok().after(secs(10)), Readiness::never()] {
        let inner = Scripted::<u32, u32>::new()
            .error("no")
            .answer(1)
            .readiness(Readiness::ok())
            .readiness(readiness);
        let calls = inner.calls();
        let began = tokio::time::Instant::now();
        let service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(secs(5)).grace(secs(60)))
            .layer(RetryLayer::new())
            .service(inner);
        let error = service.oneshot(0).await.unwrap_err();
        assert!(find::<Elapsed>(&*error).is_some());
        assert_eq!((calls.count(), began.elapsed()), (1, secs(5)));
    }
}

/// An attempt that runs again after such a wait has its grace.
#[tokio::test(start_paused = true)]
async fn a_second_attempt_has_its_grace() {
    let recorder = Recorder::new();
    let attempts = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let service = ServiceBuilder::new()
        .layer(LogLayer::to(recorder.clone()))
        .layer(TimeoutLayer::new(secs(5)).grace(secs(60)))
        .layer(RetryLayer::new())
        .service(service_fn(move |_: u32| {
            let attempt = attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move {
                if attempt == 0 {
                    return Err(BoxError::from("no"));
                }
                Job::current().cancelled().await;
                tokio::time::sleep(secs(2)).await;
                Ok(1_u32)
            }
        }));
    let began = tokio::time::Instant::now();
    service.oneshot(0).await.unwrap_err();
    assert_eq!(began.elapsed(), secs(7));
}

/// A circuit inside a limit counts that the limit expired, whatever the work returns in its grace period.
#[tokio::test(start_paused = true)]
async fn a_circuit_inside_counts_the_limit() {
    for per_attempt in [false, true] {
        for (ignores, answers) in [(false, true), (false, false), (true, true), (true, false)] {
            let limit = if per_attempt {
                TimeoutLayer::new(secs(1)).per_attempt()
            } else {
                TimeoutLayer::new(secs(1))
            };
            let breaker = CircuitBreakerLayer::new();
            let breaker = if ignores {
                breaker.ignore_timeouts()
            } else {
                breaker
            };
            let handle = breaker.handle();
            let service = ServiceBuilder::new()
                .layer(limit.grace(secs(5)))
                .layer(breaker)
                .service(service_fn(move |_: u32| async move {
                    Job::current().cancelled().await;
                    if answers {
                        Ok(1_u32)
                    } else {
                        Err(BoxError::from("stopped"))
                    }
                }));
            service.oneshot(0).await.unwrap_err();
            // Only an overall limit can be ignored.
            let expected = u32::from(per_attempt || !ignores);
            assert_eq!(
                handle.snapshot().failures_in_a_row,
                expected,
                "{per_attempt} {ignores} {answers}"
            );
        }
    }
}
