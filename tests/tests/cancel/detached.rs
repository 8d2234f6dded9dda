//! What becomes of a job whose caller goes away.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, Event, EventKind, LogLayer,
    TimeoutLayer,
};
use tower_keep_test::{Polled, Scripted};
use tower_keep_tests::*;

/// R5: a caller that goes away stops a bare layer's job, and leaves a detached one running, which
/// ends and is reported.
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
    assert_eq!(handle.jobs().len(), 1, "it runs on");
    tokio::time::sleep(secs(10)).await;
    assert_eq!((calls.dropped(), calls.completed()), (0, 1));
    assert_eq!(recorder.times().last(), Some(&("succeeded", secs(5))));
    recorder.assert_one_terminal_each();
    assert!(handle.jobs().is_empty());
}

/// R5: a detached job can be waited for, fails and panics like any other, and can be cancelled
/// without its caller.
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

/// A detached client call runs on where the job that began it is dropped.
#[tokio::test(start_paused = true)]
async fn a_detached_call_outlives_its_parent() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32, BoxError>::new().answer_after(ms(100), 1);
    let calls = inner.calls();
    let client = ServiceBuilder::new()
        .layer(log)
        .layer(CancelLayer::new().detached())
        .service(inner);
    let server = ServiceBuilder::new()
        .layer(quiet())
        .service(service_fn(move |request| client.clone().oneshot(request)));
    tokio::time::timeout(ms(10), server.oneshot(0))
        .await
        .unwrap_err();
    tokio::time::sleep(ms(500)).await;
    assert_eq!((calls.completed(), calls.dropped()), (1, 0), "{recorder}");
    assert_eq!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Succeeded)
    );
}

/// A detached job that an open circuit rejects has not started.
#[tokio::test(start_paused = true)]
async fn a_rejected_detached_job_has_not_started() {
    let (log, recorder) = recording();
    let breaker = CircuitBreakerLayer::new();
    breaker.handle().force_open();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(CancelLayer::new().detached())
        .layer(breaker)
        .service(Scripted::<u32, u32>::new());
    service.oneshot(0).await.unwrap_err();
    recorder.assert_names(["dispatched", "failed"]);
}

/// R5: a caller that leaves when it has the result of a detached call, and a layer outside goes on
/// with that, ends the job.
#[tokio::test(start_paused = true)]
async fn a_result_that_was_taken_is_the_callers() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .and_then(|answer: u32| async move {
            tokio::time::sleep(secs(5)).await;
            Ok::<_, BoxError>(answer)
        })
        .layer(CancelLayer::new().detached())
        .service(Scripted::<u32, u32>::new().answer_after(secs(1), 1));
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(2)).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Cancelled {
            reason: CancelReason::CallerGone,
            dropped: true
        })
    );
}

/// R63: a job without a caller, whose task is dropped before its first poll, has ended.
#[test]
fn dropped_before_the_first_poll() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new().detached();
    let handle = cancel.handle();
    let home = runtime();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .service(Scripted::<u32, u32>::new().never());
    home.block_on(async { drop(service.call(0)) });
    drop(home);
    assert!(handle.jobs().is_empty());
    recorder.assert_one_terminal_each();
}

/// R63: a job whose runtime goes while its caller waits elsewhere ends as cancelled by the
/// shutdown, for its caller and its observers.
#[test]
fn a_lost_task_has_one_reason() {
    let (log, recorder) = recording();
    let home = runtime();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(CancelLayer::new().detached())
        .service(Scripted::<u32, u32>::new().never());
    let mut call = home.block_on(async {
        let call = Polled::new(service.call(0));
        tokio::task::yield_now().await;
        call
    });
    call.assert_waiting();
    drop(home);
    let error = call.assert_ready().unwrap_err();
    assert_eq!(reason(&error), CancelReason::Shutdown);
    let ended = recorder.terminal(recorder.job());
    assert!(
        matches!(&ended, Some(EventKind::Cancelled { reason, .. }) if *reason == CancelReason::Shutdown),
        "{ended:?}"
    );
}

/// R1: a job is in no handle's list any more when its end is reported, with a caller or without.
#[tokio::test(start_paused = true)]
async fn a_job_whose_end_is_reported_does_not_run() {
    for detached in [false, true] {
        let seen: Arc<Mutex<Option<usize>>> = Arc::default();
        let (cancel, runs_on) = (CancelLayer::new(), CancelLayer::new().detached());
        let note = Arc::clone(&seen);
        let handle = if detached {
            runs_on.handle()
        } else {
            cancel.handle()
        };
        let log = LogLayer::to(move |event: &Event| {
            if event.kind.is_terminal() {
                *note.lock().unwrap() = Some(handle.jobs().len());
            }
        });
        let inner = Scripted::<u32, u32>::new().answer_after(secs(1), 1);
        if detached {
            drop(log.layer(runs_on.layer(inner)).call(0));
            tokio::time::sleep(secs(2)).await;
        } else {
            log.layer(cancel.layer(inner)).oneshot(0).await.unwrap();
        }
        assert_eq!(*seen.lock().unwrap(), Some(0), "detached: {detached}");
    }
}

/// A service in a detached Cancel layer with a grace period, and how often its clean-up came to its
/// end.
fn cleaning_up() -> (Stack, Arc<AtomicU32>) {
    let cleaned = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&cleaned);
    let inner = code(move |job, _| {
        let count = Arc::clone(&count);
        async move {
            job.cancelled().await;
            tokio::time::sleep(secs(1)).await;
            count.fetch_add(1, Ordering::Relaxed);
            Ok(0)
        }
    });
    let layer = CancelLayer::new().grace(secs(10)).detached();
    (Stack::new(layer.layer(inner)), cleaned)
}

/// R11b: a job that an overall limit cancels gets the grace period of a detached Cancel layer.
#[tokio::test(start_paused = true)]
async fn a_detached_job_cleans_up_after_an_overall_limit() {
    let (inner, cleaned) = cleaning_up();
    let limit = TimeoutLayer::new(secs(1));
    let service = quiet().layer(limit.layer(inner));
    service.oneshot(0).await.unwrap_err();
    tokio::time::sleep(secs(20)).await;
    assert_eq!(cleaned.load(Ordering::Relaxed), 1);
}

/// R11b: a job that another Cancel layer around cancels, without a grace period, gets the grace
/// period of a detached Cancel layer.
#[tokio::test(start_paused = true)]
async fn a_detached_job_cleans_up_below_another_cancel_layer() {
    let (inner, cleaned) = cleaning_up();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let call = tokio::spawn(cancel.layer(inner).oneshot(0));
    tokio::time::sleep(secs(1)).await;
    handle.cancel_all(CancelReason::Requested);
    call.await.unwrap().unwrap_err();
    tokio::time::sleep(secs(20)).await;
    assert_eq!(cleaned.load(Ordering::Relaxed), 1);
}
