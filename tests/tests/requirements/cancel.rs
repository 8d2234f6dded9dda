use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, DedupLayer, EventKind, Job, JobId,
    ProgressLayer, RetryLayer, TimeoutLayer, cancel::Cancelled, find,
};
use tower_keep_test::{Gate, Polled, Readiness, Scripted, Step};

use super::support::*;

fn reason(error: &BoxError) -> CancelReason {
    find::<Cancelled>(&**error)
        .expect("cancelled")
        .reason()
        .clone()
}

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
    let [id] = handle.running()[..] else {
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
    assert!(handle.running().is_empty());
}

/// R2: a new job in the same group cancels the one before it, before it starts; the old one never ends in success.
#[tokio::test(start_paused = true)]
async fn a_new_job_replaces_the_old_one() {
    let (log, recorder) = recording();
    let cancelled_before_start = Arc::new(Mutex::new(Vec::new()));
    let notes = cancelled_before_start.clone();
    let old: Arc<Mutex<Option<Job>>> = Arc::default();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(CancelLayer::new().replace(|request: &u32| (*request < 10).then_some(request % 2)))
        .service(code(move |job, request| {
            let before = old.lock().unwrap().replace(job);
            notes
                .lock()
                .unwrap()
                .push(before.map(|before| before.is_cancelled()));
            async move {
                // Ready in the very poll in which it is replaced, too.
                tokio::time::sleep(secs(1)).await;
                Ok(request)
            }
        }));
    let first = tokio::spawn(begin(&mut service, 1).await);
    tokio::time::sleep(ms(500)).await;
    let second = tokio::spawn(begin(&mut service, 3).await);
    tokio::time::sleep(ms(1)).await;
    assert_eq!(
        reason(&first.await.unwrap().unwrap_err()),
        CancelReason::Replaced
    );
    // Another group, and none at all.
    let (third, fourth) = (begin(&mut service, 2).await, begin(&mut service, 11).await);
    let fifth = begin(&mut service, 11).await;
    let (third, fourth, fifth) = tokio::join!(third, fourth, fifth);
    assert_eq!(
        (third.unwrap(), fourth.unwrap(), fifth.unwrap()),
        (2, 11, 11)
    );
    assert_eq!(second.await.unwrap().unwrap(), 3);
    assert_eq!(cancelled_before_start.lock().unwrap()[1], Some(true));
    recorder.assert_one_terminal_each();
    let old = recorder.jobs()[0];
    assert_eq!(
        recorder.terminal(old),
        Some(EventKind::Cancelled {
            reason: CancelReason::Replaced,
            dropped: true
        })
    );
}

/// R2: the old one does not succeed even if its result is ready when it is replaced.
#[tokio::test(start_paused = true)]
async fn a_replaced_job_never_succeeds() {
    let mut service = ServiceBuilder::new()
        .layer(CancelLayer::new().replace(|_: &u32| Some(())))
        .service(
            Scripted::<u32, u32>::new()
                .answer_after(secs(1), 1)
                .answer_after(secs(1), 2)
                .strict(),
        );
    let mut first = Polled::new(begin(&mut service, 0).await);
    first.assert_pending();
    tokio::time::sleep(secs(1)).await;
    let second = begin(&mut service, 0).await;
    assert_eq!(
        reason(&first.assert_ready().unwrap_err()),
        CancelReason::Replaced
    );
    assert_eq!(second.await.unwrap(), 2);
}

/// R3: `cancel(id)` from a handle cancels the job, and only that one.
#[tokio::test(start_paused = true)]
async fn the_handle_cancels_one_job() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new().layer(cancel).service(
        Scripted::<u32, u32>::new()
            .never()
            .answer_after(secs(9), 2)
            .strict(),
    );
    let first = tokio::spawn(begin(&mut service, 0).await);
    let second = tokio::spawn(begin(&mut service, 0).await);
    let running = handle.running();
    assert_eq!(running.len(), 2);
    assert!(handle.cancel(running[0]));
    assert_eq!(
        reason(&first.await.unwrap().unwrap_err()),
        CancelReason::Requested
    );
    assert_eq!(second.await.unwrap().unwrap(), 2);
    assert!(!handle.cancel(running[1]), "it is over");
    let text = CancelReason::Other("tired".into());
    assert!(!handle.cancel_because(JobId::from_u64(u64::MAX).unwrap(), text));
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

