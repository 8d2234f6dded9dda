//! A key in flight: later calls are rejected or join, and the key is free after every ending.

use std::sync::Arc;

use tokio::task::JoinError;
use tower::{Layer, Service, ServiceBuilder, limit::ConcurrencyLimitLayer};
use tower_keep::{
    BoxError, CancelLayer, DedupLayer, EventKind, JobId, LogLayer, ProgressLayer, RetryLayer,
    TimeoutLayer, cancel::CancelHandle, dedup::Duplicate, find,
};
use tower_keep_test::{Gate, Polled, Readiness, Scripted, Step};
use tower_keep_tests::*;

fn duplicate(error: &BoxError) -> &Duplicate {
    find::<Duplicate>(&**error).expect("a duplicate")
}

/// R50: the key is marked before the work starts: before the first poll, and while the leader waits
/// for readiness.
#[tokio::test(start_paused = true)]
async fn the_key_is_marked_before_the_work() {
    let dedup = DedupLayer::new(|key: &u32| Some(*key));
    let inner = Scripted::<u32, u32>::new().never_ready();
    let calls = inner.calls();
    let mut service = dedup.layer(inner.strict());
    let first = begin(&mut service, 1).await;
    assert_eq!(dedup.in_flight(), 1);
    duplicate(&begin(&mut service, 1).await.await.unwrap_err());
    let mut first = Polled::new(first);
    first.assert_waiting();
    duplicate(&begin(&mut service.clone(), 1).await.await.unwrap_err());
    assert_eq!((calls.count(), dedup.in_flight()), (0, 1));
}

/// R51: a second call with the same key while in flight is not executed: it is rejected with the
/// existing job's id.
#[tokio::test(start_paused = true)]
async fn a_duplicate_is_rejected_with_the_jobs_id() {
    // Whether the job begins outside the layer or inside it.
    for outside in [true, false] {
        let (log, recorder) = recording();
        let dedup = DedupLayer::new(|key: &u32| Some(*key));
        let inner = Scripted::<u32, u32>::new().answer_after(secs(1), 5);
        let calls = inner.calls();
        let mut service: Stack = if outside {
            Stack::new(
                ServiceBuilder::new()
                    .layer(log)
                    .layer(dedup)
                    .service(inner.strict()),
            )
        } else {
            Stack::new(
                ServiceBuilder::new()
                    .layer(dedup)
                    .layer(log)
                    .service(inner.strict()),
            )
        };
        let first = tokio::spawn(begin(&mut service, 1).await);
        tokio::task::yield_now().await;
        let id: JobId = recorder.jobs()[0];
        let error = begin(&mut service, 1).await.await.unwrap_err();
        assert_eq!(duplicate(&error).job(), Some(id));
        assert_eq!(
            error.to_string(),
            format!("an identical request is in flight as job {id}")
        );
        assert_eq!(first.await.unwrap().unwrap(), 5);
        assert_eq!(calls.count(), 1);
        recorder.assert_one_terminal_each();
        if outside {
            let second = recorder.jobs()[1];
            assert!(recorder.kinds_of(second).contains(&EventKind::Duplicate {
                of: Some(id),
                joined: false
            }));
        }
    }
}

/// R51: or (a setting) it joins it and gets its result.
#[tokio::test(start_paused = true)]
async fn a_duplicate_joins() {
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 5)
        .error_after(secs(1), "broken")
        .answer(6);
    let calls = inner.calls();
    let dedup = DedupLayer::new(|key: &u32| Some(*key)).join();
    let mut service = dedup.layer(inner.strict());
    let (first, second) = (begin(&mut service, 1).await, begin(&mut service, 1).await);
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.unwrap(), second.unwrap()), (5, 5));

    // An error that is not `Clone` is shared, and found.
    let (first, second) = (begin(&mut service, 1).await, begin(&mut service, 1).await);
    let (first, second) = tokio::join!(first, second);
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert_eq!(error.to_string(), "broken");
    }
    assert_eq!(calls.count(), 2);
    // Nothing is kept, a failure least of all.
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 6);
    assert_eq!(dedup.in_flight(), 0);
}

