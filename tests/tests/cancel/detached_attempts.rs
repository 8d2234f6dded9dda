//! Detached attempts and calls of one job: what a retry, a limit or the caller gives up.

use std::sync::{Arc, Mutex};

use tokio::time::{sleep, timeout};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, timeout::Timeout};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, DedupLayer, EventKind, RetryLayer,
    TimeoutLayer,
};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

/// A job whose attempts are detached ends when its caller goes away between two of them: nothing
/// runs on then.
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

/// R5: the caller leaves while two calls of the job run: both run on, and the last one ends the
/// job.
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

/// R5: two layers of one stack are detached, with a retry between them: the job runs on as the
/// outer one's.
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
    recorder.assert_names(RETRIED_ONCE);
}

/// R5: a limit around a detached job that gives an attempt up stops it, also where the retry around
/// both is the outermost layer of ours, so that it owns the job.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_the_outermost_retry_gives_up_stops() {
    let inner = Scripted::<u32, u32>::new()
        .never()
        .answer_after(secs(60), 2);
    let calls = inner.calls();
    let inner = CancelLayer::new().detached().layer(inner);
    let retry = RetryLayer::new().max_retries(1).base_delay(secs(1));
    let service = retry.layer(Timeout::new(inner, secs(1)));
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(ms(1500)).await;
    assert_eq!((calls.in_flight(), calls.dropped()), (0, 1));
    call.abort();
}

/// R5: an attempt that was given up while its last poll ran says nothing of how the job ends: a
/// caller that leaves between two attempts ends it.
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

/// R5: an attempt inside a joined execution that its limit gives up stops, though the job of the
/// caller that began the execution was cancelled: it goes on for the others.
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

/// R11: a detached attempt that was given up keeps no shutdown waiting.
#[tokio::test(start_paused = true)]
async fn what_was_given_up_holds_no_shutdown_up() {
    let cancel = CancelLayer::new().detached();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new().never().answer(7);
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(quiet())
        .layer(RetryLayer::new().max_retries(1).base_delay(secs(1)))
        .layer(TimeoutLayer::new(secs(1)).per_attempt())
        .layer(cancel)
        .service(inner);
    assert_eq!(service.oneshot(1).await.unwrap(), 7);
    let shutdown = timeout(secs(60), handle.shutdown(secs(5))).await;
    assert!(shutdown.is_ok(), "it waits for ever");
    assert_eq!((handle.jobs().len(), calls.in_flight()), (0, 0));
}

/// R3: an attempt that was given up, detached or not, does not keep the job open once another
/// attempt's result has gone up: a cancellation comes too late, and says so.
#[tokio::test(start_paused = true)]
async fn what_was_given_up_decides_nothing() {
    for detached in [false, true] {
        let (log, recorder) = recording();
        let around = ServiceBuilder::new()
            .layer(log)
            .and_then(|answer: u32| async move {
                sleep(secs(5)).await;
                Ok::<_, BoxError>(answer)
            })
            .layer(RetryLayer::new().max_retries(1).base_delay(secs(1)))
            .layer(TimeoutLayer::new(secs(1)).per_attempt());
        let inner = Scripted::<u32, u32>::new().never().answer(7);
        let (service, handle) = if detached {
            let cancel = CancelLayer::new().detached();
            let handle = cancel.handle();
            (Stack::new(around.layer(cancel).service(inner)), handle)
        } else {
            let cancel = CancelLayer::new();
            let handle = cancel.handle();
            (Stack::new(around.layer(cancel).service(inner)), handle)
        };
        let call = tokio::spawn(service.oneshot(1));
        sleep(secs(4)).await;
        assert!(!handle.cancel(recorder.job()));
        assert_eq!(call.await.unwrap().unwrap(), 7);
        assert_eq!(
            recorder.terminal(recorder.job()),
            Some(EventKind::Succeeded)
        );
    }
}

/// R11: a task that is left when its job is over stops, also where its caller is still there: a
/// shutdown does not wait for it.
#[tokio::test(start_paused = true)]
async fn no_task_outlives_its_job() {
    let cancel = CancelLayer::new().detached();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new().never().answer_after(secs(1), 7);
    let calls = inner.calls();
    let inner = cancel.layer(inner);
    // A foreign layer that waits for one call in a task of its own, and answers with the other.
    let service = ServiceBuilder::new()
        .layer(quiet())
        .service(service_fn(move |request| {
            tokio::spawn(inner.clone().call(request));
            inner.clone().call(request)
        }));
    assert_eq!(service.oneshot(1).await.unwrap(), 7);
    let shutdown = timeout(secs(60), handle.shutdown(secs(5))).await;
    assert!(shutdown.is_ok(), "it waits for ever");
    assert_eq!((handle.jobs().len(), calls.in_flight()), (0, 0));
}

/// R5: a limit around a detached job that gives an attempt up stops it, whichever library the limit
/// is from: nothing of the attempt is left, and a circuit inside counts what our limit cut off. The
/// next attempt runs on without its caller.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_given_up_stops() {
    for ours in [true, false] {
        let (log, recorder) = recording();
        let cancel = CancelLayer::new()
            .group_by(|_: &u32| Some("all"))
            .detached();
        let (handle, groups) = (cancel.handle(), cancel.group_handle());
        let breaker = CircuitBreakerLayer::new();
        let circuit = breaker.handle();
        let inner = Scripted::<u32, u32>::new()
            .never()
            .answer_after(secs(60), 2);
        let calls = inner.calls();
        let inner = cancel.layer(breaker.layer(inner));
        let limited = if ours {
            Stack::new(TimeoutLayer::new(secs(1)).per_attempt().layer(inner))
        } else {
            Stack::new(Timeout::new(inner, secs(1)))
        };
        let retry = RetryLayer::new().max_retries(1).base_delay(secs(1));
        let call = tokio::spawn(log.layer(retry.layer(limited)).oneshot(0));
        tokio::time::sleep(ms(1500)).await;
        assert_eq!((calls.in_flight(), calls.dropped()), (0, 1));
        assert!(handle.jobs().is_empty() && groups.jobs("all").is_empty());
        assert_eq!(circuit.snapshot().failures_in_a_row, u32::from(ours));
        // The second attempt runs from 2 s on.
        tokio::time::sleep(secs(1)).await;
        call.abort();
        tokio::time::sleep(secs(100)).await;
        assert_eq!(calls.completed(), 1);
        assert_eq!(recorder.times().last(), Some(&("succeeded", secs(62))));
        recorder.assert_one_terminal_each();
    }
}
