//! What becomes of a job whose call a newer one with its key replaces.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, EventKind, Job, RetryLayer,
    circuit_breaker::State,
};
use tower_keep_test::{Polled, Scripted, Step};
use tower_keep_tests::*;

/// R2, R10, R63: the old one's job is cancelled before the new one starts, as replaced, with its
/// token; each job ends once, and both know each other. Wherever the job begins.
#[tokio::test(start_paused = true)]
async fn the_job_of_a_replaced_call_is_cancelled() {
    for outside in [true, false] {
        let (log, recorder) = recording();
        let jobs: Arc<Mutex<Vec<Job>>> = Arc::default();
        let seen = jobs.clone();
        let inner = code(move |job, request| {
            let mut jobs = seen.lock().unwrap();
            // The token of the one before has fired by now.
            assert!(jobs.iter().all(Job::is_cancelled));
            jobs.push(job);
            async move {
                tokio::time::sleep(secs(5)).await;
                Ok(request)
            }
        });
        let mut service = if outside {
            Stack::new(log.layer(by_tens().latest().layer(inner)))
        } else {
            Stack::new(by_tens().latest().layer(log.layer(inner)))
        };
        let first = tokio::spawn(begin(&mut service, 1).await);
        tokio::time::sleep(secs(1)).await;
        let second = begin(&mut service, 2).await;
        assert!(jobs.lock().unwrap()[0].is_cancelled(), "at once");
        let second = tokio::spawn(second);
        let error = first.await.unwrap().unwrap_err();
        assert_eq!(second.await.unwrap().unwrap(), 2);

        let [old, new] = recorder.jobs()[..] else {
            panic!("two jobs\n{recorder}")
        };
        let why = replaced(&error);
        assert_eq!(why.replaced().unwrap().job(), Some(old));
        if outside {
            assert_eq!(why.job(), Some(new));
            let text = format!("a newer request with the same key took its place as job {new}");
            assert_eq!(error.to_string(), text);
        }
        recorder.assert_names_of(old, ["dispatched", "started", "cancelled"]);
        let cancelled = EventKind::Cancelled {
            reason: CancelReason::Replaced,
            dropped: true,
        };
        assert_eq!(recorder.terminal(old), Some(cancelled));
        recorder.assert_names_of(new, ["dispatched", "started", "succeeded"]);
        assert_eq!(
            jobs.lock().unwrap()[0].cancel_reason(),
            Some(CancelReason::Replaced)
        );
        recorder.assert_one_terminal_each();
    }
}

/// R1, R2: work that the old one's job handed elsewhere stops, and so do its child jobs.
#[tokio::test(start_paused = true)]
async fn what_works_for_a_replaced_job_stops() {
    let (log, recorder) = recording();
    let child = Stack::new(log.layer(code(|_, _| std::future::pending())));
    let stopped = Arc::new(AtomicBool::new(false));
    let seen = stopped.clone();
    let inner = code(move |job, request| {
        let (seen, mut child) = (seen.clone(), child.clone());
        async move {
            if request == 2 {
                return Ok(2);
            }
            let token = job.token();
            tokio::spawn(async move {
                token.cancelled().await;
                seen.store(true, Ordering::Relaxed);
            });
            begin(&mut child, 1).await.await
        }
    });
    let mut service = log.layer(by_tens().latest().layer(inner));
    let first = tokio::spawn(begin(&mut service, 1).await);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(begin(&mut service, 2).await.await.unwrap(), 2);
    replaced(&first.await.unwrap().unwrap_err());
    tokio::task::yield_now().await;
    assert!(stopped.load(Ordering::Relaxed));
    assert_eq!(recorder.jobs().len(), 3);
    recorder.assert_one_terminal_each();
    for job in &recorder.jobs()[..2] {
        assert!(matches!(
            recorder.terminal(*job),
            Some(EventKind::Cancelled {
                reason: CancelReason::Replaced,
                ..
            })
        ));
    }
}

