//! A dispatched job: its handle, its result, its end.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tower::{Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelReason, Dispatcher, EventKind, FailureCause, Job, JobHandle, LogLayer,
    RetryLayer,
    dispatch::{JobError, Panicked},
    find,
    progress::JobState,
};
use tower_keep_test::{Polled, Recorder, Scripted, Step};
use tower_keep_tests::*;

#[derive(Debug, PartialEq, thiserror::Error)]
enum AppError {
    #[error(transparent)]
    Job(JobError),
    #[error("app: {0}")]
    Own(&'static str),
}

impl From<&'static str> for AppError {
    fn from(text: &'static str) -> Self {
        Self::Own(text)
    }
}

/// R5: a dispatched job begins at once, runs whether or not its handle is polled, and its result
/// waits there.
#[tokio::test(start_paused = true)]
async fn a_dispatched_job_runs_on_its_own() {
    let inner = Scripted::<u32, u32, &str>::new()
        .answer_after(secs(5), 7)
        .recording();
    let calls = inner.calls();
    let jobs = Dispatcher::new(inner.strict()).named("report");
    let handle = jobs.dispatch(3);
    let watch = handle.progress();
    assert_eq!(
        (handle.name(), handle.state()),
        ("report", JobState::Waiting)
    );
    assert_eq!(watch.latest().job, handle.id());
    tokio::time::sleep(secs(1)).await;
    assert_eq!(handle.state(), JobState::Running);
    assert_eq!((jobs.in_flight(), jobs.jobs().len()), (1, 1));
    assert!(!handle.is_finished());
    tokio::time::sleep(secs(5)).await;
    assert_eq!((calls.requests(), calls.completed()), (vec![3], 1));
    assert_eq!(handle.state(), JobState::Succeeded);
    assert_eq!((jobs.in_flight(), jobs.jobs().len()), (0, 0));
    assert!(handle.is_finished());
    assert_eq!(handle.await.unwrap(), 7);
}

/// R5, R6: dropping the handle leaves the job running; nobody has to listen.
#[tokio::test(start_paused = true)]
async fn a_dropped_handle_leaves_the_job_running() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32, &str>::new().answer_after(secs(5), 7);
    let calls = inner.calls();
    let jobs = Dispatcher::new(ServiceBuilder::new().layer(log).service(inner.strict()));
    let handle = jobs.dispatch(1);
    let mut watch = handle.progress();
    drop(handle);
    assert_eq!(watch.ended().await.state, JobState::Succeeded);
    assert_eq!((calls.completed(), calls.dropped()), (1, 0));
    recorder.assert_names(["dispatched", "started", "succeeded"]);
    assert_eq!(recorder.times().last(), Some(&("succeeded", secs(5))));
}

/// R1, R3: the handle cancels its job, once, for the reason it is given; the code inside sees its
/// token.
#[tokio::test(start_paused = true)]
async fn the_handle_cancels() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let jobs = Dispatcher::new(code(move |job, _| {
        let counted = Arc::clone(&counted);
        async move {
            job.cancelled().await;
            assert_eq!(job.cancel_reason(), Some("no longer needed".into()));
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(1)
        }
    }))
    .grace(secs(1));
    let handle = jobs.dispatch(0);
    tokio::time::sleep(secs(1)).await;
    assert!(handle.cancel_because("no longer needed"));
    assert!(!handle.cancel(), "once");
    let id = handle.id();
    let watch = handle.progress();
    let error = handle.await.unwrap_err();
    assert_eq!(reason(&error), "no longer needed".into());
    assert_eq!(
        find::<tower_keep::dispatch::Cancelled>(&*error)
            .unwrap()
            .job(),
        Some(id)
    );
    assert_eq!(error.to_string(), "job cancelled: no longer needed");
    assert_eq!(
        watch.latest().state,
        JobState::Cancelled("no longer needed".into())
    );
    assert_eq!(seen.load(Ordering::Relaxed), 1, "it had its grace");

    let jobs = Dispatcher::new(Scripted::<u32, u32>::new().never().repeat_last());
    let handle = jobs.dispatch(0);
    assert!(handle.cancel(), "also before it was ever polled");
    assert_eq!(reason(&handle.await.unwrap_err()), CancelReason::Requested);
    let handle = jobs.dispatch(0);
    assert!(jobs.cancel_handle().cancel(handle.id()), "by its id too");
    assert_eq!(reason(&handle.await.unwrap_err()), CancelReason::Requested);
}

/// R5: a handle with `cancel_on_drop` cancels its job when it is dropped, but not once the job is
/// over.
#[tokio::test(start_paused = true)]
async fn a_handle_that_cancels_on_drop() {
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(5), 1)
        .repeat_last();
    let calls = inner.calls();
    let jobs = Dispatcher::new(inner);
    let handle = jobs.dispatch(0).cancel_on_drop();
    let mut watch = handle.progress();
    tokio::time::sleep(secs(1)).await;
    drop(handle);
    assert_eq!(
        watch.ended().await.state,
        JobState::Cancelled(CancelReason::CallerGone)
    );
    assert_eq!((calls.completed(), calls.dropped()), (0, 1));

    let handle = jobs.dispatch(0).cancel_on_drop();
    let mut watch = handle.progress();
    assert_eq!(handle.await.unwrap(), 1);
    assert_eq!(watch.ended().await.state, JobState::Succeeded);
}

