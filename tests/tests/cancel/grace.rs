//! The grace period of a cancelled job: work that can clean up has it, and nothing else waits for
//! it.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::time::{Instant, timeout};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{CancelLayer, CancelReason, DedupLayer, Dispatcher, EventKind, TimeoutLayer};
use tower_keep_test::Scripted;
use tower_keep_tests::*;

/// A service that cleans up for a second once its job is cancelled, and answers then.
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

/// R11b: a caller that has the execution to itself is cancelled and cleans up, whether or not
/// others could join it.
#[tokio::test(start_paused = true)]
async fn a_lone_caller_cleans_up() {
    for joins in [false, true] {
        let (log, recorder) = recording();
        let cancel = CancelLayer::new().grace(secs(5));
        let handle = cancel.handle();
        let (inner, cleaned) = cleans_up();
        let inner = if joins {
            Stack::new(by_number().join().layer(inner))
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

/// R11b: a dispatched job that has the execution to itself cleans up.
#[tokio::test(start_paused = true)]
async fn a_lone_dispatched_job_cleans_up() {
    let (inner, cleaned) = cleans_up();
    let jobs = Dispatcher::new(by_number().join().layer(inner)).grace(secs(5));
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
    let dedup = by_number().join().cache(secs(60));
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

/// R11, R54b: callers that share an execution leave at once, in any order: there is nothing to
/// clean up as long as another caller is left. The caller that began the execution and is left
/// alone with it cleans up.
#[tokio::test(start_paused = true)]
async fn one_of_several_leaves_at_once() {
    for leader_stays in [false, true] {
        let (inner, cleaned) = cleans_up();
        let jobs = Dispatcher::new(by_number().join().layer(inner)).grace(secs(5));
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

/// R54: a call that comes while a lone caller's execution cleans up begins an execution of its own,
/// which goes on.
#[tokio::test(start_paused = true)]
async fn nobody_joins_what_cleans_up() {
    let inner = code(|job, request| async move {
        tokio::select! {
            () = job.cancelled() => tokio::time::sleep(secs(3)).await,
            () = tokio::time::sleep(secs(10)) => job.checkpoint()?,
        }
        Ok(request)
    });
    let dedup = by_number().join();
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

/// R11b: a second call of the job that is turned away as a duplicate, as a hedge makes one, does
/// not take the grace period from the first.
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

/// R11b: a cancelled job may clean up within its grace period after the token fired; then it is
/// dropped. The event tells the two apart.
#[tokio::test(start_paused = true)]
async fn grace() {
    for (cleanup, ends_at, dropped) in [(3, 4, false), (30, 6, true)] {
        let (log, recorder) = recording();
        let cancel = CancelLayer::new().grace(secs(5));
        let handle = cancel.handle();
        let service = ServiceBuilder::new().layer(log).layer(cancel).service(code(
            move |job, _| async move {
                job.cancelled().await;
                tokio::time::sleep(secs(cleanup)).await;
                Ok(1)
            },
        ));
        let call = tokio::spawn(service.oneshot(0));
        tokio::time::sleep(secs(1)).await;
        handle.cancel(recorder.job());
        assert_eq!(
            reason(&call.await.unwrap().unwrap_err()),
            CancelReason::Requested
        );
        assert_eq!(recorder.times().last(), Some(&("cancelled", secs(ends_at))));
        assert_eq!(
            recorder.terminal(recorder.job()),
            Some(EventKind::Cancelled {
                reason: CancelReason::Requested,
                dropped
            })
        );
    }
}