/// R5: a caller that goes away stops a bare layer's job, and leaves a detached one running, which ends and is reported.
#[tokio::test(start_paused = true)]
async fn what_a_gone_caller_leaves() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new().answer_after(secs(5), 1);
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(CancelLayer::new())
        .service(inner.strict());
    let call = tokio::spawn(begin(&mut service, 0).await);
    tokio::time::sleep(secs(1)).await;
    call.abort();
    tokio::time::sleep(secs(10)).await;
    assert_eq!((calls.dropped(), calls.completed()), (1, 0));
    assert_eq!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Cancelled {
            reason: CancelReason::CallerGone,
            dropped: true
        })
    );

    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new().answer_after(secs(5), 1);
    let calls = inner.calls();
    let cancel = CancelLayer::new().detached();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .service(inner.strict());
    let call = tokio::spawn(begin(&mut service, 0).await);
    tokio::time::sleep(secs(1)).await;
    call.abort();
    tokio::time::sleep(secs(1)).await;
    assert_eq!(handle.running().len(), 1, "it runs on");
    tokio::time::sleep(secs(10)).await;
    assert_eq!((calls.dropped(), calls.completed()), (0, 1));
    assert_eq!(recorder.times().last(), Some(&("succeeded", secs(5))));
    recorder.assert_one_terminal_each();
    assert!(handle.running().is_empty());
}

/// R5: a detached job can be waited for, fails and panics like any other, and can be cancelled without its caller.
#[tokio::test(start_paused = true)]
async fn a_detached_job_is_a_job() {
    let cancel = CancelLayer::new().detached();
    let handle = cancel.handle();
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 7)
        .error_after(secs(1), "no")
        .panic("boom")
        .never()
        .never();
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .service(inner.strict());
    assert_eq!(begin(&mut service, 0).await.await.unwrap(), 7);
    assert_eq!(
        begin(&mut service, 0).await.await.unwrap_err().to_string(),
        "no"
    );
    let panicked = tokio::spawn(begin(&mut service, 0).await)
        .await
        .unwrap_err();
    assert!(panicked.is_panic());
    // Cancelled with its caller waiting, and after it went.
    let waiting = tokio::spawn(begin(&mut service, 0).await);
    let gone = begin(&mut service, 0).await;
    tokio::time::sleep(secs(1)).await;
    drop(gone);
    assert_eq!(handle.cancel_all(CancelReason::Requested), 2);
    assert_eq!(
        reason(&waiting.await.unwrap().unwrap_err()),
        CancelReason::Requested
    );
    tokio::time::sleep(ms(1)).await;
    assert_eq!(calls.dropped(), 2);
    recorder.assert_one_terminal_each();
    let endings: Vec<_> = recorder
        .jobs()
        .iter()
        .map(|job| recorder.terminal(*job).unwrap().name())
        .collect();
    assert_eq!(
        endings,
        ["succeeded", "failed", "failed", "cancelled", "cancelled"]
    );
}