/// R63: a panic is an error for the handle, with what it said; the job failed, and the next is not
/// touched.
#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new()
        .panic("the disk is on fire")
        .step(Step::panic_in_call("in call"))
        .answer(1);
    let jobs = Dispatcher::new(ServiceBuilder::new().layer(log).service(inner.strict()));
    for text in ["the disk is on fire", "in call"] {
        let handle = jobs.dispatch(0);
        let id = handle.id();
        let watch = handle.progress();
        let error = handle.await.unwrap_err();
        let panicked = find::<Panicked>(&*error).expect("a panic");
        assert_eq!((panicked.job(), panicked.message()), (id, Some(text)));
        assert_eq!(error.to_string(), format!("job {id} panicked: {text}"));
        assert_eq!(
            watch.latest().state,
            JobState::Failed(FailureCause::Panicked)
        );
    }
    assert_eq!(jobs.dispatch(0).await.unwrap(), 1);
    assert_eq!((jobs.in_flight(), jobs.jobs().len()), (0, 0));
    recorder.assert_one_terminal_each();
}

/// The user's own error for what the dispatcher adds, and for the stack's own.
#[tokio::test(start_paused = true)]
async fn the_users_own_error() {
    let inner = Scripted::<u32, u32, &'static str>::new()
        .error("broken")
        .panic("oh")
        .never();
    let jobs = Dispatcher::new(inner).fail_with(AppError::Job);
    assert_eq!(jobs.dispatch(0).await, Err(AppError::Own("broken")));
    let panicked = jobs.dispatch(0).await.unwrap_err();
    assert!(matches!(panicked, AppError::Job(JobError::Panicked(_))));
    let handle = jobs.dispatch(0);
    handle.cancel();
    let cancelled = handle.await.unwrap_err();
    assert!(find::<tower_keep::dispatch::Cancelled>(&cancelled).is_some());
}

/// A response for what the dispatcher adds, and the stack's error as it is.
#[tokio::test(start_paused = true)]
async fn a_response_instead() {
    let inner = Scripted::<u32, String, &'static str>::new()
        .error("broken")
        .never();
    let jobs = Dispatcher::new(inner).respond_with(|why: JobError| why.to_string());
    assert_eq!(jobs.dispatch(0).await, Err("broken"));
    let handle = jobs.dispatch(0);
    handle.cancel();
    assert_eq!(handle.await, Ok("job cancelled: requested".into()));
}

/// A panic of the user's closure reaches the caller that awaits, and the place is free.
#[tokio::test(start_paused = true)]
async fn a_panic_of_the_closure_is_the_callers() {
    let jobs = Dispatcher::new(
        Scripted::<u32, u32, &'static str>::new()
            .never()
            .repeat_last(),
    )
    .fail_with(|_| -> AppError { panic!("no idea") });
    let handle = jobs.dispatch(0);
    handle.cancel();
    let error = tokio::spawn(handle).await.unwrap_err();
    assert_eq!(error.into_panic().downcast_ref(), Some(&"no idea"));
    assert_eq!(jobs.in_flight(), 0);
    let unheard = jobs.dispatch(0);
    unheard.cancel();
    drop(unheard);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(jobs.in_flight(), 0);
}

/// The handle can be awaited by reference, and is woken once.
#[tokio::test(start_paused = true)]
async fn the_handle_is_cancel_safe() {
    let jobs = Dispatcher::new(Scripted::<u32, u32, &str>::new().answer_after(secs(5), 7));
    let mut handle = jobs.dispatch(0);
    for _ in 0..3 {
        let waited = tokio::time::timeout(secs(1), &mut handle).await;
        assert!(waited.is_err());
    }
    let mut handle = Polled::new(handle);
    handle.assert_pending();
    tokio::time::sleep(secs(3)).await;
    assert_eq!(handle.wakes(), 1);
    assert_eq!(handle.assert_ready().unwrap(), 7);
}

/// Polling again after the result panics, and never hangs.
#[tokio::test(start_paused = true)]
#[should_panic(expected = "polled after it was ready")]
async fn polled_after_the_end() {
    let jobs = Dispatcher::new(Scripted::<u32, u32, &str>::new().answer(7));
    let mut handle = jobs.dispatch(0);
    let _ = (&mut handle).await;
    assert!(handle.is_finished());
    let _ = (&mut handle).await;
}

