//! Dedup where the newer of two calls with one key takes the place of the older one.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{BoxError, CancelLayer, DedupLayer, RetryLayer, TimeoutLayer, dedup::DedupCounts};
use tower_keep_test::{Gate, Polled, Readiness, Scripted, Step};
use tower_keep_tests::*;

use super::reject_and_join::{ends_in_every_way, every_ending};

/// R2, R61: a new call takes the place of the one before it, without any other layer: that one is
/// woken, its work is dropped, and it ends in an error that says so.
#[tokio::test(start_paused = true)]
async fn a_newer_call_takes_the_place() {
    let dedup = by_tens().latest();
    let inner = Scripted::<u32, u32>::new().never().answer(2);
    let calls = inner.calls();
    let mut service = dedup.layer(inner.strict());
    let mut first = Polled::new(begin(&mut service, 1).await);
    first.assert_waiting();
    assert_eq!((calls.in_flight(), dedup.in_flight()), (1, 1));

    let second = begin(&mut service, 2).await;
    first.assert_woken();
    let error = first.assert_ready().unwrap_err();
    assert_eq!(replaced(&error).job(), None);
    assert_eq!(
        error.to_string(),
        "a newer request with the same key took its place"
    );
    assert_eq!((calls.count(), calls.dropped()), (1, 1));
    assert_eq!(dedup.in_flight(), 1, "the newer one has it");
    assert_eq!(second.await.unwrap(), 2);
    assert_eq!((dedup.in_flight(), first.wakes()), (0, 1));
}

/// R2: the old one does not succeed even if its result is there when it is replaced, only not
/// looked at yet.
#[tokio::test(start_paused = true)]
async fn a_replaced_call_never_succeeds() {
    let gate = Gate::new();
    let inner = Scripted::<u32, u32>::new()
        .step(Step::answer(1).when(&gate))
        .answer(2);
    let mut service = by_tens().latest().layer(inner.strict());
    let mut first = Polled::new(begin(&mut service, 1).await);
    first.assert_waiting();
    gate.open();
    first.assert_woken();
    let second = begin(&mut service, 2).await;
    replaced(&first.assert_ready().unwrap_err());
    assert_eq!(second.await.unwrap(), 2);
}

/// R2: a call that is replaced while it is polled for the last time does not succeed.
#[tokio::test(start_paused = true)]
async fn a_call_replaced_in_its_last_poll_does_not_succeed() {
    let own: Arc<Mutex<Option<Stack>>> = Arc::default();
    let newer: Arc<Mutex<Option<Work>>> = Arc::default();
    let (slot, call) = (own.clone(), newer.clone());
    let inner = code(move |_, request| {
        let own = slot.lock().unwrap().take();
        *call.lock().unwrap() = own.map(|mut own| own.call(2));
        std::future::ready(Ok(request))
    });
    let mut service = Stack::new(by_tens().latest().layer(inner));
    *own.lock().unwrap() = Some(service.clone());
    let mut older = Polled::new(begin(&mut service, 1).await);
    replaced(&older.assert_ready().unwrap_err());
    let newer = newer.lock().unwrap().take().expect("it was called");
    assert_eq!(newer.await.unwrap(), 2);
}

/// R40b, R50: a call that is replaced before it was polled, or while the service is not ready,
/// never starts, and the service is not called for it.
#[tokio::test(start_paused = true)]
async fn a_call_that_had_not_started_never_does() {
    for polls in [0, 1] {
        let (log, recorder) = recording();
        let ready = Gate::new();
        let inner = Scripted::<u32, u32>::new()
            .answer(2)
            .readiness(Readiness::ok().when(&ready))
            .recording();
        let calls = inner.calls();
        let dedup = by_tens().latest();
        let mut service = log.layer(dedup.layer(inner.strict()));
        let mut first = Polled::new(begin(&mut service, 1).await);
        assert_eq!(dedup.in_flight(), 1);
        (0..polls).for_each(|_| first.assert_waiting());
        let second = begin(&mut service, 2).await;
        ready.open();
        replaced(&first.assert_ready().unwrap_err());
        assert_eq!(second.await.unwrap(), 2);
        assert_eq!(calls.requests(), [2]);
        let old = recorder.jobs()[0];
        recorder.assert_names_of(old, ["dispatched", "cancelled"]);
        recorder.assert_one_terminal_each();
    }
}

