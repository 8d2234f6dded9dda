//! A detached job goes its own way, and still is the one job it was.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, timeout::Timeout};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, DedupLayer, Event, EventKind,
    LogLayer, RetryLayer, TimeoutLayer,
};
use tower_keep_test::{Polled, Scripted, Step};

use super::support::*;

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

/// A job whose attempts are detached ends when its caller goes away between two of them: nothing runs on then.
#[tokio::test(start_paused = true)]
async fn a_caller_gone_between_detached_attempts_ends_the_job() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32, BoxError>::new().otherwise(|| Step::error("no".into()));
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().base_delay(secs(20)))
        .layer(CancelLayer::new().detached())
        .service(inner);
    let call = tokio::spawn(service.oneshot(0));
    recorder
        .until(|recorder| recorder.count("retry_scheduled") == 1)
        .await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert!(matches!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Cancelled {
            reason: CancelReason::CallerGone,
            ..
        })
    ));
    tokio::time::sleep(secs(100)).await;
    assert_eq!(calls.count(), 1);
    recorder.assert_one_terminal_each();
}

/// A gated call whose future was moved to a task of its own owns the job that begins below it: one beginning, one
/// ending, and none left on the thread.
#[tokio::test(start_paused = true)]
async fn a_gated_call_in_a_task_of_its_own_owns_its_job() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(60)))
        .layer(tower::layer::layer_fn(Spawned))
        .layer(tower_keep::DedupLayer::new(|key: &u32| Some(*key)))
        .layer(log)
        .service(tower::service_fn(|n: u32| async move {
            tokio::time::sleep(secs(1)).await;
            Ok::<u32, BoxError>(n)
        }));
    assert_eq!(service.oneshot(7).await.unwrap(), 7);
    assert_eq!(tower_keep::Job::current().id(), None);
    recorder.assert_names(["dispatched", "started", "succeeded"]);
}

/// R5: a caller that leaves when it has the result of a detached call, and a layer outside goes on with that, ends the job.
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

/// R5: the caller leaves while two calls of the job run: both run on, and the last one ends the job.
#[tokio::test(start_paused = true)]
async fn the_last_of_two_calls_ends_the_job() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(2), 1)
        .error_after(secs(5), "no");
    let inner = CancelLayer::new().detached().layer(inner);
    let twice = service_fn(move |request| {
        futures::future::try_join(inner.clone().call(request), inner.clone().call(request))
    });
    let mut service = log.layer(twice);
    drop(service.call(0));
    tokio::time::sleep(secs(3)).await;
    assert_eq!(recorder.terminal(recorder.job()), None, "{recorder}");
    tokio::time::sleep(secs(10)).await;
    recorder.assert_names(["dispatched", "started", "failed"]);
    assert_eq!(recorder.times().last(), Some(&("failed", secs(5))));
}

/// R5: two layers of one stack are detached, with a retry between them: the job runs on as the outer one's.
#[tokio::test(start_paused = true)]
async fn two_detached_layers() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new()
        .error_after(secs(1), "no")
        .answer_after(secs(1), 1);
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(CancelLayer::new().detached())
        .layer(RetryLayer::new())
        .layer(CancelLayer::new().detached())
        .service(inner);
    drop(service.call(0));
    tokio::time::sleep(secs(100)).await;
    recorder.assert_names([
        "dispatched",
        "started",
        "attempt_ended",
        "retry_scheduled",
        "retrying",
        "attempt_ended",
        "succeeded",
    ]);
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

/// R63: a job whose runtime goes while its caller waits elsewhere ends for that, to the caller and to who watches.
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