/// R51: a shared error keeps its chain, the only caller gets it as it was.
#[tokio::test(start_paused = true)]
async fn a_shared_error_is_found() {
    #[derive(Debug, thiserror::Error)]
    #[error("leaf {0}")]
    struct Leaf(u32);
    let inner = tower::service_fn(|n: u32| async move {
        tokio::time::sleep(secs(1)).await;
        Err::<u32, BoxError>(Leaf(n).into())
    });
    let mut service = DedupLayer::new(|key: &u32| Some(*key)).join().layer(inner);
    let (first, second) = (begin(&mut service, 1).await, begin(&mut service, 1).await);
    let (first, second) = tokio::join!(first, second);
    for error in [&first.unwrap_err(), &second.unwrap_err()] {
        assert_eq!(find::<Leaf>(&**error).unwrap().0, 1);
        assert_eq!(error.to_string(), "leaf 1");
    }
    let alone = begin(&mut service, 2).await.await.unwrap_err();
    assert!(alone.is::<Leaf>());
}

/// Calls that end in a success, an error, a time limit, a cancellation, and a panic in the future
/// and in `call`.
pub(super) fn every_ending() -> Scripted<u32, u32> {
    Scripted::new()
        .answer(1)
        .error("no")
        .never()
        .never()
        .panic("in the future")
        .step(Step::panic_in_call("in call"))
}

/// Makes the calls of [`every_ending`] one after the other, in a stack with a limit of a second.
/// After each of them the key is free.
pub(super) async fn ends_in_every_way<S>(
    service: &mut S,
    cancel: &CancelHandle,
    free: impl Fn(),
    panicked: impl Fn(Result<Result<u32, BoxError>, JoinError>),
) where
    S: Service<u32, Response = u32, Error = BoxError, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    begin(service, 1).await.await.unwrap();
    free();
    begin(service, 1).await.await.unwrap_err();
    free();
    begin(service, 1).await.await.unwrap_err();
    free();
    let cancelled = tokio::spawn(begin(service, 1).await);
    tokio::task::yield_now().await;
    cancel.cancel(cancel.jobs()[0].job);
    cancelled.await.unwrap().unwrap_err();
    free();
    for _ in 0..2 {
        let mut service = service.clone();
        panicked(tokio::spawn(async move { begin(&mut service, 1).await.await }).await);
        free();
    }
}

/// R52: when the job ends the key is free: success, failure, timeout, cancel, panic, drop.
#[tokio::test(start_paused = true)]
async fn the_key_is_free_after_every_ending() {
    for join in [false, true] {
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let dedup = DedupLayer::new(|key: &u32| Some(*key));
        let joining = dedup.clone().join();
        let inner = every_ending().never().answer(2);
        let builder = ServiceBuilder::new().layer(cancel);
        let limit = TimeoutLayer::new(secs(1));
        let mut service: Stack = if join {
            Stack::new(
                builder
                    .layer(joining.clone())
                    .layer(limit)
                    .service(inner.strict()),
            )
        } else {
            Stack::new(
                builder
                    .layer(dedup.clone())
                    .layer(limit)
                    .service(inner.strict()),
            )
        };
        let in_flight = || dedup.in_flight() + joining.in_flight();
        let free = || assert_eq!(in_flight(), 0);

        ends_in_every_way(&mut service, &handle, free, |panicked| {
            if join {
                assert!(duplicate(&panicked.unwrap().unwrap_err()).execution_panicked());
            } else {
                assert!(panicked.unwrap_err().is_panic());
            }
        })
        .await;
        let mut dropped = Polled::new(begin(&mut service, 1).await);
        dropped.assert_pending();
        assert_eq!(in_flight(), 1);
        drop(dropped);
        free();
        drop(begin(&mut service, 1).await);
        free();
        assert_eq!(begin(&mut service, 1).await.await.unwrap(), 2);
    }
}

