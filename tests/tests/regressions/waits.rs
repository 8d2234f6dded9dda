//! A grace period is for work that can clean up. A job that only waits ends at once, whatever its grace; one that shares
//! its work with nobody cleans up.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::time::{Instant, timeout};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, Dispatcher, EventKind, JobHandle, RetryLayer,
    TimeoutLayer,
};
use tower_keep_test::{Readiness, Scripted};

use super::support::*;

/// Cancels a job after half a second, which it spent waiting within this layer: it ends at once, under a Cancel layer
/// and dispatched, and the service was called as often as it was by then.
async fn ends_at_once<L, S>(
    layer: L,
    inner: impl Fn() -> Scripted<u32, u32, BoxError>,
    called: usize,
) where
    L: Layer<Scripted<u32, u32, BoxError>, Service = S>,
    S: Service<u32, Response = u32, Error = BoxError, Future: Send + 'static>,
    S: Clone + Send + Sync + 'static,
{
    for dispatched in [false, true] {
        let inner = inner();
        let calls = inner.calls();
        let service = layer.layer(inner);
        let (call, cancelled) = if dispatched {
            let jobs = Dispatcher::new(service).grace(secs(60));
            (tokio::spawn(jobs.dispatch(1)), jobs.cancel_handle())
        } else {
            let cancel = CancelLayer::new().grace(secs(60));
            let handle = cancel.handle();
            (tokio::spawn(cancel.layer(service).oneshot(1)), handle)
        };
        tokio::time::sleep(ms(500)).await;
        let began = Instant::now();
        assert_eq!(cancelled.cancel_all(CancelReason::Requested), 1);
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(reason(&error), CancelReason::Requested);
        assert_eq!((began.elapsed(), calls.count()), (secs(0), called));
        tokio::time::sleep(secs(100)).await;
        assert_eq!(calls.count(), called, "dispatched: {dispatched}");
    }
}

/// R11: a wait for quiet.
#[tokio::test(start_paused = true)]
async fn a_debounced_call_ends_at_once() {
    let dedup = || DedupLayer::new(|key: &u32| Some(*key)).debounce(secs(1));
    let inner = || Scripted::new().answer(1);
    ends_at_once(dedup(), inner, 0).await;
}

/// R11: a wait for the service to be ready, whatever waits for it.
#[tokio::test(start_paused = true)]
async fn a_wait_for_readiness_ends_at_once() {
    let inner = || {
        let readiness = Readiness::ok().after(secs(2));
        Scripted::new().readiness(readiness).answer(1)
    };
    ends_at_once(DedupLayer::new(|key: &u32| Some(*key)), inner, 0).await;
    ends_at_once(by_request().join(), inner, 0).await;
}

/// R11: a wait for the next attempt.
#[tokio::test(start_paused = true)]
async fn a_backoff_ends_at_once() {
    let inner = || Scripted::new().error("no".into()).answer(1);
    ends_at_once(RetryLayer::new(), inner, 1).await;
}

/// R11: a wait for another one's result. The other one goes on.
#[tokio::test(start_paused = true)]
async fn a_follower_ends_at_once() {
    let cancel = CancelLayer::new().grace(secs(5));
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(cancel)
        .layer(by_request().join())
        .service(Scripted::<u32, u32>::new().answer_after(secs(60), 7));
    let first = tokio::spawn(service.clone().oneshot(1));
    tokio::task::yield_now().await;
    let second = tokio::spawn(service.oneshot(1));
    tokio::time::sleep(secs(1)).await;
    let began = Instant::now();
    assert!(handle.cancel(handle.jobs()[1].job));
    second.await.unwrap().unwrap_err();
    assert_eq!(began.elapsed(), secs(0));
    assert_eq!(first.await.unwrap().unwrap(), 7);
}

/// R11: a dispatched job that is cancelled before its first poll, or while its stack is not ready, is not executed,
/// whoever cancels it.
#[tokio::test(start_paused = true)]
async fn what_has_not_begun_does_not_begin() {
    for (by_shutdown, waits) in [(false, false), (false, true), (true, false), (true, true)] {
        let ready = if waits { secs(5) } else { secs(0) };
        let inner = Scripted::<u32, u32>::new()
            .answer(7)
            .repeat_last()
            .readiness_otherwise(move || Readiness::ok().after(ready));
        let calls = inner.calls();
        let jobs = Dispatcher::new(inner).grace(secs(60));
        let handles: Vec<_> = (0..10).map(|request| jobs.dispatch(request)).collect();
        if waits {
            tokio::time::sleep(secs(1)).await;
        }
        if by_shutdown {
            assert_eq!(jobs.cancel_handle().shutdown_now(), 10);
        } else {
            assert!(handles.iter().all(JobHandle::cancel));
        }
        let began = Instant::now();
        for handle in handles {
            handle.await.unwrap_err();
        }
        assert_eq!((calls.count(), began.elapsed()), (0, secs(0)));
    }
}

/// A service that cleans up for a second once it is told to stop, and answers then.
fn cleans_up() -> (Stack, Arc<AtomicBool>) {
    let cleaned = Arc::new(AtomicBool::new(false));
    let clean = Arc::clone(&cleaned);
    let service = code(move |job, request| {
        let clean = Arc::clone(&clean);
        async move {
            job.cancelled().await;
            tokio::time::sleep(secs(1)).await;
            clean.store(true, Ordering::Relaxed);
            Ok(request)
        }
    });
    (Stack::new(service), cleaned)
}

