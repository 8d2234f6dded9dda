//! Results that are kept for requests that come later.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower::{Layer, ServiceBuilder};
use tower_keep::{
    CancelLayer, DedupLayer, EventKind, Job, Outcome, TimeoutLayer,
    dedup::{DedupHandle, Duplicate},
    find,
};
use tower_keep_test::{Polled, Readiness, Scripted, Step};
use tower_keep_tests::*;

fn key(key: &u32) -> Option<u32> {
    Some(*key)
}

fn most(most: usize) -> NonZeroUsize {
    NonZeroUsize::new(most).unwrap()
}

/// R7: a fresh result is answered without an execution and without asking whether the service is
/// ready; at the end of its time to live it is executed again.
#[tokio::test(start_paused = true)]
async fn a_fresh_result_is_answered() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 5)
        .answer(6)
        .readiness(Readiness::ok())
        .readiness(Readiness::ok().after(secs(100)));
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(DedupLayer::new(key).join().cache(secs(10)))
        .service(inner.strict());
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 5);
    tokio::time::sleep(ms(9_999)).await;
    assert_eq!(
        Polled::new(begin(&mut service, 1).await)
            .assert_ready()
            .unwrap(),
        5
    );
    assert_eq!((calls.count(), calls.clones()), (1, 1));

    let (first, second) = (recorder.jobs()[0], recorder.jobs()[1]);
    recorder.assert_names_of(second, ["dispatched", "cache_hit", "succeeded"]);
    assert!(recorder.kinds_of(second).contains(&EventKind::CacheHit {
        of: Some(first),
        age: ms(9_999),
        stale: false,
    }));
    recorder.assert_one_terminal_each();

    tokio::time::sleep(ms(1)).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 6);
    assert_eq!((begun.elapsed(), calls.count()), (secs(100), 2));
}

/// R5, R7: a detached job whose caller went away runs on, and the next identical request gets its
/// result: one execution in total.
#[tokio::test(start_paused = true)]
async fn a_detached_jobs_result_is_kept() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new().answer_after(secs(5), 7);
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(CancelLayer::new().detached())
        .layer(DedupLayer::new(key).join().cache(secs(60)))
        .service(inner.strict());
    let call = tokio::spawn(begin(&mut service, 1).await);
    tokio::time::sleep(secs(1)).await;
    call.abort();
    // While it runs on it can be joined, and after it is over its result is there.
    let joined = tokio::spawn(begin(&mut service, 1).await);
    tokio::time::sleep(secs(10)).await;
    assert_eq!(joined.await.unwrap().unwrap(), 7);
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 7);
    assert_eq!((calls.count(), calls.completed()), (1, 1));
    recorder.assert_one_terminal_each();
    assert_eq!(recorder.count("succeeded"), 3);
    assert_eq!(recorder.count("started"), 1);
}