/// R54: of a thousand calls at once one has a result, the last.
#[tokio::test(start_paused = true)]
async fn of_a_burst_the_last_has_a_result() {
    let dedup = by_tens().latest();
    let handle = dedup.handle();
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::with(Ok).after(secs(1)));
    let calls = inner.calls();
    let service = dedup.layer(inner.strict());
    let mut under_way = Vec::new();
    for _ in 0..1000 {
        let mut service = service.clone();
        under_way.push(tokio::spawn(
            async move { begin(&mut service, 1).await.await },
        ));
    }
    let results = futures::future::join_all(under_way).await;
    let (last, others) = results.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap().as_ref().unwrap(), &1);
    for other in others {
        replaced(other.as_ref().unwrap().as_ref().unwrap_err());
    }
    assert_eq!(calls.completed(), 1);
    let counts = handle.counts();
    assert_eq!((counts.executions, counts.replaced), (1000, 999));
    assert_eq!(counts.rejected + counts.joined + counts.hits, 0);
    assert!(handle.in_flight().is_empty());
}

/// R53: different keys run side by side; no key means no dedup.
#[tokio::test(start_paused = true)]
async fn different_keys_run_side_by_side() {
    let inner = Scripted::<u32, u32>::new().times(4, || Step::answer(1).after(secs(1)));
    let calls = inner.calls();
    let mut service = by_tens().latest().layer(inner.strict());
    let mut under_way = Vec::new();
    for request in [1, 11, 100, 100] {
        under_way.push(begin(&mut service, request).await);
    }
    for result in futures::future::join_all(under_way).await {
        assert_eq!(result.unwrap(), 1);
    }
    assert_eq!((calls.count(), calls.peak()), (4, 4));
}

/// R52: when the call ends the key is free: success, failure, timeout, cancel, panic, drop,
/// replaced.
#[tokio::test(start_paused = true)]
async fn the_key_is_free_after_every_ending() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let dedup = by_tens().latest();
    let inner = every_ending().never().never().answer(2).answer(3);
    let mut service = ServiceBuilder::new()
        .layer(cancel)
        .layer(dedup.clone())
        .layer(TimeoutLayer::new(secs(1)))
        .service(inner.strict());
    let free = || assert_eq!(dedup.in_flight(), 0);

    ends_in_every_way(&mut service, &handle, free, |panicked| {
        assert!(panicked.unwrap_err().is_panic());
    })
    .await;
    drop(begin(&mut service, 1).await);
    free();
    let mut dropped = Polled::new(begin(&mut service, 1).await);
    dropped.assert_pending();
    assert_eq!(dedup.in_flight(), 1);
    drop(dropped);
    free();
    let mut old = Polled::new(begin(&mut service, 1).await);
    old.assert_pending();
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 2);
    free();
    drop(old);
    free();
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 3);
    free();
}

/// R52: a replaced call that is dropped, or ends, frees nothing of the call that has its place.
#[tokio::test(start_paused = true)]
async fn a_replaced_call_frees_nothing() {
    let dedup = by_tens().latest();
    let inner = Scripted::<u32, u32>::new().otherwise(Step::never);
    let calls = inner.calls();
    let mut service = dedup.layer(inner.strict());
    let mut first = Polled::new(begin(&mut service, 1).await);
    first.assert_waiting();
    let mut second = Polled::new(begin(&mut service, 1).await);
    second.assert_waiting();
    drop(first);
    let mut third = Polled::new(begin(&mut service, 1).await);
    third.assert_waiting();
    replaced(&second.assert_ready().unwrap_err());
    assert_eq!((dedup.in_flight(), calls.in_flight()), (1, 1));
    drop(third);
    assert_eq!((dedup.in_flight(), calls.in_flight()), (0, 0));
}

/// R54: a job's retries keep its place, and a wait for the next one ends at once when it is taken.
#[tokio::test(start_paused = true)]
async fn a_wait_for_the_next_attempt_ends() {
    let inner = Scripted::<u32, u32>::new().error("no").answer(2);
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(by_tens().latest())
        .layer(RetryLayer::new())
        .service(inner.strict());
    let mut first = Polled::new(begin(&mut service, 1).await);
    first.assert_waiting();
    let second = begin(&mut service, 2).await;
    replaced(&first.assert_ready().unwrap_err());
    assert_eq!(second.await.unwrap(), 2);
    assert_eq!(calls.count(), 2);
}

/// With a response for the replaced call, it goes into axum's router as it is, in front of a body
/// that is not `Clone`.
#[tokio::test(start_paused = true)]
async fn it_goes_into_a_router() {
    use axum::{
        Router,
        body::Body,
        http::{Request, StatusCode},
        response::IntoResponse,
        routing::get,
    };
    let app = || {
        let slow = async || {
            tokio::time::sleep(secs(1)).await;
            "done"
        };
        Router::new().route("/", get(slow))
    };
    let dedup = || DedupLayer::new(|_: &Request<Body>| Some(()));
    let conflict = |_| StatusCode::CONFLICT.into_response();
    for app in [
        app().layer(dedup().latest().respond_with(conflict)),
        app().layer(dedup().debounce(secs(1)).respond_with(conflict)),
    ] {
        let call = || app.clone().oneshot(Request::new(Body::empty()));
        let (first, second) = tokio::join!(call(), call());
        assert_eq!(first.unwrap().status(), StatusCode::CONFLICT);
        assert_eq!(second.unwrap().status(), StatusCode::OK);
    }
}

