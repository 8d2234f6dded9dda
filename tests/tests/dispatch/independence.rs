//! What a dispatched job has to do with the code that dispatched it: its id, and nothing else.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, DedupLayer, Dispatcher, EventKind,
    FailureCause, JobHandle, JobId, LogLayer, ProgressLayer, RetryLayer, TimeoutLayer,
    progress::JobState,
};
use tower_keep_test::{Recorder, Scripted};
use tower_keep_tests::*;

type Handles = Arc<Mutex<Vec<(JobId, JobHandle<u32, BoxError>)>>>;

/// A service that dispatches a job of ten seconds, gives the test its handle, and then never
/// answers.
fn dispatching(
    handles: &Handles,
) -> impl Service<u32, Response = u32, Error = BoxError, Future = Work> + Clone + Send + Sync + 'static
{
    let handles = Arc::clone(handles);
    let jobs = Dispatcher::new(code(|job, _| async move {
        let parent = job.parent();
        tokio::time::sleep(secs(10)).await;
        assert_eq!(
            (job.deadline(), job.is_cancelled(), job.parent()),
            (None, false, parent)
        );
        Ok(7)
    }));
    code(move |job, request| {
        let handle = jobs.dispatch(request);
        let handles = Arc::clone(&handles);
        async move {
            handles.lock().await.push((job.id().unwrap(), handle));
            std::future::pending().await
        }
    })
}

/// Calls a stack that dispatches and is stopped after a second; the dispatched job ends well at ten
/// seconds.
async fn outlives<L, S>(layer: L, stop: impl FnOnce())
where
    L: Layer<tower::util::BoxCloneSyncService<u32, u32, BoxError>, Service = S>,
    S: Service<u32, Response = u32, Error = BoxError, Future: Send + 'static> + Send + 'static,
{
    let handles = Handles::default();
    let service = tower::util::BoxCloneSyncService::new(dispatching(&handles));
    let call = tokio::spawn(layer.layer(service).oneshot(0));
    tokio::time::sleep(secs(1)).await;
    stop();
    tokio::time::sleep(ms(1)).await;
    if call.is_finished() {
        call.await.unwrap().unwrap_err();
    } else {
        call.abort();
    }
    tokio::time::sleep(secs(1)).await;
    let (parent, handle) = handles.lock().await.pop().unwrap();
    assert_eq!(handle.state(), JobState::Running);
    assert_eq!(handle.progress().latest().parent, Some(parent));
    assert_eq!(handle.await.unwrap(), 7);
}

/// R5: neither a limit on the code that dispatched, nor its grace period's halt, reaches the job.
#[tokio::test(start_paused = true)]
async fn limits_do_not_reach_it() {
    macro_rules! outlives_in_any_order {
        ($($limit:expr),+) => {$(
            outlives((ProgressLayer::new(), $limit), || {}).await;
            outlives(($limit, ProgressLayer::new()), || {}).await;
        )+};
    }
    outlives_in_any_order!(
        TimeoutLayer::new(secs(1)),
        TimeoutLayer::new(secs(1)).step_limit(secs(1)),
        TimeoutLayer::new(ms(500)).grace(ms(500)),
        TimeoutLayer::new(secs(1)).per_attempt(),
        TimeoutLayer::new(ms(500)).per_attempt().grace(ms(500)),
        TimeoutLayer::new(secs(1)).idle()
    );
}

/// R5: the cancellation of the job that dispatched, and its caller's leaving, do not reach the job.
#[tokio::test(start_paused = true)]
async fn cancellation_does_not_reach_it() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    outlives(cancel, move || assert_eq!(handle.cancel_all("tired"), 1)).await;
    let cancel = CancelLayer::new().grace(secs(1));
    let handle = cancel.handle();
    outlives(cancel, move || assert_eq!(handle.shutdown_now(), 1)).await;
    outlives(recording().0, || {}).await;
    outlives(ProgressLayer::new(), || {}).await;
}