/// R11b: a caller that has the execution to itself is told to stop and cleans up, where it could be joined as where it
/// could not.
#[tokio::test(start_paused = true)]
async fn a_lone_caller_cleans_up() {
    for joins in [false, true] {
        let (log, recorder) = recording();
        let cancel = CancelLayer::new().grace(secs(5));
        let handle = cancel.handle();
        let (inner, cleaned) = cleans_up();
        let inner = if joins {
            Stack::new(by_request().join().layer(inner))
        } else {
            Stack::new(DedupLayer::new(|key: &u32| Some(*key)).layer(inner))
        };
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(cancel)
            .service(inner);
        let call = tokio::spawn(service.oneshot(1));
        tokio::time::sleep(secs(1)).await;
        let began = Instant::now();
        assert!(handle.cancel(recorder.job()));
        call.await.unwrap().unwrap_err();
        assert_eq!(began.elapsed(), secs(1));
        assert!(cleaned.load(Ordering::Relaxed));
        assert_eq!(
            recorder.terminal(recorder.job()),
            Some(EventKind::Cancelled {
                reason: CancelReason::Requested,
                dropped: false
            })
        );
    }
}

/// R11b: so does a dispatched job.
#[tokio::test(start_paused = true)]
async fn a_lone_dispatched_job_cleans_up() {
    let (inner, cleaned) = cleans_up();
    let jobs = Dispatcher::new(by_request().join().layer(inner)).grace(secs(5));
    let handle = jobs.dispatch(1);
    tokio::time::sleep(secs(1)).await;
    assert!(handle.cancel());
    let error = handle.await.unwrap_err();
    assert_eq!(reason(&error), CancelReason::Requested);
    assert!(cleaned.load(Ordering::Relaxed));
}

/// R10: what a cancelled job hands out is not kept, though its work paid no heed.
#[tokio::test(start_paused = true)]
async fn what_comes_out_in_a_grace_period_is_not_kept() {
    let cancel = CancelLayer::new().grace(secs(5));
    let jobs = cancel.handle();
    let dedup = by_request().join().cache(secs(60));
    let handle = dedup.handle();
    let service = ServiceBuilder::new()
        .layer(cancel)
        .layer(dedup)
        .service(Scripted::<u32, u32>::new().answer_after(secs(2), 1));
    let call = tokio::spawn(service.oneshot(1));
    tokio::time::sleep(secs(1)).await;
    assert_eq!(jobs.cancel_all(CancelReason::Requested), 1);
    call.await.unwrap().unwrap_err();
    assert_eq!(handle.cached(), 0);
}

/// R11, R54b: of several that share an execution each leaves at once, in whatever order: there is nothing to clean up as
/// long as another one is left. Whoever began it and is left alone with it cleans up.
#[tokio::test(start_paused = true)]
async fn one_of_several_leaves_at_once() {
    for leader_stays in [false, true] {
        let (inner, cleaned) = cleans_up();
        let jobs = Dispatcher::new(by_request().join().layer(inner)).grace(secs(5));
        let [leader, first, second] = [1; 3].map(|request| jobs.dispatch(request));
        tokio::time::sleep(secs(1)).await;
        let (leave, last) = if leader_stays {
            ([second, first], leader)
        } else {
            ([second, leader], first)
        };
        for leaves in leave {
            let began = Instant::now();
            assert!(leaves.cancel());
            leaves.await.unwrap_err();
            assert_eq!(began.elapsed(), secs(0));
            assert!(!cleaned.load(Ordering::Relaxed));
        }
        if leader_stays {
            assert!(last.cancel());
            last.await.unwrap_err();
            assert!(cleaned.load(Ordering::Relaxed));
        }
    }
}

/// R54: whoever comes while a lone caller's execution cleans up begins one of its own, and is not told to stop.
#[tokio::test(start_paused = true)]
async fn nobody_joins_what_cleans_up() {
    let inner = code(|job, request| async move {
        tokio::select! {
            () = job.cancelled() => tokio::time::sleep(secs(3)).await,
            () = tokio::time::sleep(secs(10)) => job.checkpoint()?,
        }
        Ok(request)
    });
    let dedup = by_request().join();
    let limit = NonZeroUsize::new(2).unwrap();
    let jobs = Dispatcher::new(dedup.layer(inner))
        .grace(secs(5))
        .limit(limit);
    let first = jobs.dispatch(1);
    tokio::time::sleep(secs(1)).await;
    assert!(first.cancel());
    tokio::time::sleep(secs(1)).await;
    let second = jobs.dispatch(1);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(jobs.in_flight(), 2);
    first.await.unwrap_err();
    assert_eq!(second.await.unwrap(), 1);
    assert_eq!((dedup.in_flight(), jobs.in_flight()), (0, 0));
}

/// R11b: a second call of the job that is turned away as a duplicate, as a hedge makes one, does not take the grace
/// period from the first.
#[tokio::test(start_paused = true)]
async fn a_rejected_hedge_leaves_the_first_its_grace() {
    let (inner, cleaned) = cleans_up();
    let dedup = DedupLayer::new(|_: &u32| Some(()));
    let mut inner = Stack::new(quiet().layer(dedup.layer(inner)));
    let hedge = service_fn(move |request| {
        let mut first = inner.call(request);
        let again = inner.clone();
        async move {
            match timeout(secs(1), first.as_mut()).await {
                Ok(result) => result,
                Err(_) => {
                    again.oneshot(request).await.unwrap_err();
                    first.await
                }
            }
        }
    });
    let service = ServiceBuilder::new()
        .layer(quiet())
        .layer(TimeoutLayer::new(secs(5)).grace(secs(10)))
        .service(hedge);
    let began = Instant::now();
    service.oneshot(1).await.unwrap_err();
    assert_eq!(began.elapsed(), secs(6));
    assert!(cleaned.load(Ordering::Relaxed));
}