/// R10, R54b: failures are never kept: an error, a response classified as one, what a layer inside
/// answered, a panic, and what a cancelled job hands out.
#[tokio::test(start_paused = true)]
async fn failures_are_never_kept() {
    let dedup = DedupLayer::new(key).join().cache(secs(1000));
    let handle = dedup.handle();

    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .panic("oh")
        .answer(1);
    let mut service = dedup.layer(inner.strict());
    begin(&mut service, 1).await.await.unwrap_err();
    let panicked = begin(&mut service, 1).await.await.unwrap_err();
    assert!(find::<Duplicate>(&*panicked).unwrap().execution_panicked());
    assert_eq!(handle.cached(), 0);
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 1);
    assert_eq!(handle.cached(), 1);

    let classified = dedup
        .clone()
        .classify(|result: &Result<u32, _>| match result {
            Ok(500) => Outcome::Failure,
            Ok(404) => Outcome::Ignored,
            _ => Outcome::Success,
        });
    let inner = Scripted::<u32, u32>::new()
        .answer(500)
        .answer(404)
        .answer(200);
    let mut service = classified.layer(inner.strict());
    for answer in [500, 404, 200, 200] {
        assert_eq!(begin(&mut service, 1).await.await.unwrap(), answer);
    }

    let limit = TimeoutLayer::new(secs(1)).respond_with(|_| 504);
    let inner = Scripted::<u32, u32, Infallible>::new().never().answer(200);
    let answering = dedup.clone().respond_with(|_| 409);
    let handle = answering.handle();
    let mut service = ServiceBuilder::new()
        .layer(answering)
        .layer(limit)
        .service(inner.strict());
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 504);
    assert_eq!(handle.cached(), 0);
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 200);

    // It heeds the token and answers with what it has.
    let handle = dedup.handle();
    let cancel = CancelLayer::new().grace(secs(10));
    let jobs = cancel.handle();
    let mut service = ServiceBuilder::new()
        .layer(cancel)
        .layer(dedup.clone())
        .service(code(|job: Job, _| async move {
            job.cancelled().await;
            Ok(1)
        }));
    handle.invalidate_all();
    let call = tokio::spawn(begin(&mut service, 1).await);
    tokio::task::yield_now().await;
    jobs.cancel(jobs.jobs()[0].job);
    call.await.unwrap().unwrap_err();
    assert_eq!((handle.cached(), dedup.in_flight()), (0, 0));
}

type Infallible = std::convert::Infallible;

/// R54b: a bounded count: what was asked for the longest time ago goes first.
#[tokio::test(start_paused = true)]
async fn the_count_is_bounded() {
    let dedup = DedupLayer::new(key)
        .join()
        .cache(secs(10))
        .max_entries(most(2));
    let inner = Scripted::<u32, u32>::new().otherwise(|| Step::answer(1));
    let calls = inner.calls();
    let mut service = dedup.layer(inner.strict());
    // What is asked for, and how many executions there were after it.
    for (key, executions) in [(1, 1), (2, 2), (1, 2), (3, 3), (1, 3), (2, 4), (3, 5)] {
        begin(&mut service, key).await.await.unwrap();
        assert_eq!(calls.count(), executions, "after {key}");
    }
    assert_eq!(dedup.handle().cached(), 2);
    // What is too old makes room though there is enough.
    tokio::time::sleep(secs(10)).await;
    begin(&mut service, 4).await.await.unwrap();
    assert_eq!(dedup.handle().cached(), 1);
}

/// R54b: invalidated by key or altogether, what was kept is gone; what is in flight goes to its
/// callers, is joined by nobody else, and not kept.
#[tokio::test(start_paused = true)]
async fn results_are_invalidated() {
    let dedup = DedupLayer::new(key).join().cache(secs(1000));
    let handle = dedup.handle();
    for by_key in [true, false] {
        let inner = Scripted::<u32, u32>::new()
            .answer(1)
            .answer_after(secs(1), 2)
            .answer(3);
        let calls = inner.calls();
        let mut service = dedup.layer(inner.strict());
        assert_eq!(begin(&mut service, 1).await.await.unwrap(), 1);
        if by_key {
            assert!(handle.invalidate(&1));
        } else {
            handle.invalidate_all();
        }
        let first = tokio::spawn(begin(&mut service, 1).await);
        tokio::task::yield_now().await;
        let follower = tokio::spawn(begin(&mut service, 1).await);
        tokio::task::yield_now().await;
        assert_eq!(calls.count(), 2);
        if by_key {
            assert!(!handle.invalidate(&1), "it is not there yet");
        } else {
            handle.invalidate_all();
        }
        assert_eq!(dedup.in_flight(), 0);
        // A call that comes now gets what begins now, and that is kept.
        for _ in 0..2 {
            assert_eq!(begin(&mut service, 1).await.await.unwrap(), 3);
        }
        assert_eq!((calls.count(), handle.cached()), (3, 1));
        for joined in [first, follower] {
            assert_eq!(joined.await.unwrap().unwrap(), 2);
        }
        assert_eq!(begin(&mut service, 1).await.await.unwrap(), 3);
        assert_eq!((calls.count(), dedup.in_flight()), (3, 0));
        assert!(!handle.invalidate(&2));
        handle.invalidate_all();
    }
}

