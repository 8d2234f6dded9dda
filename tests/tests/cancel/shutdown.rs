//! A layer that is shut down with time for the running jobs to end.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    CancelLayer, CancelReason, Event, JobLayer, LogLayer, RetryLayer, TimeoutLayer,
    cancel::{Cancelled, ShutdownReport},
    find,
};
use tower_keep_test::{Polled, Readiness, Scripted};
use tower_keep_tests::*;

/// What came of a shutdown: finished, cancelled by it, cancelled otherwise, refused.
pub(super) fn counts(shutdown: ShutdownReport) -> [usize; 4] {
    [
        shutdown.finished,
        shutdown.cancelled,
        shutdown.cancelled_otherwise,
        shutdown.refused,
    ]
}

/// R11: a shutdown lets the running jobs end, turns away what comes, cancels what is left at the
/// deadline, and says how many of each.
#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_jobs_end() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 1)
        .error_after(secs(2), "no")
        .never()
        .never()
        .never();
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .service(inner.strict());
    let mut running = Vec::new();
    for _ in 0..5 {
        running.push(tokio::spawn(begin(&mut service, 0).await));
    }
    let start = Instant::now();
    assert!(!handle.is_shut_down());
    let shutdown = tokio::spawn(handle.shutdown(secs(30)));
    assert!(handle.is_shut_down());
    let refused = begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(reason(&refused), CancelReason::Shutdown);
    tokio::time::sleep(secs(10)).await;
    assert_eq!(handle.jobs().len(), 3, "these are not cancelled yet");
    assert!(handle.cancel_because(handle.jobs()[0].job, "tired"));
    assert_eq!(counts(shutdown.await.unwrap()), [2, 2, 1, 1]);
    assert_eq!(start.elapsed(), secs(30));
    let mut seen = Vec::new();
    for call in running {
        seen.push(match call.await.unwrap() {
            Ok(_) => "answered".to_owned(),
            Err(error) => error.to_string(),
        });
    }
    let shut = "job cancelled: shutting down";
    assert_eq!(seen, ["answered", "no", "job cancelled: tired", shut, shut]);
    assert_eq!(calls.count(), 5);
    recorder.assert_one_terminal_each();
}

/// R11: a shutdown is over as soon as the last job is: at once where none runs, and long before the
/// deadline where they end.
#[tokio::test(start_paused = true)]
async fn a_shutdown_is_over_with_the_last_job() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new().layer(cancel).service(
        Scripted::<u32, u32>::new()
            .answer_after(secs(1), 1)
            .answer_after(secs(3), 2)
            .strict(),
    );
    let first = tokio::spawn(begin(&mut service, 0).await);
    let mut second = Polled::new(begin(&mut service, 0).await);
    second.assert_pending();
    let mut shutdown = Polled::new(handle.shutdown(Duration::MAX));
    shutdown.assert_waiting();
    tokio::time::sleep(secs(5)).await;
    first.await.unwrap().unwrap();
    // Exactly the end of the last job wakes it.
    shutdown.assert_waiting();
    second.assert_ready().unwrap();
    shutdown.assert_woken();
    assert_eq!(counts(shutdown.assert_ready()), [2, 0, 0, 0]);
    // Now that nothing runs, another one has nothing to wait for, and says the same.
    let mut again = Polled::new(handle.shutdown(secs(1)));
    assert_eq!(counts(again.assert_ready()), [2, 0, 0, 0]);
    let idle = CancelLayer::new().handle();
    assert_eq!(idle.shutdown(secs(30)).await, ShutdownReport::default());
}

