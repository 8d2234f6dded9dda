//! A job may be in a layer with several calls, one after the other or at a time: under a foreign
//! retry or hedge, or as its own code calls the stack again. What happened to one call says nothing
//! of the others.

use std::sync::{Arc, OnceLock};

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder, ServiceExt, layer::layer_fn, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, Dispatcher, EventKind, JobLayer, RetryLayer, TimeoutLayer,
    progress::JobState,
};
use tower_keep_test::Scripted;
use tower_keep_tests::*;

/// R3: under tower's own retry around the layer, the second call can be cancelled as the first
/// could.
#[tokio::test(start_paused = true)]
async fn a_second_call_can_be_cancelled() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(log)
        .retry(OnceMore::new())
        .layer(cancel)
        .service(Scripted::<u32, u32>::new().error("no").never().strict());
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(5)).await;
    assert_eq!(running_ids(&handle), [recorder.job()]);
    assert!(handle.cancel(recorder.job()));
    let error = timeout(secs(9), call).await.expect("it ends").unwrap();
    assert_eq!(reason(&error.unwrap_err()), CancelReason::Requested);
    recorder.assert_names(["dispatched", "started", "cancelled"]);
}

/// R11: a job's second call does not run on past the deadline of a shutdown.
#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_second_call() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(quiet())
        .retry(OnceMore::new())
        .layer(cancel)
        .service(Scripted::<u32, u32>::new().error("no").never());
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(5)).await;
    let shutdown = timeout(secs(3600), handle.shutdown(secs(10))).await;
    let told = shutdown.expect("it is bounded");
    assert_eq!(
        (told.cancelled, told.finished, told.cancelled_otherwise),
        (1, 0, 0)
    );
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(reason(&error), CancelReason::Shutdown);
}

/// R11: a call that comes after the shutdown, of a job that was let run on, ends for the shutdown.
#[tokio::test(start_paused = true)]
async fn a_second_call_after_the_shutdown_says_so() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(log)
        .retry(OnceMore::new())
        .layer(cancel)
        .service(Scripted::<u32, u32>::new().error_after(secs(2), "no"));
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(1)).await;
    let _shutdown = handle.shutdown(secs(10));
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(reason(&error), CancelReason::Shutdown);
    assert!(matches!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Cancelled {
            reason: CancelReason::Shutdown,
            ..
        })
    ));
}

/// R2: a newer job of the group replaces a job that is in its second call.
#[tokio::test(start_paused = true)]
async fn a_second_call_is_replaced() {
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .answer_after(secs(10), 1)
        .answer_after(secs(20), 2);
    let service = ServiceBuilder::new()
        .layer(quiet())
        .retry(OnceMore::new())
        .layer(CancelLayer::new().replace(|_: &u32| Some(())))
        .service(inner);
    let first = tokio::spawn(service.clone().oneshot(0));
    tokio::time::sleep(secs(5)).await;
    let second = tokio::spawn(service.oneshot(0));
    let error = first.await.unwrap().unwrap_err();
    assert_eq!(reason(&error), CancelReason::Replaced);
    assert_eq!(second.await.unwrap().unwrap(), 2);
}

/// R11: no second call begins after the token of many jobs fired, least of all on a service that
/// was not asked if it is ready.
#[tokio::test(start_paused = true)]
async fn no_second_call_begins_after_the_token() {
    let token = CancellationToken::new();
    let inner = Scripted::<u32, u32>::new().error("no").answer(7);
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(quiet())
        .retry(OnceMore::new())
        .layer(CancelLayer::new().token(token.clone()))
        .service(inner.strict());
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(ms(500)).await;
    token.cancel();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(reason(&error), CancelReason::Requested);
    assert_eq!(calls.count(), 1);
}

/// R3: a job whose code called its own stack, which answered, can still be cancelled.
#[tokio::test(start_paused = true)]
async fn a_stack_that_calls_itself_can_be_cancelled() {
    let own: Arc<OnceLock<Stack>> = Arc::default();
    let below = Arc::clone(&own);
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(1000)))
        .layer(cancel)
        .service(code(move |_, depth| {
            let below = below.get().cloned();
            async move {
                if depth > 0 {
                    below.unwrap().oneshot(depth - 1).await?;
                    // It goes on with work of its own.
                    std::future::pending::<()>().await;
                }
                Ok(depth)
            }
        }));
    let stack = own.get_or_init(|| Stack::new(stack)).clone();
    let call = tokio::spawn(stack.oneshot(1));
    tokio::time::sleep(secs(1)).await;
    let running = running_ids(&handle);
    assert_eq!(running.len(), 1);
    assert!(handle.cancel(running[0]));
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(reason(&error), CancelReason::Requested);
}

/// R3: a call that is through one layer can be cancelled by another one further outside.
#[tokio::test(start_paused = true)]
async fn a_layer_outside_cancels_what_is_through_one_inside() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let service = ServiceBuilder::new().layer(cancel).service(goes_on());
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(1)).await;
    assert!(handle.cancel(handle.jobs()[0].job));
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(reason(&error), CancelReason::Requested);
}