/// R53: different keys run side by side; no key means no dedup.
#[tokio::test(start_paused = true)]
async fn different_keys_run_side_by_side() {
    for join in [false, true] {
        let inner = Scripted::<u32, u32>::new().times(4, || Step::answer(1).after(secs(1)));
        let calls = inner.calls();
        let dedup = DedupLayer::new(|key: &u32| (*key > 0).then_some(*key));
        let mut service: Stack = if join {
            Stack::new(dedup.join().layer(inner.strict()))
        } else {
            Stack::new(dedup.layer(inner.strict()))
        };
        let mut under_way = Vec::new();
        for key in [1, 2, 0, 0] {
            under_way.push(begin(&mut service, key).await);
        }
        for result in futures::future::join_all(under_way).await {
            assert_eq!(result.unwrap(), 1);
        }
        assert_eq!((calls.count(), calls.peak()), (4, 4));
    }
}

/// R54: N at once, one execution; the readiness of the inner service is not taken by followers.
#[tokio::test(start_paused = true)]
async fn many_at_once_are_one_execution() {
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 5)
        .answer(6);
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(DedupLayer::new(|key: &u32| (*key > 0).then_some(*key)).join())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(inner.strict());
    let mut under_way = Vec::new();
    for _ in 0..8 {
        under_way.push(begin(&mut service.clone(), 1).await);
    }
    for result in futures::future::join_all(under_way).await {
        assert_eq!(result.unwrap(), 5);
    }
    assert_eq!(calls.count(), 1);
    assert_eq!(
        begin(&mut service, 0).await.await.unwrap(),
        6,
        "no permit is left behind"
    );
}

/// R54: a job's retries keep its key.
#[tokio::test(start_paused = true)]
async fn retries_keep_the_key() {
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .error("no")
        .answer(1);
    let mut service = ServiceBuilder::new()
        .layer(DedupLayer::new(|key: &u32| Some(*key)))
        .layer(RetryLayer::new())
        .service(inner.strict());
    let first = tokio::spawn(begin(&mut service, 1).await);
    for _ in 0..5 {
        tokio::time::sleep(ms(500)).await;
        duplicate(&begin(&mut service, 1).await.await.unwrap_err());
    }
    assert_eq!(first.await.unwrap().unwrap(), 1);
}

/// R54b: joined callers outlive the first one: if it goes away, the work goes on for them; when the
/// last one goes, it stops.
#[tokio::test(start_paused = true)]
async fn joined_callers_outlive_the_first() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new().answer_after(secs(3), 5).never();
    let calls = inner.calls();
    let dedup = DedupLayer::new(|key: &u32| Some(*key)).join();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(dedup.clone())
        .service(inner.strict());
    let first = tokio::spawn(begin(&mut service, 1).await);
    tokio::task::yield_now().await;
    let second = tokio::spawn(begin(&mut service, 1).await);
    let third = tokio::spawn(begin(&mut service, 1).await);
    tokio::time::sleep(secs(1)).await;
    first.abort();
    tokio::time::sleep(secs(1)).await;
    assert_eq!((calls.in_flight(), calls.dropped()), (1, 0));
    assert_eq!(
        (
            second.await.unwrap().unwrap(),
            third.await.unwrap().unwrap()
        ),
        (5, 5)
    );
    assert_eq!(calls.count(), 1);
    recorder.assert_one_terminal_each();

    let mut callers = Vec::new();
    for _ in 0..3 {
        callers.push(tokio::spawn(begin(&mut service, 1).await));
    }
    tokio::time::sleep(secs(1)).await;
    for (left, caller) in (0..3).rev().zip(callers) {
        assert_eq!(calls.dropped(), 0);
        caller.abort();
        tokio::time::sleep(secs(1)).await;
        assert_eq!(dedup.in_flight(), usize::from(left > 0));
    }
    assert_eq!(calls.dropped(), 1);
}