/// R5: a service that dispatches in its own `call`, however the layers around it take over the jobs
/// begun below them, keeps its own job, and the dispatched one is another.
#[tokio::test(start_paused = true)]
async fn a_dispatch_within_a_call_is_no_part_of_it() {
    async fn runs<L, S>(layer: L) -> Option<JobId>
    where
        L: Layer<Dispatcher<Scripted<u32, u32>>, Service = S>,
        S: Service<u32, Response = JobHandle<u32, BoxError>>,
        S::Error: std::fmt::Debug,
    {
        let jobs = Dispatcher::new(Scripted::new().answer_after(secs(10), 7));
        let board = jobs.progress_handle();
        let mut service = layer.layer(jobs);
        let handle = begin(&mut service, 0).await.await.unwrap();
        let view = board.find(handle.id()).expect("it runs");
        tokio::time::sleep(secs(2)).await;
        assert_eq!(handle.await.unwrap(), 7);
        view.parent
    }

    let progress = ProgressLayer::new();
    let board = progress.handle();
    let mut events = board.subscribe();
    let around = runs(progress.clone()).await;
    assert!(board.jobs().is_empty(), "its job ended with the handle");
    let dispatched = events.try_recv().unwrap().unwrap();
    assert_eq!(around, Some(dispatched.job));
    assert_eq!(runs(TimeoutLayer::new(secs(1))).await, None);
    assert!(runs((TimeoutLayer::new(secs(1)), progress)).await.is_some());
}

/// R10: what the code around has noted of a result stands, though a job was dispatched, or turned
/// away, meanwhile.
#[tokio::test(start_paused = true)]
async fn a_dispatch_leaves_the_callers_notes_alone() {
    let inner = Scripted::<u32, u32>::new().never().repeat_last();
    let full = Dispatcher::new(inner).limit(std::num::NonZero::<usize>::MIN);
    let kept = full.dispatch(0);
    let recorder = Recorder::new();
    let circuit = CircuitBreakerLayer::new();
    circuit.handle().force_open();
    let other = full.clone();
    let service = ServiceBuilder::new()
        .layer(LogLayer::to(recorder.clone()))
        .layer(RetryLayer::new())
        .map_err(move |error: BoxError| {
            // The layers outside must still know that a circuit rejected the call.
            let _turned_away = other.dispatch(0);
            error
        })
        .layer(circuit)
        .service(Scripted::<u32, u32>::new().answer(1));
    service.oneshot(0).await.unwrap_err();
    recorder.assert_names(["dispatched", "failed"]);
    assert!(matches!(
        recorder.terminal(recorder.job()),
        Some(EventKind::Failed {
            cause: FailureCause::CircuitOpen,
            ..
        })
    ));
    drop(kept);
}

/// R1: a job dispatched by a dispatched job has no parent either. A job that is merely called has.
#[tokio::test(start_paused = true)]
async fn a_dispatched_job_dispatches() {
    let second = Dispatcher::new(code(|_, _| async {
        tokio::time::sleep(secs(10)).await;
        Ok(2)
    }));
    let board = second.progress_handle();
    let first = Dispatcher::new(code(move |_, request| {
        drop(second.dispatch(request));
        std::future::pending()
    }));
    let handle = first.dispatch(0);
    tokio::time::sleep(secs(1)).await;
    let id = handle.id();
    handle.cancel();
    assert_eq!(reason(&handle.await.unwrap_err()), CancelReason::Requested);
    let [view] = &board.jobs()[..] else {
        panic!("it runs on")
    };
    assert_eq!(view.parent, Some(id));
    let mut watch = board.watch(view.job).unwrap();
    assert_eq!(watch.ended().await.state, JobState::Succeeded);

    let client = ServiceBuilder::new()
        .layer(CancelLayer::new())
        .service(Scripted::<u32, u32>::new().never());
    let calls = client.clone();
    let jobs = Dispatcher::new(code(move |_, _| calls.clone().oneshot(0)));
    let handle = jobs.dispatch(0);
    tokio::time::sleep(secs(1)).await;
    handle.cancel();
    assert_eq!(reason(&handle.await.unwrap_err()), CancelReason::Requested);
}

/// A limit of the dispatched stack's own is the job's deadline.
#[tokio::test(start_paused = true)]
async fn the_stacks_own_limit_holds() {
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(3)))
        .service(code(|job, _| async move {
            assert_eq!(job.remaining(), Some(secs(3)));
            std::future::pending().await
        }));
    let handle = Dispatcher::new(stack).dispatch(0);
    let watch = handle.progress();
    handle.await.unwrap_err();
    assert_eq!(
        watch.latest().state,
        JobState::Failed(FailureCause::TimedOut)
    );
}