/// R10, R58, R59: a replaced job is not retried, inside or outside the retry, and counts in no
/// circuit.
#[tokio::test(start_paused = true)]
async fn a_replaced_job_is_not_retried_and_does_not_count() {
    for retry_outside in [true, false] {
        let (log, recorder) = recording();
        let circuit = CircuitBreakerLayer::new().failure_threshold(0);
        let state = circuit.handle();
        let inner = Scripted::<u32, u32>::new().otherwise(|| Step::with(Ok).after(secs(1)));
        let calls = inner.calls();
        let service = inner.strict();
        let mut service = if retry_outside {
            let stack = ServiceBuilder::new().layer(log).layer(circuit);
            let stack = stack.layer(RetryLayer::new()).layer(by_tens().latest());
            Stack::new(stack.service(service))
        } else {
            let stack = ServiceBuilder::new().layer(log).layer(by_tens().latest());
            let stack = stack.layer(circuit).layer(RetryLayer::new());
            Stack::new(stack.service(service))
        };
        let first = tokio::spawn(begin(&mut service, 1).await);
        tokio::task::yield_now().await;
        let second = tokio::spawn(begin(&mut service, 2).await);
        replaced(&first.await.unwrap().unwrap_err());
        assert_eq!(second.await.unwrap().unwrap(), 2);
        assert_eq!(calls.count(), 2);
        assert_eq!(
            (state.state(), state.snapshot().failures_in_a_row),
            (State::Closed, 0)
        );
        assert_eq!(recorder.count("retry_scheduled"), 0, "{recorder}");
        recorder.assert_one_terminal_each();
        let ended = recorder.terminal(recorder.jobs()[0]);
        assert!(matches!(
            ended,
            Some(EventKind::Cancelled {
                reason: CancelReason::Replaced,
                ..
            })
        ));
    }
}

/// R2, R58: under a retry around the layer, an older job that comes back with another attempt does
/// not take the place from a newer one: it is replaced itself.
#[tokio::test(start_paused = true)]
async fn a_retry_outside_does_not_take_the_place_back() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .answer_after(secs(10), 2);
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .layer(by_tens().latest())
        .service(inner.strict());
    let older = tokio::spawn(begin(&mut service, 1).await);
    tokio::time::sleep(ms(500)).await;
    let newer = tokio::spawn(begin(&mut service, 2).await);
    let error = older.await.unwrap().unwrap_err();
    let jobs = recorder.jobs();
    assert_eq!(replaced(&error).job(), Some(jobs[1]));
    assert_eq!(newer.await.unwrap().unwrap(), 2);
    assert_eq!(calls.count(), 2);
    let ended = recorder.names_of(jobs[0]);
    assert_eq!(ended.last(), Some(&"cancelled"));
    recorder.assert_one_terminal_each();
}

/// R10: with a Cancel layer outside it is that layer which answers; its grace period lets the old
/// one clean up while the new one runs, and the old one never succeeds.
#[tokio::test(start_paused = true)]
async fn a_grace_period_outside_is_kept() {
    for grace in [None, Some(secs(5))] {
        let (log, recorder) = recording();
        let cancel = match grace {
            Some(grace) => CancelLayer::new().grace(grace),
            None => CancelLayer::new(),
        };
        let clean = Arc::new(AtomicBool::new(false));
        let cleaned = clean.clone();
        let inner = code(move |job, request| {
            let cleaned = cleaned.clone();
            async move {
                if request == 2 {
                    return Ok(2);
                }
                job.cancelled().await;
                tokio::time::sleep(secs(1)).await;
                cleaned.store(true, Ordering::Relaxed);
                Ok(1)
            }
        });
        let dedup = by_tens().latest();
        let mut service = ServiceBuilder::new()
            .layer(log)
            .layer(cancel)
            .layer(dedup.clone())
            .service(inner);
        let first = tokio::spawn(begin(&mut service, 1).await);
        tokio::time::sleep(secs(1)).await;
        let began = Instant::now();
        assert_eq!(begin(&mut service, 2).await.await.unwrap(), 2);
        assert_eq!(began.elapsed(), secs(0), "it runs at once");
        assert_eq!(
            reason(&first.await.unwrap().unwrap_err()),
            CancelReason::Replaced
        );
        let waited = if grace.is_some() { secs(1) } else { secs(0) };
        assert_eq!(began.elapsed(), waited);
        assert_eq!(clean.load(Ordering::Relaxed), grace.is_some());
        let cancelled = EventKind::Cancelled {
            reason: CancelReason::Replaced,
            dropped: grace.is_none(),
        };
        assert_eq!(recorder.terminal(recorder.jobs()[0]), Some(cancelled));
        recorder.assert_one_terminal_each();
        assert_eq!(dedup.in_flight(), 0);
    }
}

