//! What the code inside a job makes of its token.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, EventKind, RetryLayer, TimeoutLayer,
    circuit_breaker::State,
};
use tower_keep_test::Gate;

use super::support::*;

/// R1: every job has a token from its start, tracked under the job's id; code inside sees that token.
/// R8: `is_cancelled()`, `checkpoint()` and `cancelled().await` see the cancellation.
#[tokio::test(start_paused = true)]
async fn code_inside_sees_the_token() {
    let cancel = CancelLayer::new().grace(secs(10));
    let handle = cancel.handle();
    let seen = Arc::new(Mutex::new(None));
    let inside = seen.clone();
    let service = ServiceBuilder::new()
        .layer(cancel)
        .service(code(move |job, _| {
            let seen = inside.clone();
            async move {
                assert!(!job.is_cancelled());
                job.checkpoint()?;
                let token = job.token();
                tokio::select! {
                    () = job.cancelled() => {}
                    () = std::future::pending() => {}
                }
                assert!(job.is_cancelled() && token.is_cancelled());
                *seen.lock().unwrap() = job.checkpoint().err();
                Ok(1)
            }
        }));
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(1)).await;
    let [id] = handle.jobs().iter().map(|job| job.job).collect::<Vec<_>>()[..] else {
        panic!("one job runs")
    };
    assert!(handle.cancel(id));
    assert_eq!(
        reason(&call.await.unwrap().unwrap_err()),
        CancelReason::Requested
    );
    let cancelled = seen.lock().unwrap().take().unwrap();
    assert_eq!(
        (cancelled.job(), cancelled.reason()),
        (Some(id), &CancelReason::Requested)
    );
    assert!(handle.jobs().is_empty());
}

/// R4: an overall timeout cancels the job's token, so that work handed elsewhere stops too.
#[tokio::test(start_paused = true)]
async fn an_overall_timeout_fires_the_token() {
    let (log, recorder) = recording();
    let stopped = Arc::new(Mutex::new(None));
    let note = stopped.clone();
    let start = Instant::now();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(CancelLayer::new())
        .layer(TimeoutLayer::new(secs(5)))
        .service(code(move |job, _| {
            let note = note.clone();
            async move {
                tokio::spawn(async move {
                    job.cancelled().await;
                    *note.lock().unwrap() = Some((start.elapsed(), job.cancel_reason()));
                });
                std::future::pending().await
            }
        }));
    service.oneshot(0).await.unwrap_err();
    tokio::task::yield_now().await;
    assert_eq!(
        *stopped.lock().unwrap(),
        Some((secs(5), Some(CancelReason::TimedOut)))
    );
    recorder.assert_names(["dispatched", "started", "timed_out", "failed"]);
}

/// R9: a cancel before checkpoint k runs exactly k-1 steps; no cancel runs all three.
#[tokio::test(start_paused = true)]
async fn a_cancel_before_checkpoint_k_runs_k_minus_1_steps() {
    for k in 1..=4u32 {
        let cancel = CancelLayer::new().grace(secs(10));
        let handle = cancel.handle();
        let ran = Arc::new(AtomicU32::new(0));
        let count = ran.clone();
        let service = ServiceBuilder::new()
            .layer(cancel)
            .service(code(move |job, _| {
                let (ran, handle) = (count.clone(), handle.clone());
                async move {
                    for step in 1..=3 {
                        if step == k {
                            handle.cancel(current_id());
                        }
                        job.step(format!("step {step}"), async {
                            ran.fetch_add(1, Ordering::Relaxed);
                            Ok::<_, BoxError>(())
                        })
                        .await?;
                    }
                    Ok(3)
                }
            }));
        let result = service.oneshot(0).await;
        assert_eq!(ran.load(Ordering::Relaxed), k - 1);
        assert_eq!(result.is_ok(), k == 4);
    }
}

