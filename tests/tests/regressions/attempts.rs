//! Several attempts or calls of one job: what was given up, what only waits, and what others go on with.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, layer::layer_fn, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, EventKind, RetryLayer, TimeoutLayer,
};
use tower_keep_test::{Scripted, Step};

use super::support::*;

/// Calls a second time, a second after the first; the first that succeeds wins.
#[derive(Clone)]
struct Hedge<S>(S);

impl<S> Service<u32> for Hedge<S>
where
    S: Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone + Send + 'static,
{
    type Response = u32;
    type Error = BoxError;
    type Future = Boxed<u32, BoxError>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: u32) -> Self::Future {
        let other = self.0.clone();
        let first: Self::Future = Box::pin(self.0.call(request));
        let second: Self::Future = Box::pin(async move {
            sleep(secs(1)).await;
            other.oneshot(request).await
        });
        Box::pin(async move {
            let (answer, _) = futures::future::select_ok([first, second]).await?;
            Ok(answer)
        })
    }
}

/// One key for all, and only requests below 10 have a limit: of as many seconds.
fn below_ten(request: &u32) -> Option<std::time::Duration> {
    (*request < 10).then(|| secs(u64::from(*request)))
}

fn one_key() -> DedupLayer<fn(&u32) -> Option<u32>, u32> {
    DedupLayer::new(|_| Some(0))
}

/// R11: a detached attempt that was given up keeps no shutdown waiting.
#[tokio::test(start_paused = true)]
async fn what_was_given_up_holds_no_shutdown_up() {
    let cancel = CancelLayer::new().detached();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new().never().answer(7);
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(quiet())
        .layer(RetryLayer::new().max_retries(1).base_delay(secs(1)))
        .layer(TimeoutLayer::new(secs(1)).per_attempt())
        .layer(cancel)
        .service(inner);
    assert_eq!(service.oneshot(1).await.unwrap(), 7);
    let shutdown = timeout(secs(60), handle.shutdown(secs(5))).await;
    assert!(shutdown.is_ok(), "it waits for ever");
    assert_eq!((handle.jobs().len(), calls.in_flight()), (0, 0));
}

/// R3: nor does an attempt that was given up keep the job open once another one's result has gone up, detached or not: a
/// cancellation comes too late, and says so.
#[tokio::test(start_paused = true)]
async fn what_was_given_up_decides_nothing() {
    for detached in [false, true] {
        let (log, recorder) = recording();
        let around = ServiceBuilder::new()
            .layer(log)
            .and_then(|answer: u32| async move {
                sleep(secs(5)).await;
                Ok::<_, BoxError>(answer)
            })
            .layer(RetryLayer::new().max_retries(1).base_delay(secs(1)))
            .layer(TimeoutLayer::new(secs(1)).per_attempt());
        let inner = Scripted::<u32, u32>::new().never().answer(7);
        let (service, handle) = if detached {
            let cancel = CancelLayer::new().detached();
            let handle = cancel.handle();
            (Stack::new(around.layer(cancel).service(inner)), handle)
        } else {
            let cancel = CancelLayer::new();
            let handle = cancel.handle();
            (Stack::new(around.layer(cancel).service(inner)), handle)
        };
        let call = tokio::spawn(service.oneshot(1));
        sleep(secs(4)).await;
        assert!(!handle.cancel(recorder.job()));
        assert_eq!(call.await.unwrap().unwrap(), 7);
        assert_eq!(
            recorder.terminal(recorder.job()),
            Some(EventKind::Succeeded)
        );
    }
}

/// R11: a task that is left when its job is over stops, also where its caller is still there: a shutdown does not wait for
/// it.
#[tokio::test(start_paused = true)]
async fn no_task_outlives_its_job() {
    let cancel = CancelLayer::new().detached();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new().never().answer_after(secs(1), 7);
    let calls = inner.calls();
    let inner = cancel.layer(inner);
    // Somebody else's layer that waits for one call in a task of its own, and answers with the other.
    let service = ServiceBuilder::new()
        .layer(quiet())
        .service(service_fn(move |request| {
            tokio::spawn(inner.clone().call(request));
            inner.clone().call(request)
        }));
    assert_eq!(service.oneshot(1).await.unwrap(), 7);
    let shutdown = timeout(secs(60), handle.shutdown(secs(5))).await;
    assert!(shutdown.is_ok(), "it waits for ever");
    assert_eq!((handle.jobs().len(), calls.in_flight()), (0, 0));
}

/// R5, R54b: a part of a shared execution that runs in a task of its own is that still: its layers let it go on when the
/// first caller leaves, and have it in hand.
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