/// R3, R11: a dispatched job whose call is through one layer can be cancelled, by its handle and by
/// a shutdown.
#[tokio::test(start_paused = true)]
async fn a_dispatched_job_that_is_through_a_layer_is_cancelled() {
    for by_handle in [true, false] {
        let jobs = Dispatcher::new(goes_on());
        let handle = jobs.dispatch(0);
        tokio::time::sleep(secs(1)).await;
        assert_eq!(handle.state(), JobState::Running);
        let began = Instant::now();
        let expected = if by_handle {
            assert!(handle.cancel());
            CancelReason::Requested
        } else {
            assert_eq!(jobs.cancel_handle().shutdown(secs(10)).await.cancelled, 1);
            assert_eq!(began.elapsed(), secs(10));
            CancelReason::Shutdown
        };
        assert_eq!(reason(&handle.await.unwrap_err()), expected);
    }
}

/// A job that makes these calls of the service at once, and ends when all of them have.
fn at_once<S>(inner: S, calls: u32) -> Stack
where
    S: Service<u32, Response = u32, Error = BoxError, Future: Send + 'static>,
    S: Clone + Send + Sync + 'static,
{
    let hedge = service_fn(move |_: u32| {
        // Each is woken in a task of its own.
        let calls: Vec<_> = (0..calls)
            .map(|call| tokio::spawn(inner.clone().call(call)))
            .collect();
        async move {
            let mut last = Ok(0);
            for call in calls {
                last = call.await.unwrap();
            }
            last
        }
    });
    Stack::new(
        ServiceBuilder::new()
            .layer(JobLayer::new("hedged"))
            .service(hedge),
    )
}

/// R3: of two calls at a time one is over. The other can be cancelled.
#[tokio::test(start_paused = true)]
async fn the_call_that_is_left_can_be_cancelled() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new().answer_after(secs(1), 1).never();
    let service = at_once(ServiceBuilder::new().layer(cancel).service(inner), 2);
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(5)).await;
    let running = running_ids(&handle);
    assert_eq!(running.len(), 1);
    assert!(handle.cancel(running[0]));
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(reason(&error), CancelReason::Requested);
}

/// R11: a cancellation takes effect in each of a job's calls within one poll.
#[tokio::test(start_paused = true)]
async fn each_of_three_calls_is_woken() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new().never().repeat_last();
    let calls = inner.calls();
    let service = at_once(ServiceBuilder::new().layer(cancel).service(inner), 3);
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(1)).await;
    assert_eq!(calls.in_flight(), 3);
    assert!(handle.cancel(handle.jobs()[0].job));
    let ended = timeout(ms(1), call).await.expect("all three end");
    ended.unwrap().unwrap_err();
    assert_eq!(calls.dropped(), 3);
}

/// R11: the innermost of three layers has its work in a task of its own; that is stopped too.
#[tokio::test(start_paused = true)]
async fn the_third_layer_stops_its_work() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let inner = Scripted::<u32, u32>::new().never();
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(cancel)
        .layer(CancelLayer::new())
        .layer(CancelLayer::new().detached())
        .service(inner);
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(1)).await;
    assert!(handle.cancel(handle.jobs()[0].job));
    call.await.unwrap().unwrap_err();
    tokio::time::sleep(secs(1)).await;
    assert_eq!(calls.dropped(), 1);
}

/// R3: a group has a job as long as one of its calls is left.
#[tokio::test(start_paused = true)]
async fn a_group_has_a_job_until_its_last_call_is_over() {
    let cancel = CancelLayer::new().group_by(|_: &u32| Some("all"));
    let groups = cancel.group_handle();
    let inner = Scripted::<u32, u32>::new().answer_after(secs(1), 1).never();
    let service = at_once(ServiceBuilder::new().layer(cancel).service(inner), 2);
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(5)).await;
    assert_eq!(groups.jobs("all").len(), 1);
    assert_eq!(groups.cancel("all"), 1);
    call.await.unwrap().unwrap_err();
    assert!(groups.jobs("all").is_empty());
}

/// R2: the newest job has a group's place: an older job that comes back with another attempt does
/// not take it.
#[tokio::test(start_paused = true)]
async fn an_older_jobs_attempt_replaces_no_younger_job() {
    let inner = Scripted::<u32, u32>::new()
        .error("no")
        .answer_after(secs(60), 2);
    let calls = inner.calls();
    let service = ServiceBuilder::new()
        .layer(JobLayer::new("search"))
        .layer(RetryLayer::new().base_delay(secs(5)))
        .layer(CancelLayer::new().replace(|_: &u32| Some(())))
        .service(inner.strict());
    let older = tokio::spawn(service.clone().oneshot(1));
    tokio::time::sleep(secs(1)).await;
    let younger = tokio::spawn(service.oneshot(2));
    let error = older.await.unwrap().unwrap_err();
    assert_eq!(reason(&error), CancelReason::Replaced);
    assert_eq!(younger.await.unwrap().unwrap(), 2);
    assert_eq!(calls.count(), 2);
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