/// R63: waiting for the stack's readiness is part of the job, which has not started; a readiness
/// error ends it.
#[tokio::test(start_paused = true)]
async fn readiness_is_waited_for_in_the_job() {
    let inner = Scripted::<u32, u32>::new().never_ready().strict();
    let probe = inner.probe();
    let jobs = Dispatcher::new(inner);
    let handle = jobs.dispatch(0);
    tokio::time::sleep(secs(9)).await;
    assert_eq!((handle.state(), probe.calls()), (JobState::Waiting, 0));
    handle.cancel();
    assert_eq!(reason(&handle.await.unwrap_err()), CancelReason::Requested);

    let failing =
        Scripted::<u32, u32>::new().readiness(tower_keep_test::Readiness::error("closed"));
    let jobs = Dispatcher::new(failing);
    let mut events = jobs.progress_handle().subscribe();
    let error = jobs.dispatch(0).await.unwrap_err();
    assert_eq!(error.to_string(), "closed");
    let mut names = Vec::new();
    while let Some(Ok(event)) = events.try_recv() {
        names.push(event.kind.name());
    }
    assert_eq!(names, ["dispatched", "failed"]);
}

/// R6, R26: progress reaches the handle's watch, the board and its stream, with the ending.
#[tokio::test(start_paused = true)]
async fn progress_reaches_the_handle() {
    let jobs = Dispatcher::new(code(|job, _| async move {
        for part in 1..=3_u32 {
            tokio::time::sleep(secs(1)).await;
            job.progress(f64::from(part) / 4.0);
        }
        tokio::time::sleep(secs(1)).await;
        Ok(1)
    }));
    let handle = jobs.dispatch(0);
    let mut watch = handle.progress();
    let mut seen = vec![watch.latest().report.fraction().unwrap()];
    while let Some(view) = watch.changed().await {
        seen.push(view.report.fraction().unwrap());
    }
    assert_eq!(seen, [0.0, 0.0, 0.25, 0.5, 0.75, 1.0]);
    assert_eq!(handle.await.unwrap(), 1);
}

/// R54: the layers of the stack belong to the dispatched job: one job, whose retries and failure it
/// shows.
#[tokio::test(start_paused = true)]
async fn the_stack_is_in_the_job() {
    let recorder = Recorder::new();
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new().max_retries(1))
        .layer(LogLayer::to(recorder.clone()))
        .service(
            Scripted::<u32, u32>::new()
                .error("busy")
                .error("still busy"),
        );
    let jobs = Dispatcher::new(stack).named_by(|request: &u32| format!("job {request}"));
    let handle = jobs.dispatch(4);
    let id = handle.id();
    assert_eq!(handle.name(), "job 4");
    assert_eq!(handle.await.unwrap_err().to_string(), "still busy");
    assert_eq!(recorder.jobs(), [id]);
    recorder.assert_names([
        "dispatched",
        "started",
        "attempt_ended",
        "retry_scheduled",
        "retrying",
        "attempt_ended",
        "retry_given_up",
        "failed",
    ]);
    assert!(matches!(
        recorder.terminal(id),
        Some(EventKind::Failed {
            cause: FailureCause::Error,
            ..
        })
    ));
    assert!(
        recorder
            .events()
            .iter()
            .all(|event| &*event.name == "job 4")
    );
}

/// The handle is `Send`, `Sync` and `Unpin`, and the dispatcher too, and none names its request.
#[test]
fn auto_traits() {
    fn handle<T: Send + Sync + Unpin>() {}
    fn dispatcher<T: Send + Sync + Clone>(_: &T) {}
    handle::<JobHandle<u32, BoxError>>();
    dispatcher(
        &Dispatcher::new(Scripted::<u32, u32>::new()).limit(std::num::NonZero::<usize>::MAX),
    );
}

/// Outside a runtime it panics as a spawn does, and no job begins; with a runtime of its own it
/// does not.
#[test]
fn outside_a_runtime() {
    let inner = Scripted::<u32, u32>::new().answer(1).repeat_last();
    let jobs = Dispatcher::new(inner);
    let mut events = jobs.progress_handle().subscribe();
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| jobs.dispatch(0)));
    assert!(failed.is_err());
    assert!(events.try_recv().is_none());
    assert_eq!(jobs.in_flight(), 0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let elsewhere = jobs.clone().on(runtime.handle().clone());
    let handle = elsewhere.dispatch(0);
    assert_eq!(runtime.block_on(handle).unwrap(), 1);
}

/// As a service it answers with the handle, and can stand in a stack.
#[tokio::test(start_paused = true)]
async fn as_a_service() {
    let jobs = Dispatcher::new(Scripted::<u32, u32>::new().answer_after(secs(1), 7));
    let mut service = ServiceBuilder::new()
        .map_response(|handle: JobHandle<u32, BoxError>| (handle.id(), handle))
        .service(jobs);
    let (id, handle) = service.ready().await.unwrap().call(0).await.unwrap();
    assert_eq!(handle.id(), id);
    assert_eq!(handle.await.unwrap(), 7);
}

/// R1: the code inside has its job, and no deadline but its stack's.
#[tokio::test(start_paused = true)]
async fn the_code_inside_has_its_job() {
    let jobs = Dispatcher::new(code(|job, _| async move {
        assert_eq!(
            (job.deadline(), job.parent(), job.is_cancelled()),
            (None, None, false)
        );
        Ok(u32::try_from(Job::current().id().unwrap().get()).unwrap())
    }));
    let handle = jobs.dispatch(0);
    let id = handle.id();
    assert_eq!(u64::from(handle.await.unwrap()), id.get());
}