/// R5, R54b, R7: equal requests that are dispatched are one execution; each handle gets the result,
/// and with both dropped it runs to its end, and its result is kept for the next.
#[tokio::test(start_paused = true)]
async fn dispatched_jobs_join() {
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(5), 7)
        .recording();
    let calls = inner.calls();
    let dedup = DedupLayer::new(|request: &u32| Some(*request))
        .join()
        .cache(Duration::from_secs(60));
    let jobs = Dispatcher::new(ServiceBuilder::new().layer(dedup).service(inner.strict()));
    let (first, second) = (jobs.dispatch(1), jobs.dispatch(1));
    let mut watches = [first.progress(), second.progress()];
    tokio::time::sleep(secs(1)).await;
    drop((first, second));
    for watch in &mut watches {
        assert_eq!(watch.ended().await.state, JobState::Succeeded);
    }
    assert_eq!((calls.count(), calls.completed()), (1, 1));
    assert_eq!(jobs.dispatch(1).await.unwrap(), 7);
    assert_eq!(calls.count(), 1, "R7: answered from the cached result");
    assert_eq!((jobs.in_flight(), jobs.jobs().len()), (0, 0));
}

/// R54b: cancelling the first of two leaves the execution to the other.
#[tokio::test(start_paused = true)]
async fn a_joined_job_is_cancelled_alone() {
    let inner = Scripted::<u32, u32>::new().answer_after(secs(5), 7);
    let calls = inner.calls();
    let dedup = DedupLayer::new(|request: &u32| Some(*request)).join();
    let jobs = Dispatcher::new(ServiceBuilder::new().layer(dedup).service(inner.strict()));
    let (first, second) = (jobs.dispatch(1), jobs.dispatch(1));
    tokio::time::sleep(secs(1)).await;
    first.cancel();
    assert_eq!(reason(&first.await.unwrap_err()), CancelReason::Requested);
    assert_eq!(second.await.unwrap(), 7);
    assert_eq!((calls.count(), calls.completed()), (1, 1));
}

/// R3: a Cancel layer in the stack cancels the job too, by its own handle.
#[tokio::test(start_paused = true)]
async fn a_cancel_layer_in_the_stack() {
    let cancel = CancelLayer::new();
    let inside = cancel.handle();
    let stack = ServiceBuilder::new()
        .layer(cancel)
        .service(Scripted::<u32, u32>::new().never().repeat_last());
    let jobs = Dispatcher::new(stack);
    let handle = jobs.dispatch(0);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(running_ids(&inside), [handle.id()]);
    assert!(inside.cancel(handle.id()));
    let watch = handle.progress();
    assert_eq!(reason(&handle.await.unwrap_err()), CancelReason::Requested);
    assert_eq!(
        watch.latest().state,
        JobState::Cancelled(CancelReason::Requested)
    );
    let handle = jobs.dispatch(0);
    inside.shutdown_now();
    assert_eq!(reason(&handle.await.unwrap_err()), CancelReason::Shutdown);
}

/// R11b: with a Cancel layer in the stack as well, the shorter grace period counts, whatever
/// cancels.
#[tokio::test(start_paused = true)]
async fn the_shorter_grace_counts() {
    for (outside, inside) in [(2, 60), (60, 2)] {
        let cancel = CancelLayer::new().grace(secs(inside));
        let inner = cancel.handle();
        let stack = ServiceBuilder::new()
            .layer(cancel)
            .service(Scripted::<u32, u32>::new().never().repeat_last());
        let jobs = Dispatcher::new(stack).grace(secs(outside));
        for canceller in [&inner, &jobs.cancel_handle()] {
            let handle = jobs.dispatch(0);
            tokio::time::sleep(secs(1)).await;
            let asked = tokio::time::Instant::now();
            assert!(canceller.cancel(handle.id()));
            assert_eq!(reason(&handle.await.unwrap_err()), CancelReason::Requested);
            assert_eq!(asked.elapsed(), secs(2));
        }
    }
}

/// R5: code within a limit that runs a runtime itself gives the jobs in it no limit.
#[test]
fn code_that_polls_the_runtime_gives_it_no_limit() {
    let inner = Dispatcher::new(code(|job, _| async move {
        assert_eq!(job.deadline(), None);
        Ok(7)
    }));
    let outer = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(50)))
        .layer(ProgressLayer::new())
        .service(code(move |job, request| {
            assert!(job.deadline().is_some());
            let result = runtime().block_on(async { inner.dispatch(request).await });
            std::future::ready(result)
        }));
    // For its timers. The test polls.
    let around = runtime();
    let _in = around.enter();
    let result = futures::executor::block_on(outer.oneshot(1));
    assert_eq!(result.unwrap(), 7);
}
