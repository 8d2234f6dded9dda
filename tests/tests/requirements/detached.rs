//! What becomes of a job whose caller goes away.

use tower::{Layer, ServiceBuilder, ServiceExt, timeout::Timeout};
use tower_keep::{
    CancelLayer, CancelReason, CircuitBreakerLayer, EventKind, RetryLayer, TimeoutLayer,
};
use tower_keep_test::Scripted;

use super::support::*;

/// R5: a caller that goes away stops a bare layer's job, and leaves a detached one running, which ends and is reported.
#[tokio::test(start_paused = true)]
async fn what_a_gone_caller_leaves() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new().answer_after(secs(5), 1);
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(CancelLayer::new())
        .service(inner.strict());
    let call = tokio::spawn(begin(&mut service, 0).await);
    tokio::time::sleep(secs(1)).await;
    call.abort();
    tokio::time::sleep(secs(10)).await;
    assert_eq!((calls.dropped(), calls.completed()), (1, 0));
    assert_eq!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Cancelled {
            reason: CancelReason::CallerGone,
            dropped: true
        })
    );

    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new().answer_after(secs(5), 1);
    let calls = inner.calls();
    let cancel = CancelLayer::new().detached();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .service(inner.strict());
    let call = tokio::spawn(begin(&mut service, 0).await);
    tokio::time::sleep(secs(1)).await;
    call.abort();
    tokio::time::sleep(secs(1)).await;
    assert_eq!(handle.jobs().len(), 1, "it runs on");
    tokio::time::sleep(secs(10)).await;
    assert_eq!((calls.dropped(), calls.completed()), (0, 1));
    assert_eq!(recorder.times().last(), Some(&("succeeded", secs(5))));
    recorder.assert_one_terminal_each();
    assert!(handle.jobs().is_empty());
}

/// R5: a detached job can be waited for, fails and panics like any other, and can be cancelled without its caller.
#[tokio::test(start_paused = true)]
async fn a_detached_job_is_a_job() {
    let cancel = CancelLayer::new().detached();
    let handle = cancel.handle();
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 7)
        .error_after(secs(1), "no")
        .panic("boom")
        .never()
        .never();
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .service(inner.strict());
    assert_eq!(begin(&mut service, 0).await.await.unwrap(), 7);
    assert_eq!(
        begin(&mut service, 0).await.await.unwrap_err().to_string(),
        "no"
    );
    let panicked = tokio::spawn(begin(&mut service, 0).await)
        .await
        .unwrap_err();
    assert!(panicked.is_panic());
    // Cancelled with its caller waiting, and after it went.
    let waiting = tokio::spawn(begin(&mut service, 0).await);
    let gone = begin(&mut service, 0).await;
    tokio::time::sleep(secs(1)).await;
    drop(gone);
    assert_eq!(handle.cancel_all(CancelReason::Requested), 2);
    assert_eq!(
        reason(&waiting.await.unwrap().unwrap_err()),
        CancelReason::Requested
    );
    tokio::time::sleep(ms(1)).await;
    assert_eq!(calls.dropped(), 2);
    recorder.assert_one_terminal_each();
    let endings: Vec<_> = recorder
        .jobs()
        .iter()
        .map(|job| recorder.terminal(*job).unwrap().name())
        .collect();
    assert_eq!(
        endings,
        ["succeeded", "failed", "failed", "cancelled", "cancelled"]
    );
}

/// R5: a limit around a detached job that gives an attempt up stops it, whoever wrote the limit: nothing of the attempt is
/// left, and a circuit inside counts what our limit cut off. The next attempt runs on without its caller.
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
            Boxed::new(TimeoutLayer::new(secs(1)).per_attempt().layer(inner))
        } else {
            Boxed::new(Timeout::new(inner, secs(1)))
        };
        let retry = RetryLayer::new().max_retries(1).base_delay(secs(1));
        let call = tokio::spawn(log.layer(retry.layer(limited)).oneshot(0));
        tokio::time::sleep(ms(1500)).await;
        assert_eq!((calls.in_flight(), calls.dropped()), (0, 1));
        assert!(handle.jobs().is_empty() && groups.jobs("all").is_empty());
        assert_eq!(circuit.failures(), u32::from(ours));
        // The second attempt runs from 2 s on.
        tokio::time::sleep(secs(1)).await;
        call.abort();
        tokio::time::sleep(secs(100)).await;
        assert_eq!(calls.completed(), 1);
        assert_eq!(recorder.times().last(), Some(&("succeeded", secs(62))));
        recorder.assert_one_terminal_each();
    }
}