/// What the caller sees: the user's own error, or a response that does not count as a success.
#[tokio::test(start_paused = true)]
async fn the_caller_sees_what_the_setting_says() {
    #[derive(Debug, thiserror::Error)]
    enum AppError {
        #[error("replaced: {0}")]
        Replaced(bool),
        #[error("{0}")]
        Other(&'static str),
    }
    impl From<&'static str> for AppError {
        fn from(text: &'static str) -> Self {
            Self::Other(text)
        }
    }
    let script = || Scripted::<u32, u32, &'static str>::new().never().answer(2);
    let mut service = by_tens()
        .latest()
        .fail_with(|why| AppError::Replaced(why.replaced().is_some()))
        .layer(script().strict());
    let first = tokio::spawn(begin(&mut service, 1).await);
    tokio::task::yield_now().await;
    assert_eq!(begin(&mut service, 2).await.await.unwrap(), 2);
    assert!(matches!(
        first.await.unwrap(),
        Err(AppError::Replaced(true))
    ));

    let (log, recorder) = recording();
    let mut service = log.layer(
        by_tens()
            .latest()
            .respond_with(|_| 429)
            .layer(script().strict()),
    );
    let first = tokio::spawn(begin(&mut service, 1).await);
    tokio::task::yield_now().await;
    assert_eq!(begin(&mut service, 2).await.await.unwrap(), 2);
    assert_eq!(first.await.unwrap().unwrap(), 429);
    assert_eq!(recorder.count("cancelled"), 1);
    recorder.assert_one_terminal_each();
}

/// The handle shows the call that has the place, with its job.
#[tokio::test(start_paused = true)]
async fn the_handle_shows_who_has_the_place() {
    let (log, recorder) = recording();
    let dedup = by_tens().latest();
    let handle = dedup.handle();
    let mut service =
        dedup.layer(log.layer(Scripted::<u32, u32>::new().otherwise(Step::never).strict()));
    let mut callers = Vec::new();
    for request in [1, 2, 11] {
        let mut caller = Polled::new(begin(&mut service, request).await);
        caller.assert_waiting();
        callers.push(caller);
    }
    let jobs = recorder.jobs();
    let mut shown: Vec<_> = handle
        .in_flight()
        .iter()
        .map(|call| (*call.key(), call.job(), call.followers(), call.is_waiting()))
        .collect();
    shown.sort_by_key(|call| call.0);
    let expected = [(0, Some(jobs[1]), 0, false), (1, Some(jobs[2]), 0, false)];
    assert_eq!(shown, expected);
    drop(callers);
    assert!(handle.in_flight().is_empty());
    let expected = DedupCounts::default();
    assert_eq!(handle.counts(), {
        let mut counts = expected;
        (counts.executions, counts.replaced) = (3, 1);
        counts
    });
}

/// R2: across threads, a call whose place was taken before its work was over has no result to show,
/// and every place is free in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_replaced_call_succeeds_across_threads() {
    let newest = Arc::new(AtomicU64::new(0));
    let dedup = DedupLayer::new(|_: &u64| Some(0u8)).latest();
    let handle = dedup.handle();
    let began = newest.clone();
    // Says which call was the newest that had begun when it came to its end.
    let inner = tower::service_fn(move |request: u64| {
        let began = began.clone();
        began.fetch_max(request, Ordering::SeqCst);
        async move {
            for _ in 0..request % 3 {
                tokio::task::yield_now().await;
            }
            Ok::<_, BoxError>((request, began.load(Ordering::SeqCst)))
        }
    });
    let service = dedup.layer(inner);
    let entering = Arc::new(Mutex::new(0));
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (mut service, entering) = (service.clone(), entering.clone());
        tasks.push(tokio::spawn(async move {
            let mut succeeded = 0;
            for _ in 0..2_000 {
                let call = {
                    // In this order they get the place.
                    let mut number = entering.lock().unwrap();
                    *number += 1;
                    service.call(*number)
                };
                match call.await {
                    Ok((request, newest)) => {
                        assert!(
                            newest <= request,
                            "{newest} had begun before {request} ended"
                        );
                        succeeded += 1;
                    }
                    Err(error) => drop(replaced(&error)),
                }
            }
            succeeded
        }));
    }
    let mut succeeded = 0;
    for task in tasks {
        succeeded += task.await.unwrap();
    }
    let counts = handle.counts();
    assert!(succeeded > 0);
    assert_eq!(counts.executions, 8_000);
    assert_eq!(counts.replaced + succeeded, 8_000);
    assert_eq!(dedup.in_flight(), 0);
}