/// R11, R11b: a job whose second attempt waits for another job's work has nothing to clean up: neither a cancellation nor
/// a limit waits for the grace period.
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
            .layer(TimeoutLayer::by(below_ten).grace(secs(100)))
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

/// R11b: an attempt that runs after one that had joined is given its grace.
#[tokio::test(start_paused = true)]
async fn an_attempt_after_one_that_joined_has_its_grace() {
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

/// R54b: a job whose first attempt was taken over by others, and which joins it again, can be cancelled without harm to
/// them; and a limit gives it no grace for what is theirs.
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
            .layer(TimeoutLayer::by(below_ten).per_attempt().grace(secs(30)))
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

/// R54b: nor does the end of one call of a job, while another of its calls is shared, make its cancellation that of the
/// others.
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

/// R11: a shutdown that stops work which its first caller left by its own limit counts it as cancelled.
#[tokio::test(start_paused = true)]
async fn a_shutdown_counts_work_that_was_left() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(quiet())
        .layer(TimeoutLayer::by(below_ten))
        .layer(one_key().join())
        .layer(cancel)
        .service(Scripted::<u32, u32>::new().never());
    let first = tokio::spawn(service.clone().oneshot(1));
    let second = tokio::spawn(service.oneshot(20));
    first.await.unwrap().unwrap_err();
    let shutdown = handle.shutdown(secs(1)).await;
    assert_eq!((shutdown.finished, shutdown.cancelled), (0, 1));
    assert_eq!(
        reason(&second.await.unwrap().unwrap_err()),
        CancelReason::Shutdown
    );
}

/// R11: a second call of a running job that a shutdown turns away is not the end of the first.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_turned_away_harms_no_other() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(quiet())
        .layer(layer_fn(Hedge))
        .layer(cancel)
        .service(Scripted::<u32, u32>::new().answer_after(secs(10), 7));
    let service = ServiceBuilder::new()
        .map_err(BoxError::from)
        .service(service);
    let call = tokio::spawn(service.oneshot(1));
    tokio::task::yield_now().await;
    let shutdown = handle.shutdown(secs(30)).await;
    assert_eq!(call.await.unwrap().unwrap(), 7);
    assert_eq!((shutdown.finished, shutdown.refused), (1, 1));
}

/// R51: who waits for one execution is not told what the first caller's next one reports.
#[tokio::test(start_paused = true)]
async fn a_follower_is_told_of_its_own_execution_only() {
    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().max_retries(1).base_delay(secs(1)))
        .layer(one_key().join())
        .service(code(|job, _| async move {
            sleep(secs(1)).await;
            if job.attempt() == 1 {
                return Err("no".into());
            }
            job.progress(0.9);
            Ok(7)
        }));
    let first = tokio::spawn(service.clone().oneshot(1));
    sleep(ms(500)).await;
    // It joins, and is not polled.
    let _second = service.ready().await.unwrap().call(2);
    first.await.unwrap().unwrap();
    assert_eq!(
        recorder.names_of(recorder.jobs()[1]),
        ["dispatched", "duplicate"]
    );
}

/// Succeeds at once, and may panic when it is dropped after that.
struct Leaving {
    _held: Arc<()>,
    panics: bool,
    polled: bool,
}

impl Future for Leaving {
    type Output = Result<u32, BoxError>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.polled = true;
        Poll::Ready(Ok(1))
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        assert!(!(self.panics && self.polled), "left in anger");
    }
}

/// R54b: what panics as its execution is dropped is not kept; and the call is dropped with its result, with a key and
/// without.
#[tokio::test(start_paused = true)]
async fn a_call_goes_before_its_result() {
    let dedup = DedupLayer::new(|request: &u32| (*request > 0).then_some(*request));
    let dedup = dedup.join().cache(secs(60));
    let handle = dedup.handle();
    let held = Arc::new(());
    let inner = Arc::clone(&held);
    let mut service =
        ServiceBuilder::new()
            .layer(dedup)
            .service(service_fn(move |request: u32| Leaving {
                _held: Arc::clone(&inner),
                panics: request == 2,
                polled: false,
            }));
    for request in [0, 1] {
        let mut call = Box::pin(service.ready().await.unwrap().call(request));
        assert!(futures::poll!(call.as_mut()).is_ready());
        assert_eq!(Arc::strong_count(&held), 2, "request {request}");
    }
    assert_eq!(handle.cached(), 1);
    let error = service.ready().await.unwrap().call(2).await.unwrap_err();
    assert!(error.to_string().ends_with("left in anger"), "{error}");
    assert_eq!(handle.cached(), 1);
}
