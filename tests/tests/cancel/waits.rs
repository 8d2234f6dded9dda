//! A cancellation ends whatever a job waits for at once, whatever its grace period.

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, Dispatcher, JobHandle, RetryLayer,
    cancel::CancelHandle,
};
use tower_keep_test::{Polled, Readiness, Scripted};
use tower_keep_tests::*;

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

/// R11: a cancel during a wait for readiness takes effect within one poll: a dedup leader's, a
/// retry's, and that of a caller that is no job yet.
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

/// R11: a cancel during a wait on another's result takes effect within one poll, and the other goes
/// on.
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

/// Cancels a job after half a second, which it spent waiting within this layer: it ends at once,
/// under a Cancel layer and dispatched, and the service was called as often as it was by then.
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
    ends_at_once(by_number().join(), inner, 0).await;
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
        .layer(by_number().join())
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

/// R11: a dispatched job that is cancelled before its first poll, or while its stack is not ready,
/// is not executed, whatever cancels it.
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
