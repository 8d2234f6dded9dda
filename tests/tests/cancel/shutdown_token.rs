//! A layer that a token from outside shuts down.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder};
use tower_keep::{CancelLayer, CancelReason, DedupLayer};
use tower_keep_test::{Polled, Scripted};
use tower_keep_tests::*;

use super::shutdown::counts;

/// R11: the token turns away what comes, lets the running jobs end, and cancels what is left when
/// the time is up.
#[tokio::test(start_paused = true)]
async fn the_token_shuts_down() {
    let (log, recorder) = recording();
    let stopping = CancellationToken::new();
    let cancel = CancelLayer::new().shutdown_on(stopping.clone(), secs(30));
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new().answer_after(secs(9), 1).never();
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .service(inner.strict());
    let ends = tokio::spawn(begin(&mut service, 0).await);
    let stays = tokio::spawn(begin(&mut service, 0).await);
    tokio::time::sleep(secs(1)).await;
    let start = Instant::now();
    stopping.cancel();
    assert_eq!(ends.await.unwrap().unwrap(), 1);
    let refused = begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(reason(&refused), CancelReason::Shutdown);
    assert!(handle.is_shut_down());
    // The shutdown says what became of the jobs that were left.
    let shutdown = handle.shutdown(secs(1000)).await;
    assert_eq!(start.elapsed(), secs(30));
    assert_eq!(counts(shutdown), [1, 1, 0, 1]);
    assert_eq!(
        reason(&stays.await.unwrap().unwrap_err()),
        CancelReason::Shutdown
    );
    assert_eq!(calls.count(), 2);
    recorder.assert_one_terminal_each();
}

/// R11: a token cancelled beforehand means no execution; a token that fires turns away callers that
/// wait for readiness.
#[tokio::test(start_paused = true)]
async fn a_cancelled_token_lets_nothing_begin() {
    let stopping = CancellationToken::new();
    let inner = Scripted::<u32, u32>::new().never_ready();
    let calls = inner.calls();
    let mut service = ServiceBuilder::new()
        .layer(CancelLayer::new().shutdown_on(stopping.clone(), secs(30)))
        .service(inner.strict());
    let mut other = service.clone();
    let mut ready = Polled::new(std::future::poll_fn(|cx| other.poll_ready(cx)));
    ready.assert_waiting();
    stopping.cancel();
    ready.assert_woken();
    ready.assert_ready().unwrap();
    drop(ready);
    for refused in [other.call(0), begin(&mut service, 0).await] {
        assert_eq!(reason(&refused.await.unwrap_err()), CancelReason::Shutdown);
    }
    assert_eq!(calls.count(), 0);
}

/// R11: jobs that share one execution are let end, and cancelled, like any other; a time without
/// end cancels nobody.
#[tokio::test(start_paused = true)]
async fn a_shared_execution_is_let_end() {
    for (within, ends) in [(secs(30), false), (Duration::MAX, true)] {
        let stopping = CancellationToken::new();
        let cancel = CancelLayer::new().shutdown_on(stopping.clone(), within);
        let mut service = ServiceBuilder::new()
            .layer(cancel)
            .layer(DedupLayer::new(|_: &u32| Some(())).join())
            .service(
                Scripted::<u32, u32>::new()
                    .answer_after(secs(60), 1)
                    .strict(),
            );
        let calls = [begin(&mut service, 0).await, begin(&mut service, 0).await].map(tokio::spawn);
        tokio::time::sleep(secs(1)).await;
        stopping.cancel();
        for call in calls {
            assert_eq!(call.await.unwrap().is_ok(), ends);
        }

        // Every layer inside the shared execution sees the token, too.
        let stopping = CancellationToken::new();
        let cancel = CancelLayer::new().shutdown_on(stopping.clone(), within);
        let mut service = ServiceBuilder::new()
            .layer(DedupLayer::new(|_: &u32| Some(())).join())
            .layer(cancel)
            .service(
                Scripted::<u32, u32>::new()
                    .answer_after(secs(60), 1)
                    .strict(),
            );
        let call = tokio::spawn(begin(&mut service, 0).await);
        tokio::time::sleep(secs(1)).await;
        stopping.cancel();
        assert_eq!(call.await.unwrap().is_ok(), ends);
    }
}

/// R11: the layer says that it is shut down once the token fired, though no job has come since.
#[tokio::test(start_paused = true)]
async fn an_idle_layer_knows() {
    let stopping = CancellationToken::new();
    let handle = CancelLayer::new()
        .shutdown_on(stopping.clone(), secs(5))
        .handle();
    assert!(!handle.is_shut_down());
    stopping.cancel();
    assert!(handle.is_shut_down());
}
