//! The executions that revalidate a cached result: they keep a key from nobody, and leave a trace
//! when they come to nothing.

use std::time::Duration;

use futures::executor::block_on;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{BoxError, Outcome, TimeoutLayer, dedup::DedupHandle};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

/// A cached result, which is stale, and is being revalidated by the next step of this service.
async fn revalidating(inner: Scripted<u32, u32, BoxError>) -> (Stack, DedupHandle<u32>) {
    let dedup = by_number()
        .join()
        .cache(secs(1))
        .stale_while_revalidate(secs(60))
        .classify(|result: &Result<u32, BoxError>| match result {
            Ok(500) => Outcome::Failure,
            _ => Outcome::Success,
        });
    let handle = dedup.handle();
    let service = Stack::new(dedup.layer(inner));
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
    tokio::time::sleep(secs(2)).await;
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 1, "it is stale");
    tokio::task::yield_now().await;
    (service, handle)
}

/// R52: a revalidation that hangs is given up once the stale result is too old: the next call
/// executes, and later ones do.
#[tokio::test(start_paused = true)]
async fn a_revalidation_that_hangs_keeps_the_key_from_nobody() {
    let inner = Scripted::new().answer(1).never().answer(3).answer(4);
    let calls = inner.calls();
    let (service, handle) = revalidating(inner).await;
    assert_eq!((calls.in_flight(), handle.in_flight().len()), (1, 1));
    tokio::time::sleep(secs(61)).await;
    assert_eq!((calls.dropped(), handle.in_flight().len()), (1, 0));
    for expected in [3, 4] {
        assert_eq!(service.clone().oneshot(1).await.unwrap(), expected);
        tokio::time::sleep(secs(3600)).await;
    }
}

/// R7, R52: a result that is invalidated while its revalidation hangs is executed again by the next
/// call, however short its patience.
#[tokio::test(start_paused = true)]
async fn nobody_joins_an_invalidated_revalidation() {
    for all in [false, true] {
        let inner = Scripted::new().answer(1).never().answer(3);
        let (service, handle) = revalidating(inner).await;
        if all {
            handle.invalidate_all();
        } else {
            assert!(handle.invalidate(&1));
        }
        assert!(handle.in_flight().is_empty());
        let service = TimeoutLayer::new(secs(1)).layer(service);
        assert_eq!(service.oneshot(1).await.unwrap(), 3);
        assert_eq!(handle.cached(), 1);
    }
}

/// R54b: a revalidation that comes to nothing is counted: an error, a panic, what is classified as
/// a failure, and a revalidation that hangs.
#[tokio::test(start_paused = true)]
async fn failed_revalidations_are_counted() {
    let failures = [
        ("error", Step::error("no".into())),
        ("panic", Step::panic("oh")),
        ("failure", Step::answer(500)),
        ("never", Step::never()),
    ];
    for (how, failure) in failures {
        let (service, handle) = revalidating(Scripted::new().answer(1).step(failure)).await;
        tokio::time::sleep(secs(61)).await;
        assert_eq!(handle.counts().failed_revalidations, 1, "{how}");
        assert!(handle.in_flight().is_empty());
        drop(service);
    }
}

/// A revalidation that succeeds is not counted, nor a revalidation whose result was invalidated,
/// nor a failure of a call that waited.
#[tokio::test(start_paused = true)]
async fn other_executions_are_no_failed_revalidations() {
    let (_service, handle) = revalidating(Scripted::new().answer(1).answer(2)).await;
    tokio::time::sleep(secs(61)).await;
    assert_eq!(handle.counts().failed_revalidations, 0);

    let failure = Step::error("no".into()).after(secs(5));
    let inner = Scripted::new().answer(1).step(failure).error("no".into());
    let (service, handle) = revalidating(inner).await;
    assert!(handle.invalidate(&1));
    tokio::time::sleep(secs(61)).await;
    service.oneshot(1).await.unwrap_err();
    assert_eq!(handle.counts().failed_revalidations, 0);
}

/// Outside a runtime nobody can renew: nothing is executed, and nothing is counted.
#[test]
fn nothing_is_counted_outside_a_runtime() {
    let inner = Scripted::<u32, u32, BoxError>::new().answer(1).answer(2);
    let calls = inner.calls();
    let dedup = by_number()
        .join()
        .cache(Duration::ZERO)
        .stale_while_revalidate(secs(3600));
    let handle = dedup.handle();
    let service = ServiceBuilder::new().layer(dedup).service(inner);
    for _ in 0..3 {
        assert_eq!(block_on(service.clone().oneshot(1)).unwrap(), 1);
    }
    let counts = handle.counts();
    assert_eq!(
        (
            calls.count(),
            counts.executions,
            counts.failed_revalidations
        ),
        (1, 1, 0)
    );
    assert!(handle.in_flight().is_empty());
}
