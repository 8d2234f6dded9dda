//! What cancels a job: a handle, a newer job, a token, a shutdown.

use std::{
    cell::Cell,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    task::Context,
};

use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    CancelLayer, CancelReason, CircuitBreakerLayer, EventKind, Job, JobId, ProgressLayer,
    RetryLayer, circuit_breaker::State,
};
use tower_keep_test::{Polled, Readiness, Scripted, Step};
use tower_keep_tests::*;

/// R2: a new job in the same group cancels the one before it, before it starts; the old one never
/// ends in success.
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
    let running = running_ids(&handle);
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

/// R6: a job without a listener never stalls and is never cancelled for that.
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

/// R10: a cancelled job ends in exactly one `Cancelled`; it is not retried, and does not count in
/// any circuit.
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
        assert_eq!(circuit.snapshot().failures_in_a_row, 0);
        assert_eq!(circuit.state(), State::Closed);
        recorder.assert_names(["dispatched", "started", "attempt_ended", "cancelled"]);
    }
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

/// R11: the token's firing goes before a result that comes up in the same poll.
#[tokio::test(start_paused = true)]
async fn a_token_that_fired_goes_before_the_result() {
    let token = CancellationToken::new();
    let mut service = ServiceBuilder::new()
        .layer(CancelLayer::new().token(token.clone()))
        .service(Scripted::<u32, u32>::new().answer_after(secs(1), 1));
    let mut call = Polled::new(begin(&mut service, 0).await);
    call.assert_pending();
    tokio::time::sleep(secs(1)).await;
    token.cancel();
    assert_eq!(
        reason(&call.assert_ready().unwrap_err()),
        CancelReason::Requested
    );
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
    assert_eq!(handle.shutdown_now(), 2);
    ready.assert_woken();
    ready.assert_ready().unwrap();
    drop(ready);
    for call in [first, second, third.call(0), begin(&mut service, 0).await] {
        assert_eq!(reason(&call.await.unwrap_err()), CancelReason::Shutdown);
    }
    assert_eq!(calls.count(), 2);
    assert_eq!(handle.shutdown_now(), 0);
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
    handle.cancel(handle.jobs()[0].job);
    assert_eq!(reason(&call.await.unwrap_err()), CancelReason::Requested);
    assert_eq!((calls.completed(), calls.dropped()), (0, 1));
}

thread_local! {
    static DROP_PANICS: Cell<bool> = const { Cell::new(false) };
}

/// A group whose drop panics once.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Group;

impl Drop for Group {
    fn drop(&mut self) {
        assert!(!DROP_PANICS.take(), "the drop of a group");
    }
}

/// R52: a job whose group panics when a clone of it is dropped leaves nothing in the group, nor
/// does one whose call panics because the waker of the job that it replaces does.
#[tokio::test(start_paused = true)]
async fn a_panic_on_the_way_in_leaves_no_job_in_the_group() {
    for replaces in [false, true] {
        let cancel = CancelLayer::new();
        let group: fn(&u32) -> Option<Group> = |_| Some(Group);
        let cancel = if replaces {
            cancel.replace(group)
        } else {
            cancel.group_by(group)
        };
        let (handle, groups) = (cancel.handle(), cancel.group_handle());
        let inner = Scripted::<u32, u32>::new().never().repeat_last();
        let mut service = cancel.layer(inner);
        let mut first = Box::pin(service.call(0));
        let waker = panicking_waker();
        let polled = first.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        DROP_PANICS.set(!replaces);
        let second = AssertUnwindSafe(|| drop(service.call(0)));
        assert!(catch_unwind(second).is_err());
        assert_eq!(groups.jobs(&Group).len(), 1);
        drop(first);
        assert!(handle.jobs().is_empty());
        assert!(groups.jobs(&Group).is_empty());
    }
}