/// R6: nobody listening never stalls or cancels a job.
#[tokio::test(start_paused = true)]
async fn nobody_has_to_listen() {
    let progress = ProgressLayer::with_buffer(std::num::NonZeroUsize::MIN);
    let idle = progress.handle().subscribe();
    let service = ServiceBuilder::new()
        .layer(progress.clone())
        .layer(CancelLayer::new())
        .service(code(|job, _| async move {
            for i in 0..10_000 {
                job.progress(f64::from(i) / 10_000.0);
            }
            Ok(1)
        }));
    assert_eq!(service.clone().oneshot(0).await.unwrap(), 1);
    drop(idle);
    drop(progress);
    assert_eq!(service.oneshot(0).await.unwrap(), 1);
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

/// R10: a cancelled job ends in exactly one `Cancelled`; it is not retried, and does not count in any circuit.
#[tokio::test(start_paused = true)]
async fn a_cancelled_job_is_neither_retried_nor_counted() {
    // The cancel layer outermost, and innermost, where it makes an error that the others see.
    for outermost in [true, false] {
        let (log, recorder) = recording();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let breaker = CircuitBreakerLayer::new().failure_threshold(0);
        let circuit = breaker.handle();
        let inner = Scripted::<u32, u32>::new().never().repeat_last();
        let calls = inner.calls();
        let call = if outermost {
            let service = ServiceBuilder::new()
                .layer(log)
                .layer(cancel)
                .layer(breaker)
                .layer(RetryLayer::new());
            tokio::spawn(service.service(inner.strict()).oneshot(0))
        } else {
            let service = ServiceBuilder::new()
                .layer(log)
                .layer(breaker)
                .layer(RetryLayer::new())
                .layer(cancel);
            tokio::spawn(service.service(inner.strict()).oneshot(0))
        };
        tokio::time::sleep(secs(1)).await;
        assert!(handle.cancel(recorder.job()));
        assert_eq!(
            reason(&call.await.unwrap().unwrap_err()),
            CancelReason::Requested
        );
        tokio::time::sleep(secs(100)).await;
        assert_eq!(calls.count(), 1);
        assert_eq!(circuit.failures(), 0);
        assert_eq!(circuit.state(), tower_keep::circuit_breaker::State::Closed);
        recorder.assert_names(["dispatched", "started", "cancelled"]);
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
        (circuit.failures(), recorder.count("retry_scheduled")),
        (0, 0)
    );
    assert_eq!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Cancelled {
            reason: CancelReason::Requested,
            dropped: false
        })
    );
}

/// R11: cancel is idempotent; the first reason stays.
#[tokio::test(start_paused = true)]
async fn cancel_is_idempotent() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .service(Scripted::<u32, u32>::new().never().strict());
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(1)).await;
    let id = recorder.job();
    let results = [
        handle.cancel(id),
        handle.cancel(id),
        handle.cancel_because(id, CancelReason::Shutdown),
    ];
    assert_eq!(results, [true, false, false]);
    assert_eq!(
        reason(&call.await.unwrap().unwrap_err()),
        CancelReason::Requested
    );
    recorder.assert_names(["dispatched", "started", "cancelled"]);
}

/// R11: one token may stop many jobs; a token cancelled beforehand means zero executions.
#[tokio::test(start_paused = true)]
async fn one_token_stops_many() {
    let token = CancellationToken::new();
    let inner = Scripted::<u32, u32>::new().never().repeat_last();
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(CancelLayer::new().token(token.clone()))
        .service(inner.strict());
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(tokio::spawn(begin(&mut service, 0).await));
    }
    let not_polled = begin(&mut service, 0).await;
    tokio::time::sleep(secs(1)).await;
    token.cancel();
    for call in running {
        assert_eq!(
            reason(&call.await.unwrap().unwrap_err()),
            CancelReason::Requested
        );
    }
    assert_eq!(
        reason(&not_polled.await.unwrap_err()),
        CancelReason::Requested
    );
    assert_eq!(calls.count(), 4);
    for _ in 0..3 {
        assert_eq!(
            reason(&begin(&mut service, 0).await.await.unwrap_err()),
            CancelReason::Requested
        );
    }
    assert_eq!(calls.count(), 4, "nothing was executed after");
}

/// R11: a cancel during a backoff wait takes effect within one poll.
#[tokio::test(start_paused = true)]
async fn a_cancel_ends_a_backoff() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new()
        .layer(cancel)
        .layer(RetryLayer::new().base_delay(secs(30)))
        .service(Scripted::<u32, u32>::new().error("no").strict());
    let mut call = Polled::new(begin(&mut service, 0).await);
    call.assert_waiting();
    handle.cancel(handle.running()[0]);
    call.assert_woken();
    assert_eq!(
        reason(&call.assert_ready().unwrap_err()),
        CancelReason::Requested
    );
}