/// R11b: what is cancelled at the deadline has its grace period, and the shutdown waits for that.
#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_clean_up() {
    for (cleanup, over) in [(3, 13), (30, 15)] {
        let (log, recorder) = recording();
        let cancel = CancelLayer::new().grace(secs(5));
        let handle = cancel.handle();
        let service = ServiceBuilder::new().layer(log).layer(cancel).service(code(
            move |job, _| async move {
                job.cancelled().await;
                assert_eq!(job.cancel_reason(), Some(CancelReason::Shutdown));
                tokio::time::sleep(secs(cleanup)).await;
                Ok(1)
            },
        ));
        let start = Instant::now();
        let call = tokio::spawn(service.oneshot(0));
        tokio::task::yield_now().await;
        assert_eq!(counts(handle.shutdown(secs(10)).await), [0, 1, 0, 0]);
        assert_eq!(start.elapsed(), secs(over));
        assert_eq!(recorder.times().last(), Some(&("cancelled", secs(over))));
        call.await.unwrap().unwrap_err();
    }
}

/// R11: without time it cancels at its first poll; dropped, it waits for nobody and cancels nobody,
/// and the layer stays shut; of several the nearest deadline counts.
#[tokio::test(start_paused = true)]
async fn a_shutdown_may_be_given_up_and_hurried() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new()
        .layer(cancel)
        .service(Scripted::<u32, u32>::new().never().repeat_last().strict());
    let call = tokio::spawn(begin(&mut service, 0).await);
    tokio::task::yield_now().await;
    let mut dropped = Polled::new(handle.shutdown(secs(1)));
    dropped.assert_waiting();
    drop(dropped);
    tokio::time::sleep(secs(10)).await;
    assert_eq!(handle.jobs().len(), 1, "nobody cancelled it");
    let refused = begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(reason(&refused), CancelReason::Shutdown);

    let start = Instant::now();
    let patient = tokio::spawn(handle.shutdown(secs(100)));
    let mut hurried = Polled::new(handle.shutdown(secs(0)));
    hurried.assert_pending();
    let (hurried, patient) = (hurried.await, patient.await.unwrap());
    assert_eq!(
        reason(&call.await.unwrap().unwrap_err()),
        CancelReason::Shutdown
    );
    assert_eq!((counts(patient), patient), ([0, 1, 0, 1], hurried));
    assert_eq!(start.elapsed(), secs(0));
}

/// R11: a caller that waits for readiness when the layer is shut is turned away, woken by the
/// shutdown itself.
#[tokio::test(start_paused = true)]
async fn a_shutdown_turns_away_who_waits() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 1)
        .readiness(Readiness::ok())
        .readiness_otherwise(Readiness::never);
    let mut service = ServiceBuilder::new().layer(cancel).service(inner.strict());
    let running = tokio::spawn(begin(&mut service, 0).await);
    let mut other = service.clone();
    let mut ready = Polled::new(std::future::poll_fn(|cx| other.poll_ready(cx)));
    ready.assert_waiting();
    let shutdown = handle.shutdown(secs(30));
    ready.assert_woken();
    ready.assert_ready().unwrap();
    drop(ready);
    assert_eq!(
        reason(&other.call(0).await.unwrap_err()),
        CancelReason::Shutdown
    );
    assert_eq!(counts(shutdown.await), [1, 0, 0, 1]);
    assert_eq!(running.await.unwrap().unwrap(), 1, "it came to its end");
}