/// R54b: the work of a first caller that left does not see a cancellation as long as others wait
/// for it; when the last one leaves, it does.
#[tokio::test(start_paused = true)]
async fn the_work_is_not_cancelled_while_others_wait() {
    for cancelled in [false, true] {
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let work: Arc<std::sync::Mutex<Vec<tower_keep::Job>>> = Arc::default();
        let jobs = work.clone();
        let mut service = ServiceBuilder::new()
            .layer(cancel)
            .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
            .service(code(move |job, n| {
                let jobs = jobs.clone();
                async move {
                    jobs.lock().unwrap().push(job.clone());
                    job.step("a", async {
                        tokio::time::sleep(secs(2)).await;
                        Ok::<_, BoxError>(())
                    })
                    .await?;
                    job.step("b", async {
                        tokio::time::sleep(secs(2)).await;
                        Ok::<_, BoxError>(())
                    })
                    .await?;
                    Ok(n)
                }
            }));
        let first = tokio::spawn(begin(&mut service, 1).await);
        tokio::task::yield_now().await;
        let second = tokio::spawn(begin(&mut service, 1).await);
        tokio::time::sleep(secs(1)).await;
        if cancelled {
            handle.cancel(handle.jobs()[0].job);
            first.await.unwrap().unwrap_err();
        } else {
            first.abort();
        }
        assert_eq!(second.await.unwrap().unwrap(), 1, "both steps ran");

        let first = tokio::spawn(begin(&mut service, 1).await);
        let second = tokio::spawn(begin(&mut service, 1).await);
        tokio::time::sleep(secs(1)).await;
        first.abort();
        tokio::task::yield_now().await;
        let job = work.lock().unwrap().last().unwrap().clone();
        assert!(!job.is_cancelled());
        second.abort();
        tokio::task::yield_now().await;
        assert!(job.is_cancelled(), "nobody waits any more");
    }
}

/// A caller that joins is polled when it is called and when the result is there, not in between.
#[tokio::test(start_paused = true)]
async fn a_joined_caller_only_waits() {
    let inner = tower::service_fn(|n: u32| async move {
        for _ in 0..1000 {
            tokio::time::sleep(secs(3)).await;
        }
        Ok::<_, BoxError>(n)
    });
    let mut service = DedupLayer::new(|key: &u32| Some(*key)).join().layer(inner);
    let first = tokio::spawn(begin(&mut service, 1).await);
    tokio::task::yield_now().await;
    let mut second = Polled::new(begin(&mut service, 1).await);
    second.assert_waiting();
    assert_eq!(first.await.unwrap().unwrap(), 1);
    second.assert_woken();
    assert_eq!(second.assert_ready().unwrap(), 1);
    assert_eq!(second.wakes(), 1);
}

/// The first caller's job shows the work; a joined one says whom it joined, what is reported, and
/// ends with it.
#[tokio::test(start_paused = true)]
async fn jobs_of_a_joined_execution() {
    let progress = ProgressLayer::new();
    let mut events = progress.handle().subscribe();
    let inner = code(|job, n| async move {
        job.progress(0.5);
        tokio::time::sleep(secs(1)).await;
        Ok(n)
    });
    let mut service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(progress)
        .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
        .service(inner);
    let (first, second) = (begin(&mut service, 1).await, begin(&mut service, 1).await);
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok() && second.is_ok());
    let mut seen = Vec::new();
    while let Some(Ok(event)) = events.try_recv() {
        seen.push((event.job, event.kind.name()));
    }
    let (first, second) = (
        seen[0].0,
        seen.iter().find(|(job, _)| *job != seen[0].0).unwrap().0,
    );
    let of = |job| {
        seen.iter()
            .filter(|(of, _)| *of == job)
            .map(|(_, name)| *name)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of(first),
        ["dispatched", "started", "progress", "succeeded"]
    );
    assert_eq!(
        of(second),
        ["dispatched", "duplicate", "progress", "succeeded"]
    );
}

/// R64 A wait for readiness is every caller's: when it is over each is woken, though the first one
/// has left.
#[tokio::test(start_paused = true)]
async fn a_wait_for_readiness_is_every_callers() {
    let ready = Gate::new();
    let inner = Scripted::<u32, u32>::new()
        .answer(5)
        .readiness(Readiness::ok().when(&ready));
    let mut service = DedupLayer::new(|key: &u32| Some(*key))
        .join()
        .layer(inner.strict());
    let mut first = Polled::new(begin(&mut service, 1).await);
    let mut second = Polled::new(begin(&mut service, 1).await);
    first.assert_waiting();
    second.assert_waiting();
    drop(first);
    assert!(!second.is_woken());
    ready.open();
    second.assert_woken();
    assert_eq!(second.assert_ready().unwrap(), 5);
}
