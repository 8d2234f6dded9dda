//! What the code inside a job makes of its token.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, Event, EventKind, Job, LogLayer,
    RetryLayer, TimeoutLayer, circuit_breaker::State,
};
use tower_keep_test::{Gate, Recorder, Scripted};
use tower_keep_tests::*;

/// R1: every job has a token from its start, tracked under the job's id; code inside sees that
/// token. R8: `is_cancelled()`, `checkpoint()` and `cancelled().await` see the cancellation.
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
    let [id] = running_ids(&handle)[..] else {
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

/// R10: where code succeeds although its job was cancelled, the service has answered: a closed
/// circuit counts that.
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
    assert_eq!(circuit.snapshot().failures_in_a_row, 1);
    let call = tokio::spawn(service.oneshot(1));
    tokio::time::sleep(secs(1)).await;
    assert_eq!(handle.cancel_all(CancelReason::Requested), 1);
    call.await.unwrap().unwrap_err();
    assert_eq!(circuit.snapshot().failures_in_a_row, 0);
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

/// Work that a job's code spawned hears of the caller's leaving: itself, and through a job of its
/// own.
#[tokio::test(start_paused = true)]
async fn spawned_work_hears_that_the_caller_went() {
    let child = Recorder::new();
    let client = ServiceBuilder::new()
        .layer(LogLayer::to(child.clone()))
        .layer(CancelLayer::new())
        .service(Scripted::<u32, u32>::new().never().strict());
    let reason: Arc<Mutex<Option<CancelReason>>> = Arc::default();
    let heard = Arc::clone(&reason);
    let server = LogLayer::to(|_: &Event| ()).layer(service_fn(move |n: u32| {
        let (client, heard) = (client.clone(), Arc::clone(&heard));
        async move {
            let job = Job::current();
            tokio::spawn(job.scope(client.oneshot(n)));
            tokio::spawn(async move {
                job.cancelled().await;
                *heard.lock().unwrap() = job.cancel_reason();
            });
            std::future::pending::<Result<u32, BoxError>>().await
        }
    }));
    let call = tokio::spawn(server.oneshot(0));
    tokio::time::sleep(Duration::from_secs(1)).await;
    call.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*reason.lock().unwrap(), Some(CancelReason::CallerGone));
    let ended = child.terminal(child.job());
    assert!(
        matches!(&ended, Some(EventKind::Cancelled { reason, .. }) if *reason == CancelReason::CallerGone),
        "{ended:?}"
    );
}

/// R4: an overall timeout cancels the job's token, so that work handed elsewhere stops too, also
/// that of an execution which callers join.
#[tokio::test(start_paused = true)]
async fn an_overall_timeout_fires_the_token() {
    for joined in [false, true] {
        let (log, recorder) = recording();
        let stopped = Arc::new(Mutex::new(None));
        let note = stopped.clone();
        let start = Instant::now();
        let limited = TimeoutLayer::new(secs(5)).layer(code(move |job, _| {
            let note = note.clone();
            async move {
                tokio::spawn(async move {
                    job.cancelled().await;
                    *note.lock().unwrap() = Some((start.elapsed(), job.cancel_reason()));
                });
                std::future::pending().await
            }
        }));
        let inner = if joined {
            Stack::new(by_number().join().layer(limited))
        } else {
            Stack::new(CancelLayer::new().layer(limited))
        };
        log.layer(inner).oneshot(0).await.unwrap_err();
        tokio::task::yield_now().await;
        assert_eq!(
            *stopped.lock().unwrap(),
            Some((secs(5), Some(CancelReason::TimedOut)))
        );
        recorder.assert_names(["dispatched", "started", "timed_out", "failed"]);
    }
}