/// A Cancel layer's grace period inside is not kept: what is replaced is dropped with all that is
/// in it.
#[tokio::test(start_paused = true)]
async fn a_grace_period_inside_is_not_kept() {
    let inner = Scripted::<u32, u32>::new().never().answer(2);
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(by_tens().latest())
        .layer(CancelLayer::new().grace(secs(5)))
        .service(inner.strict());
    let mut first = Polled::new(begin(&mut service, 1).await);
    first.assert_waiting();
    let second = begin(&mut service, 2).await;
    replaced(&first.assert_ready().unwrap_err());
    assert_eq!(calls.dropped(), 1);
    assert_eq!(second.await.unwrap(), 2);
}

/// Two calls of one job, as a hedge around the layer makes them: the older call is replaced, the
/// job goes on.
#[tokio::test(start_paused = true)]
async fn a_second_call_of_the_same_job_does_not_cancel_it() {
    let (log, recorder) = recording();
    let seen: Arc<Mutex<Option<BoxError>>> = Arc::default();
    let first_error = seen.clone();
    let inner = code(|job, request| async move {
        tokio::time::sleep(secs(1)).await;
        job.checkpoint()?;
        Ok(request)
    });
    let hedged = by_tens().latest().layer(inner);
    // Both calls are made at once, within the call of the log.
    let hedge = tower::service_fn(move |request: u32| {
        let mut service = hedged.clone();
        let (first, second) = (service.call(request), service.call(request));
        let seen = seen.clone();
        async move {
            let (first, second) = tokio::join!(first, second);
            *seen.lock().unwrap() = first.err();
            second
        }
    });
    let mut service = log.layer(hedge);
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 1);
    let error = first_error
        .lock()
        .unwrap()
        .take()
        .expect("the first call failed");
    let job = recorder.job();
    assert_eq!(replaced(&error).job(), Some(job));
    recorder.assert_names_of(job, ["dispatched", "started", "succeeded"]);
}

/// R2, R63: a job whose own code calls with its key replaces itself: both end, once each.
#[tokio::test(start_paused = true)]
async fn a_job_may_replace_itself() {
    type Slot = Arc<Mutex<Option<Stack>>>;
    let (log, recorder) = recording();
    let own: Slot = Arc::default();
    let slot = own.clone();
    let inner = code(move |job, request| {
        let own = slot.lock().unwrap().clone();
        async move {
            match own {
                Some(mut own) if job.id().is_some() && request == 1 => {
                    begin(&mut own, 2).await.await
                }
                _ => {
                    tokio::time::sleep(secs(1)).await;
                    Ok(request)
                }
            }
        }
    });
    let dedup = by_tens().latest();
    let mut service = Stack::new(log.layer(dedup.layer(inner)));
    *own.lock().unwrap() = Some(service.clone());
    let mut older = Polled::new(begin(&mut service, 1).await);
    // Nobody has to wake it once more.
    replaced(&older.assert_ready().unwrap_err());
    own.lock().unwrap().take();
    assert_eq!((recorder.jobs().len(), recorder.count("cancelled")), (2, 2));
    recorder.assert_one_terminal_each();
    assert_eq!(dedup.in_flight(), 0);
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 1);
}
