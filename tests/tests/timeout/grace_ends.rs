//! What ends a grace period before its time, and what does not.

use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    CancelLayer, CancelReason, EventKind, FailureCause, Job, LimitScope, TimeoutLayer,
};
use tower_keep_test::Polled;
use tower_keep_tests::*;

use super::grace::{assert_failed, cleaning_up, elapsed, limits};

/// R10: a cancellation ends the grace period at once, and the job as cancelled.
#[tokio::test(start_paused = true)]
async fn a_cancellation_ends_the_grace() {
    for outside in [true, false] {
        let (log, recorder) = recording();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let limit = TimeoutLayer::new(secs(10)).grace(secs(60));
        let inner = code(|job, _| cleaning_up(job, 100));
        let stack = ServiceBuilder::new().layer(log);
        let call = if outside {
            tokio::spawn(stack.layer(cancel).layer(limit).service(inner).oneshot(0))
        } else {
            tokio::spawn(stack.layer(limit).layer(cancel).service(inner).oneshot(0))
        };
        tokio::time::sleep(secs(20)).await;
        assert_eq!(handle.cancel_all(CancelReason::Requested), 1);
        call.await.unwrap().unwrap_err();
        recorder.assert_one_terminal_each();
        let (ended, at) = recorder.times().pop().unwrap();
        assert_eq!((ended, at), ("cancelled", secs(20)));
        assert!(matches!(
            recorder.kinds().pop(),
            Some(EventKind::Cancelled {
                reason: CancelReason::Requested,
                ..
            })
        ));
    }
}

/// R11b: a Cancel layer, outside or inside, leaves the work its grace: the limit speaks for itself.
#[tokio::test(start_paused = true)]
async fn a_cancel_layer_does_not_cut_the_grace() {
    for shared in [false, true] {
        let (log, recorder) = recording();
        let join = tower_keep::DedupLayer::new(move |_: &u32| shared.then_some(())).join();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(CancelLayer::new())
            .layer(join)
            .layer(CancelLayer::new())
            .layer(TimeoutLayer::new(secs(10)).grace(secs(5)))
            .layer(CancelLayer::new())
            .service(code(|job, _| cleaning_up(job, 2)));
        elapsed(&service.oneshot(0).await.unwrap_err());
        assert_eq!(limits(&recorder), [(LimitScope::Overall, 12, false)]);
        assert_failed(&recorder);
    }
}

/// R63: a caller that leaves during the grace period ends the job as cancelled, once.
#[tokio::test(start_paused = true)]
async fn a_caller_may_leave_during_the_grace() {
    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(10)).grace(secs(60)))
        .service(code(|job, _| cleaning_up(job, 100)));
    let mut future = Polled::new(begin(&mut service, 0).await);
    future.assert_pending();
    tokio::time::sleep(secs(10)).await;
    future.assert_pending();
    drop(future);
    tokio::time::sleep(secs(100)).await;
    recorder.assert_names(["dispatched", "started", "cancelled"]);
    assert!(matches!(
        recorder.kinds().pop(),
        Some(EventKind::Cancelled {
            reason: CancelReason::CallerGone,
            dropped: true
        })
    ));
}

/// R63: work that panics in its grace period ends the job as panicked, once.
#[tokio::test(start_paused = true)]
async fn a_panic_during_the_grace() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(10)).grace(secs(60)))
        .service(code(|job, _| async move {
            job.cancelled().await;
            panic!("cleaning up failed")
        }));
    let call = tokio::spawn(service.oneshot(0));
    assert!(call.await.unwrap_err().is_panic());
    recorder.assert_names(["dispatched", "started", "failed"]);
    assert!(matches!(
        recorder.kinds().pop(),
        Some(EventKind::Failed {
            cause: FailureCause::Panicked,
            ..
        })
    ));
    assert!(!Job::current().is_cancelled());
}