/// R1: a job is in no handle's list any more when its end is told, caller or not.
#[tokio::test(start_paused = true)]
async fn a_job_whose_end_is_told_does_not_run() {
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

/// R5: a limit around a detached job that gives an attempt up stops it, also where the retry around both is the outermost
/// layer of ours, so that it owns the job.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_the_outermost_retry_gives_up_stops() {
    for outermost in ["log", "retry"] {
        let (log, recorder) = recording();
        let inner = Scripted::<u32, u32>::new()
            .never()
            .answer_after(secs(60), 2);
        let calls = inner.calls();
        let inner = CancelLayer::new().detached().layer(inner);
        let limited = Timeout::new(inner, secs(1));
        let retry = RetryLayer::new().max_retries(1).base_delay(secs(1));
        let call = if outermost == "log" {
            tokio::spawn(Stack::new(log.layer(retry.layer(limited))).oneshot(0))
        } else {
            tokio::spawn(Stack::new(retry.layer(limited)).oneshot(0))
        };
        tokio::time::sleep(ms(1500)).await;
        assert_eq!(
            (calls.in_flight(), calls.dropped()),
            (0, 1),
            "{outermost}: {recorder}"
        );
        call.abort();
    }
}

/// R5: an attempt that was given up while its last poll ran says nothing of how the job ends: a caller that leaves between
/// two attempts ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_attempt_given_up_in_its_last_poll_says_nothing() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new().detached();
    let handle = cancel.handle();
    let (begun, mut has_begun) = tokio::sync::mpsc::unbounded_channel();
    let (end, ends) = std::sync::mpsc::channel();
    let ends = Arc::new(Mutex::new(ends));
    let inner = cancel.layer(service_fn(move |_: u32| {
        let (begun, ends) = (begun.clone(), Arc::clone(&ends));
        async move {
            begun.send(()).unwrap();
            ends.lock().unwrap().recv().unwrap();
            Ok::<_, BoxError>(1)
        }
    }));
    let given_up = Arc::new(tokio::sync::Notify::new());
    let notified = Arc::clone(&given_up);
    let limited = service_fn(move |request| {
        let (call, notified) = (inner.clone().call(request), Arc::clone(&notified));
        async move {
            tokio::select! {
                result = call => result,
                () = notified.notified() => Err("given up".into()),
            }
        }
    });
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().base_delay(secs(600)))
        .service(limited);
    let call = tokio::spawn(service.oneshot(0));
    has_begun.recv().await.unwrap();
    given_up.notify_one();
    while recorder.count("retry_scheduled") == 0 {
        tokio::task::yield_now().await;
    }
    end.send(()).unwrap();
    while !handle.jobs().is_empty() {
        tokio::task::yield_now().await;
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    while recorder.terminal(recorder.job()).is_none() {
        tokio::task::yield_now().await;
    }
    assert!(
        matches!(
            recorder.terminal(recorder.job()),
            Some(EventKind::Cancelled {
                reason: CancelReason::CallerGone,
                ..
            })
        ),
        "{recorder}"
    );
}

/// A service in a detached Cancel layer with a grace period, and how often its clean-up came to its end.
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

/// R11b: as above, where a Cancel layer around cancels the job, which gives no grace period itself.
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

/// R5: an attempt inside a joined execution that its limit gives up stops, though the job of the caller that began the
/// execution was cancelled: it goes on for the others.
#[tokio::test(start_paused = true)]
async fn an_attempt_of_a_joined_execution_that_is_given_up_stops() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new().never().answer_after(secs(1), 2);
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .layer(DedupLayer::new(|request: &u32| Some(*request)).join())
        .layer(RetryLayer::new().max_retries(1).base_delay(secs(1)))
        .layer(TimeoutLayer::new(secs(5)).per_attempt())
        .layer(CancelLayer::new().detached())
        .service(inner);
    let first = tokio::spawn(service.clone().oneshot(0));
    tokio::task::yield_now().await;
    let second = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(1)).await;
    assert!(handle.cancel(recorder.jobs()[0]));
    first.await.unwrap().unwrap_err();
    // The first attempt's limit is at 5 s, and the second one runs from 6 s on.
    tokio::time::sleep(ms(5500)).await;
    let now = (calls.count(), calls.dropped(), calls.in_flight());
    assert_eq!(now, (2, 1, 1));
    assert_eq!(second.await.unwrap().unwrap(), 2);
}