/// R7: followers and later calls get the same; another key has nothing to do with it, nor has a
/// service whose responses are of another type.
#[tokio::test(start_paused = true)]
async fn each_key_has_its_own() {
    let dedup = DedupLayer::new(key).join().cache(Duration::MAX);
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 1)
        .answer(2);
    let other = Scripted::<u32, &str>::new().answer("one");
    let mut service = dedup.layer(inner.strict());
    let mut other = dedup.layer(other.strict());
    let (first, second) = (begin(&mut service, 1).await, begin(&mut service, 1).await);
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.unwrap(), second.unwrap()), (1, 1));
    tokio::time::sleep(secs(1_000_000)).await;
    for _ in 0..2 {
        assert_eq!(begin(&mut service, 1).await.await.unwrap(), 1);
        assert_eq!(begin(&mut service.clone(), 2).await.await.unwrap(), 2);
        assert_eq!(begin(&mut other, 1).await.await.unwrap(), "one");
    }
    assert_eq!(dedup.handle().cached(), 3);
    assert!(dedup.handle().invalidate(&1));
    assert_eq!(dedup.handle().cached(), 1);
}

/// R7, R54: all services of a layer join each other's executions; a layer that caches has
/// executions of its own.
#[tokio::test(start_paused = true)]
async fn a_layer_that_caches_joins_none_of_one_without_a_cache() {
    let dedup = DedupLayer::new(key).join();
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 1)
        .answer_after(secs(1), 2);
    let calls = inner.calls();
    let keeping = dedup.clone().cache(secs(60));
    let mut bare = dedup.layer(inner.clone());
    let mut joins = dedup.clone().layer(inner.clone());
    let mut caching = keeping.layer(inner);
    let (leader, follower) = (begin(&mut bare, 1).await, begin(&mut joins, 1).await);
    let apart = begin(&mut caching, 1).await;
    let (leader, follower, apart) = tokio::join!(leader, follower, apart);
    assert_eq!((leader.unwrap(), follower.unwrap()), (1, 1));
    assert_eq!(apart.unwrap(), 2);
    assert_eq!(calls.count(), 2);
    assert_eq!((dedup.handle().cached(), keeping.handle().cached()), (0, 1));
    assert_eq!(begin(&mut caching, 1).await.await.unwrap(), 2);
}

/// R54b: no code of the user's runs under a lock: a response may use the handle when it is cloned
/// or dropped.
#[tokio::test(start_paused = true)]
async fn responses_may_use_the_handle() {
    struct Response(DedupHandle<u32>, Arc<AtomicUsize>);
    impl Clone for Response {
        fn clone(&self) -> Self {
            assert!(self.0.cached() <= 1);
            self.1.fetch_add(1, Ordering::Relaxed);
            Self(self.0.clone(), Arc::clone(&self.1))
        }
    }
    impl Drop for Response {
        fn drop(&mut self) {
            assert!(self.0.cached() <= 1);
        }
    }
    let dedup = DedupLayer::new(key)
        .join()
        .cache(secs(10))
        .max_entries(most(1));
    let (handle, clones) = (dedup.handle(), Arc::new(AtomicUsize::new(0)));
    let given = (handle.clone(), Arc::clone(&clones));
    let mut service = dedup.layer(tower::service_fn(move |_: u32| {
        let response = Response(given.0.clone(), Arc::clone(&given.1));
        async move { Ok::<_, Infallible>(response) }
    }));
    for key in [1, 1, 2] {
        drop(begin(&mut service, key).await.await);
    }
    // One for each that is kept and one for each that is answered with it.
    assert_eq!(clones.load(Ordering::Relaxed), 3);
    handle.invalidate(&2);
    drop(begin(&mut service, 2).await.await);
    handle.invalidate_all();
    assert_eq!(handle.cached(), 0);
    // Invalidated before its end, a result is cloned for the cache and finds no place there.
    let call = begin(&mut service, 2).await;
    handle.invalidate(&2);
    drop(call.await);
    assert_eq!(handle.cached(), 0);
}