/// R10: code that heeds the cancellation and fails for it is not counted either.
#[tokio::test(start_paused = true)]
async fn heeding_the_token_is_no_failure() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new().grace(secs(60));
    let handle = cancel.handle();
    let breaker = CircuitBreakerLayer::new().failure_threshold(0);
    let circuit = breaker.handle();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .layer(breaker)
        .layer(RetryLayer::new())
        .service(code(|job, _| async move {
            job.cancelled().await;
            Err("stopped half way".into())
        }));
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(1)).await;
    handle.cancel(recorder.job());
    call.await.unwrap().unwrap_err();
    assert_eq!(
        (circuit.state(), recorder.count("retry_scheduled")),
        (State::Closed, 0)
    );
    assert_eq!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Cancelled {
            reason: CancelReason::Requested,
            dropped: false
        })
    );
}

/// R10: where code succeeds although its job was cancelled, the service has answered: a closed circuit counts that.
#[tokio::test(start_paused = true)]
async fn a_success_after_the_cancellation_counts() {
    let cancel = CancelLayer::new().grace(secs(60));
    let handle = cancel.handle();
    let breaker = CircuitBreakerLayer::new().failure_threshold(5);
    let circuit = breaker.handle();
    let service = ServiceBuilder::new()
        .layer(cancel)
        .layer(breaker)
        .service(code(|job, number| async move {
            if number == 0 {
                return Err("no".into());
            }
            job.cancelled().await;
            Ok(number)
        }));
    service.clone().oneshot(0).await.unwrap_err();
    assert_eq!(circuit.failures(), 1);
    let call = tokio::spawn(service.oneshot(1));
    tokio::time::sleep(secs(1)).await;
    assert_eq!(handle.cancel_all(CancelReason::Requested), 1);
    call.await.unwrap().unwrap_err();
    assert_eq!(circuit.failures(), 0);
}

/// R11b: a cancelled job may clean up within its grace period after the token fired; then it is dropped. The event
/// tells the two apart.
#[tokio::test(start_paused = true)]
async fn grace() {
    for (cleanup, ends_at, dropped) in [(3, 4, false), (30, 6, true)] {
        let (log, recorder) = recording();
        let cancel = CancelLayer::new().grace(secs(5));
        let handle = cancel.handle();
        let service = ServiceBuilder::new().layer(log).layer(cancel).service(code(
            move |job, _| async move {
                job.cancelled().await;
                tokio::time::sleep(secs(cleanup)).await;
                Ok(1)
            },
        ));
        let call = tokio::spawn(service.oneshot(0));
        tokio::time::sleep(secs(1)).await;
        handle.cancel(recorder.job());
        assert_eq!(
            reason(&call.await.unwrap().unwrap_err()),
            CancelReason::Requested
        );
        assert_eq!(recorder.times().last(), Some(&("cancelled", secs(ends_at))));
        assert_eq!(
            recorder.terminal(recorder.job()),
            Some(EventKind::Cancelled {
                reason: CancelReason::Requested,
                dropped
            })
        );
    }
}

/// A job that hands work to a blocking thread: the thread sees the token.
#[tokio::test]
async fn blocking_work_sees_the_token() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let gate = Gate::new();
    let (open, stopped) = (gate.clone(), Arc::new(AtomicU32::new(0)));
    let count = stopped.clone();
    let service = ServiceBuilder::new()
        .layer(cancel)
        .service(code(move |job, _| {
            let (open, stopped) = (open.clone(), count.clone());
            async move {
                tokio::task::spawn_blocking(move || {
                    open.open();
                    while !job.is_cancelled() {
                        std::thread::yield_now();
                    }
                    stopped.store(1, Ordering::Release);
                })
                .await?;
                Ok(1)
            }
        }));
    let call = tokio::spawn(service.oneshot(0));
    gate.opened().await;
    handle.cancel(handle.jobs()[0].job);
    call.await.unwrap().unwrap_err();
    while stopped.load(Ordering::Acquire) == 0 {
        tokio::task::yield_now().await;
    }
}
