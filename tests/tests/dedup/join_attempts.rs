//! Several attempts or calls of one job that join executions: grace periods, cancellations, and
//! work that goes on.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::time::{Instant, sleep};
use tower::{ServiceBuilder, ServiceExt, layer::layer_fn};
use tower_keep::{CancelLayer, DedupLayer, RetryLayer, TimeoutLayer};
use tower_keep_test::{Scripted, Step};
use tower_keep_tests::*;

/// One key for all, and only requests below 10 have a limit: of as many seconds.
pub(super) fn below_ten(request: &u32) -> Option<std::time::Duration> {
    (*request < 10).then(|| secs(u64::from(*request)))
}

pub(super) fn one_key() -> DedupLayer<ByU32, u32> {
    DedupLayer::new(|_| Some(0))
}

/// R5, R54b: a part of a shared execution that runs in a task of its own is that still: its layers
/// let it go on when the first caller leaves, and have it in hand.
#[tokio::test(start_paused = true)]
async fn a_detached_part_of_a_shared_execution() {
    for cancelled in [false, true] {
        let (log, recorder) = recording();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(one_key().join())
            .layer(CancelLayer::new().detached())
            .layer(cancel)
            .service(Scripted::<u32, u32>::new().answer_after(secs(10), 7));
        let first = tokio::spawn(service.clone().oneshot(1));
        sleep(secs(1)).await;
        let second = tokio::spawn(service.oneshot(2));
        sleep(secs(1)).await;
        first.abort();
        sleep(secs(1)).await;
        if cancelled {
            assert!(handle.cancel(recorder.jobs()[0]));
        }
        assert_eq!(second.await.unwrap().is_ok(), !cancelled);
    }
}

/// R11, R11b: a job whose second attempt waits for another job's work has nothing to clean up:
/// neither a cancellation nor a limit waits for the grace period.
#[tokio::test(start_paused = true)]
async fn a_later_attempt_that_joined_has_no_grace() {
    for cancelled in [true, false] {
        let (log, recorder) = recording();
        let cancel = CancelLayer::new().grace(secs(100));
        let handle = cancel.handle();
        let inner = Scripted::<u32, u32>::new()
            .error("no")
            .answer_after(secs(1000), 7)
            .otherwise(Step::never);
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(cancel)
            .layer(TimeoutLayer::none().limit_by(below_ten).grace(secs(100)))
            .layer(RetryLayer::new().max_retries(1).base_delay(secs(1)))
            .layer(one_key().join())
            .service(inner);
        let start = Instant::now();
        let first = tokio::spawn(service.clone().oneshot(3));
        sleep(ms(500)).await;
        let _second = tokio::spawn(service.oneshot(20));
        sleep(secs(2)).await;
        if cancelled {
            assert!(handle.cancel(recorder.jobs()[0]));
        }
        first.await.unwrap().unwrap_err();
        let at = if cancelled { ms(2500) } else { secs(3) };
        assert_eq!(start.elapsed(), at);
    }
}

/// R11b: an attempt that runs after an attempt that joined has its grace period.
#[tokio::test(start_paused = true)]
async fn an_attempt_after_a_joined_attempt_has_its_grace() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new().grace(secs(100));
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .layer(RetryLayer::new().max_retries(1).base_delay(secs(1)))
        .layer(one_key().join())
        .service(code(|job, request| async move {
            if request == 1 {
                sleep(secs(2)).await;
                return Err("no".into());
            }
            job.cancelled().await;
            sleep(secs(3)).await;
            Ok(0)
        }));
    let first = tokio::spawn(service.clone().oneshot(1));
    sleep(secs(1)).await;
    let second = tokio::spawn(service.oneshot(2));
    sleep(ms(500)).await;
    // Now the second one is on its own in its second attempt.
    first.abort();
    sleep(secs(4)).await;
    let start = Instant::now();
    assert!(handle.cancel(recorder.jobs()[1]));
    second.await.unwrap().unwrap_err();
    assert_eq!(start.elapsed(), secs(3));
}

/// R54b: a job whose first attempt was taken over by others, and which joins it again, can be
/// cancelled without harm to them; and a limit gives it no grace for what is theirs.
#[tokio::test(start_paused = true)]
async fn a_later_attempt_leaves_the_work_to_others() {
    for cancelled in [true, false] {
        let executions = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&executions);
        let (log, recorder) = recording();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(RetryLayer::new().max_retries(1).base_delay(secs(1)))
            .layer(
                TimeoutLayer::none()
                    .limit_by(below_ten)
                    .per_attempt()
                    .grace(secs(30)),
            )
            .layer(cancel)
            .layer(one_key().join())
            .service(code(move |job, _| {
                count.fetch_add(1, Ordering::Relaxed);
                async move {
                    for _ in 0..20 {
                        sleep(secs(1)).await;
                        job.checkpoint()?;
                    }
                    Ok(7)
                }
            }));
        let start = Instant::now();
        let first = tokio::spawn(service.clone().oneshot(5));
        sleep(secs(3)).await;
        let second = tokio::spawn(service.oneshot(20));
        sleep(secs(4)).await;
        if cancelled {
            assert!(handle.cancel(recorder.jobs()[0]));
        }
        first.await.unwrap().unwrap_err();
        assert_eq!(start.elapsed(), secs(if cancelled { 7 } else { 11 }));
        assert_eq!(second.await.unwrap().unwrap(), 7);
        assert_eq!(executions.load(Ordering::Relaxed), 1);
    }
}

/// R54b: the end of one call of a job, while another of its calls is shared, does not make its
/// cancellation that of the others.
#[tokio::test(start_paused = true)]
async fn one_of_two_calls_ends_and_the_other_is_shared() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let calls = Arc::new(AtomicUsize::new(0));
    let executions = AtomicUsize::new(0);
    let (log, recorder) = recording();
    // The first call has no key.
    let key = move |_: &u32| (calls.fetch_add(1, Ordering::Relaxed) > 0).then_some(0);
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(layer_fn(Hedge))
        .layer(cancel)
        .layer(DedupLayer::new(key).join())
        .service(code(move |job, _| {
            let first = executions.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                sleep(secs(2)).await;
                if first {
                    return Err("the first".into());
                }
                sleep(secs(10)).await;
                job.checkpoint()?;
                Ok(7)
            }
        }));
    let _first = tokio::spawn(service.clone().oneshot(1));
    sleep(ms(1500)).await;
    let second = tokio::spawn(service.oneshot(2));
    sleep(secs(2)).await;
    assert!(handle.cancel(recorder.jobs()[0]));
    assert_eq!(second.await.unwrap().unwrap(), 7);
}