/// R63: when the shutdown is over, every observer has seen every ending, those of layers further
/// out too.
#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_the_events() {
    let seen = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(Mutex::new(None));
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let (count, looked) = (seen.clone(), over.clone());
    let (waiting, shutdown) = (Arc::new(Mutex::new(None)), handle.clone());
    let waits = waiting.clone();
    let observer = move |event: &Event| {
        if event.kind.is_terminal() {
            // The shutdown must not be over while the last observer gets its event.
            let mut waiting = waits.lock().unwrap();
            let waiting = waiting.get_or_insert_with(|| Polled::new(shutdown.shutdown(secs(9))));
            waiting.assert_pending();
            *looked.lock().unwrap() = Some(event.job);
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut service = ServiceBuilder::new()
        .layer(LogLayer::to(observer))
        .layer(TimeoutLayer::new(secs(9)))
        .layer(cancel)
        .service(
            Scripted::<u32, u32>::new()
                .answer_after(secs(1), 1)
                .strict(),
        );
    let call = begin(&mut service, 0).await;
    let mut first = Polled::new(handle.shutdown(secs(5)));
    first.assert_pending();
    *waiting.lock().unwrap() = Some(first);
    assert_eq!(call.await.unwrap(), 1);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    assert!(over.lock().unwrap().is_some());
    let shutdown = waiting.lock().unwrap().take().unwrap();
    assert_eq!(counts(shutdown.await), [1, 0, 0, 0]);
}

/// R5, R11: a detached job whose caller is gone is waited for, and cancelled at the deadline; one
/// whose caller does not ask for the result keeps nobody waiting once its work is over.
#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_detached_jobs() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new().detached();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(5), 1)
        .answer_after(secs(6), 2)
        .never();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .service(inner.strict());
    drop(begin(&mut service, 0).await);
    let asleep = begin(&mut service, 0).await;
    drop(begin(&mut service, 0).await);
    let start = Instant::now();
    assert_eq!(counts(handle.shutdown(secs(10)).await), [2, 1, 0, 0]);
    assert_eq!(start.elapsed(), secs(10));
    assert_eq!(recorder.times().last(), Some(&("cancelled", secs(10))));
    assert_eq!(asleep.await.unwrap(), 2);
}

/// R4, R11: a job that its own time limit stops, or whose caller leaves, is counted as that.
#[tokio::test(start_paused = true)]
async fn a_shutdown_tells_endings_apart() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new()
        .layer(cancel)
        .layer(TimeoutLayer::new(secs(5)))
        .service(Scripted::<u32, u32>::new().never().repeat_last().strict());
    let limited = tokio::spawn(begin(&mut service, 0).await);
    let leaves = tokio::spawn(begin(&mut service, 0).await);
    let shutdown = tokio::spawn(handle.shutdown(secs(10)));
    tokio::time::sleep(secs(1)).await;
    leaves.abort();
    limited.await.unwrap().unwrap_err();
    assert_eq!(counts(shutdown.await.unwrap()), [1, 0, 1, 0]);
}

/// R11: a retry around the layer begins no further attempt, and its wait does not hold the shutdown
/// up.
#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_retry_around_it() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new().error_after(secs(1), "no");
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(JobLayer::new("retried"))
        .layer(RetryLayer::new().base_delay(secs(100)))
        .layer(cancel)
        .service(inner.strict());
    let call = tokio::spawn(begin(&mut service, 0).await);
    let start = Instant::now();
    assert_eq!(counts(handle.shutdown(secs(10)).await), [1, 0, 0, 0]);
    assert_eq!(start.elapsed(), secs(1));
    assert_eq!(
        reason(&call.await.unwrap().unwrap_err()),
        CancelReason::Shutdown
    );
    assert_eq!(calls.count(), 1);
}

/// R11: after a shutdown nobody asks the inner service whether it is ready.
#[tokio::test(start_paused = true)]
async fn after_a_shutdown_nobody_asks_for_readiness() {
    let broken = || Scripted::<u32, u32>::new().readiness(Readiness::error("broken"));
    let by_hand = CancelLayer::new();
    let handle = by_hand.handle();
    let token = CancellationToken::new();
    let by_token = CancelLayer::new().token(token.clone());
    for (cancel, stop) in [
        (
            by_hand,
            Box::new(move || assert_eq!(handle.shutdown_now(), 0)) as Box<dyn Fn()>,
        ),
        (by_token, Box::new(move || token.cancel())),
    ] {
        let mut service = cancel.layer(broken());
        stop();
        service.ready().await.expect("ready to turn the call away");
        let error = service.call(1).await.unwrap_err();
        assert!(find::<Cancelled>(&*error).is_some(), "{error}");
    }
}
