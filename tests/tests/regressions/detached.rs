//! A detached job goes its own way, and still is the one job it was.

use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, EventKind, RetryLayer};
use tower_keep_test::{Scripted, Step};

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
        .layer(tower_keep::TimeoutLayer::new(secs(60)))
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
