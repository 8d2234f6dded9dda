//! A cancellation ends whatever a job waits for.

use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, RetryLayer, cancel::CancelHandle,
};
use tower_keep_test::{Polled, Readiness, Scripted};

use super::support::*;

/// Cancels the job, which is the nth that runs, while its call waits: within one poll it is over.
#[track_caller]
fn assert_cancelled_at_once<F>(call: &mut Polled<F>, handle: &CancelHandle, nth: usize)
where
    F: Future<Output = Result<u32, BoxError>>,
{
    assert!(handle.cancel(handle.jobs()[nth].job));
    call.assert_woken();
    assert_eq!(
        reason(&call.assert_ready().unwrap_err()),
        CancelReason::Requested
    );
}

/// R11: a cancel during a backoff wait takes effect within one poll.
#[tokio::test(start_paused = true)]
async fn a_cancel_ends_a_backoff() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new()
        .layer(cancel)
        .layer(RetryLayer::new().base_delay(secs(30)))
        .service(Scripted::<u32, u32>::new().error("no").strict());
    let mut call = Polled::new(begin(&mut service, 0).await);
    call.assert_waiting();
    assert_cancelled_at_once(&mut call, &handle, 0);
}

/// R11: a cancel during a wait for readiness takes effect within one poll: a dedup leader's, a retry's, and that of a
/// caller that is no job yet.
#[tokio::test(start_paused = true)]
async fn a_cancel_ends_a_wait_for_readiness() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new()
        .layer(cancel)
        .layer(DedupLayer::new(|_: &u32| Some(())))
        .service(Scripted::<u32, u32>::new().never_ready().strict());
    let mut call = Polled::new(begin(&mut service, 0).await);
    call.assert_waiting();
    assert_cancelled_at_once(&mut call, &handle, 0);

    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .readiness(Readiness::ok())
        .readiness(Readiness::never());
    let mut service = ServiceBuilder::new()
        .layer(cancel)
        .layer(RetryLayer::new())
        .service(inner.strict());
    let mut call = Polled::new(begin(&mut service, 0).await);
    call.assert_pending();
    tokio::time::sleep(secs(1)).await;
    call.assert_waiting();
    assert_cancelled_at_once(&mut call, &handle, 0);

    let token = CancellationToken::new();
    let mut waiting = ServiceBuilder::new()
        .layer(CancelLayer::new().token(token.clone()))
        .service(Scripted::<u32, u32>::new().never_ready().strict());
    let mut ready = Polled::new(std::future::poll_fn(|cx| waiting.poll_ready(cx)));
    ready.assert_waiting();
    token.cancel();
    ready.assert_woken();
    ready.assert_ready().unwrap();
    drop(ready);
    assert_eq!(
        reason(&waiting.call(0).await.unwrap_err()),
        CancelReason::Requested
    );
}

/// R11: a cancel during a wait on another's result takes effect within one poll, and the other goes on.
#[tokio::test(start_paused = true)]
async fn a_cancel_ends_a_wait_for_another() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new()
        .layer(cancel)
        .layer(DedupLayer::new(|_: &u32| Some(())).join())
        .service(
            Scripted::<u32, u32>::new()
                .answer_after(secs(9), 5)
                .strict(),
        );
    let mut first = Polled::new(begin(&mut service, 0).await);
    first.assert_pending();
    let mut second = Polled::new(begin(&mut service, 0).await);
    second.assert_waiting();
    assert_cancelled_at_once(&mut second, &handle, 1);
    assert_eq!(first.await.unwrap(), 5);
}