/// R11: a cancel during a wait for readiness takes effect within one poll: a dedup leader's, a retry's, and that of a
/// caller that is no job yet.
#[tokio::test(start_paused = true)]
async fn a_cancel_ends_a_wait_for_readiness() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new()
        .layer(cancel)
        .layer(DedupLayer::new(|_: &u32| Some(())))
        .service(Scripted::<u32, u32>::new().never_ready().strict());
    let mut call = Polled::new(begin(&mut service, 0).await);
    call.assert_waiting();
    handle.cancel(handle.running()[0]);
    call.assert_woken();
    assert_eq!(
        reason(&call.assert_ready().unwrap_err()),
        CancelReason::Requested
    );

    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .readiness(Readiness::ok())
        .readiness(Readiness::never());
    let mut service = ServiceBuilder::new()
        .layer(cancel)
        .layer(RetryLayer::new())
        .service(inner.strict());
    let mut call = Polled::new(begin(&mut service, 0).await);
    call.assert_pending();
    tokio::time::sleep(secs(1)).await;
    call.assert_waiting();
    handle.cancel(handle.running()[0]);
    call.assert_woken();
    assert_eq!(
        reason(&call.assert_ready().unwrap_err()),
        CancelReason::Requested
    );

    let token = CancellationToken::new();
    let mut waiting = ServiceBuilder::new()
        .layer(CancelLayer::new().token(token.clone()))
        .service(Scripted::<u32, u32>::new().never_ready().strict());
    let mut ready = Polled::new(std::future::poll_fn(|cx| waiting.poll_ready(cx)));
    ready.assert_waiting();
    token.cancel();
    ready.assert_woken();
    ready.assert_ready().unwrap();
    drop(ready);
    assert_eq!(
        reason(&waiting.call(0).await.unwrap_err()),
        CancelReason::Requested
    );
}

/// R11: a cancel during a wait on another's result takes effect within one poll, and the other goes on.
#[tokio::test(start_paused = true)]
async fn a_cancel_ends_a_wait_for_another() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new()
        .layer(cancel)
        .layer(DedupLayer::new(|_: &u32| Some(())).join())
        .service(
            Scripted::<u32, u32>::new()
                .answer_after(secs(9), 5)
                .strict(),
        );
    let mut first = Polled::new(begin(&mut service, 0).await);
    first.assert_pending();
    let mut second = Polled::new(begin(&mut service, 0).await);
    second.assert_waiting();
    handle.cancel(handle.running()[1]);
    second.assert_woken();
    assert_eq!(
        reason(&second.assert_ready().unwrap_err()),
        CancelReason::Requested
    );
    assert_eq!(first.await.unwrap(), 5);
}

/// R11: shutdown cancels all, waiting callers too, and lets nothing new begin.
#[tokio::test(start_paused = true)]
async fn shutdown_cancels_all() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new()
        .never()
        .never()
        .readiness(Readiness::ok())
        .readiness(Readiness::ok())
        .readiness_otherwise(Readiness::never);
    let calls = inner.calls();
    let mut service = ServiceBuilder::new().layer(cancel).service(inner.strict());
    let first = begin(&mut service, 0).await;
    let second = begin(&mut service, 0).await;
    let mut third = service.clone();
    let mut ready = Polled::new(std::future::poll_fn(|cx| third.poll_ready(cx)));
    ready.assert_waiting();
    assert_eq!(handle.shutdown(), 2);
    ready.assert_woken();
    ready.assert_ready().unwrap();
    drop(ready);
    for call in [first, second, third.call(0), begin(&mut service, 0).await] {
        assert_eq!(reason(&call.await.unwrap_err()), CancelReason::Shutdown);
    }
    assert_eq!(calls.count(), 2);
    assert_eq!(handle.shutdown(), 0);
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
    handle.cancel(handle.running()[0]);
    call.await.unwrap().unwrap_err();
    while stopped.load(Ordering::Acquire) == 0 {
        tokio::task::yield_now().await;
    }
}

/// A scripted step that never answers is dropped when its job is cancelled before the first poll.
#[tokio::test(start_paused = true)]
async fn a_cancel_before_the_first_poll() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::script([Step::answer(1)]);
    let calls = inner.calls();
    let mut service = ServiceBuilder::new().layer(cancel).service(inner.strict());
    let call = begin(&mut service, 0).await;
    handle.cancel(handle.running()[0]);
    assert_eq!(reason(&call.await.unwrap_err()), CancelReason::Requested);
    assert_eq!((calls.completed(), calls.dropped()), (0, 1));
}