/// R7: past its time to live a result is answered at once and renewed by one execution in a task of
/// its own; a failed renewal leaves it until it is too old, and then a call waits.
#[tokio::test(start_paused = true)]
async fn a_stale_result_is_renewed() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new()
        .answer(1)
        .answer_after(secs(1), 2)
        .error_after(secs(1), "no")
        .panic("oh")
        .answer_after(secs(90), 3);
    let calls = inner.calls();
    let dedup = DedupLayer::new(key)
        .join()
        .cache(secs(10))
        .stale_while_revalidate(secs(20));
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(dedup.clone())
        .service(inner.strict());
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 1);
    tokio::time::sleep(secs(10)).await;
    for _ in 0..3 {
        let mut call = Polled::new(begin(&mut service, 1).await);
        assert_eq!(call.assert_ready().unwrap(), 1);
    }
    assert_eq!(dedup.in_flight(), 1);
    tokio::time::sleep(secs(2)).await;
    // It is fresh again, for its own ten seconds.
    tokio::time::sleep(ms(8_999)).await;
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 2);
    assert_eq!((calls.count(), dedup.in_flight()), (2, 0));

    for executions in [3, 4] {
        tokio::time::sleep(secs(5)).await;
        assert_eq!(begin(&mut service, 1).await.await.unwrap(), 2);
        tokio::time::sleep(secs(2)).await;
        assert_eq!((calls.count(), dedup.in_flight()), (executions, 0));
    }
    // A renewal that takes until the result is too old is joined.
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 2);
    tokio::time::sleep(secs(20)).await;
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 3);
    assert_eq!(calls.count(), 5);
    recorder.assert_one_terminal_each();
    assert_eq!(recorder.count("cache_hit"), 7);
    assert_eq!(recorder.count("duplicate"), 1);
}

/// R54b: what was invalidated is not kept in the place of what began after it, whichever comes to
/// its end first.
#[tokio::test(start_paused = true)]
async fn what_was_invalidated_is_kept_for_nobody() {
    let dedup = DedupLayer::new(key).join().cache(secs(1000));
    let handle = dedup.handle();
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 1)
        .answer_after(secs(2), 2);
    let mut service = dedup.layer(inner.strict());
    let old = tokio::spawn(begin(&mut service, 1).await);
    tokio::task::yield_now().await;
    handle.invalidate(&1);
    let new = tokio::spawn(begin(&mut service, 1).await);
    assert_eq!(old.await.unwrap().unwrap(), 1);
    assert_eq!((handle.cached(), dedup.in_flight()), (0, 1));
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 2);
    assert_eq!(new.await.unwrap().unwrap(), 2);
    assert_eq!(handle.cached(), 1);
}

/// R7: invalidated while it is renewed, neither the stale result nor the new one is answered; and
/// where no runtime is around the call, there is nobody to renew it.
#[tokio::test(start_paused = true)]
async fn a_renewal_is_invalidated() {
    let inner = Scripted::<u32, u32>::new()
        .answer(1)
        .answer_after(secs(1), 2)
        .answer(3);
    let dedup = DedupLayer::new(key)
        .join()
        .cache(Duration::ZERO)
        .stale_while_revalidate(Duration::MAX);
    let mut service = dedup.layer(inner.strict());
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 1);
    let mut other = service.clone();
    let without = std::thread::spawn(move || tower::Service::call(&mut other, 1));
    let mut without = Polled::new(without.join().unwrap());
    assert_eq!(without.assert_ready().unwrap(), 1);
    assert_eq!(dedup.in_flight(), 0);

    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 1);
    assert!(dedup.handle().invalidate(&1));
    tokio::time::sleep(secs(2)).await;
    assert_eq!(dedup.handle().cached(), 0);
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 3);
}
