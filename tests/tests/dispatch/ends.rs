//! Every dispatched job ends once and is reported, whatever becomes of its handle, its runtime or
//! its values.

use std::{
    future::{Future, pending},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Context,
    time::Duration,
};

use tower::{ServiceBuilder, service_fn};
use tower_keep::{
    BoxError, CancelReason, Dispatcher, EventKind, FailureCause, Job, LogLayer, RetryLayer,
    TimeoutLayer, dispatch::Full, find, progress::JobState,
};
use tower_keep_test::{Recorder, Scripted};
use tower_keep_tests::*;

use super::places::ONE;

const MANY: usize = 10_000;

/// R5, R6, R63: ten thousand jobs are dispatched and their handles dropped: each runs, each ends
/// once, nothing is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_jobs_whose_handles_are_dropped_all_end() {
    let ended = Arc::new(AtomicUsize::new(0));
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ended);
    let log = LogLayer::to(move |event: &tower_keep::Event| {
        if event.kind.is_terminal() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let counted = Arc::clone(&ran);
    let stack = ServiceBuilder::new()
        .layer(log)
        .service(code(move |job, _| {
            let counted = Arc::clone(&counted);
            async move {
                tokio::task::yield_now().await;
                job.progress(0.5);
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(1)
            }
        }));
    let jobs = Dispatcher::new(stack);
    let mut watches = Vec::with_capacity(MANY);
    for request in 0..MANY {
        let handle = jobs.dispatch(u32::try_from(request).unwrap());
        if request % 7 == 0 {
            watches.push(handle.progress());
        }
    }
    for mut watch in watches {
        assert_eq!(watch.ended().await.state, JobState::Succeeded);
    }
    tokio::time::timeout(Duration::from_secs(60), async {
        while jobs.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("all end");
    assert_eq!(
        (ran.load(Ordering::Relaxed), ended.load(Ordering::Relaxed)),
        (MANY, MANY)
    );
    assert!(jobs.jobs().is_empty());
    assert!(jobs.cancel_handle().jobs().is_empty());
}

/// R63: cancelled, awaited and dropped from other threads at any moment, within a limit: each job
/// ends once, and every place is free in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_is_done_to_the_handles() {
    let recorder = Recorder::new();
    let stack = ServiceBuilder::new()
        .layer(LogLayer::to(recorder.clone()))
        .service(code(|_, request| async move {
            for _ in 0..request % 5 {
                tokio::task::yield_now().await;
            }
            match request % 4 {
                0 => Err("broken".into()),
                1 => {
                    std::panic::resume_unwind(Box::new("quiet"));
                }
                _ => Ok(request),
            }
        }));
    let limit = NonZeroUsize::new(50).unwrap();
    let jobs = Dispatcher::new(stack).limit(limit);
    let mut tasks = Vec::new();
    for request in 0..2_000_u32 {
        let handle = jobs.reserve().await.unwrap().dispatch(request);
        assert!(jobs.in_flight() <= limit.get());
        tasks.push(tokio::spawn(async move {
            match request % 3 {
                0 => drop(handle.cancel_on_drop()),
                1 => {
                    handle.cancel();
                    let _ = handle.await;
                }
                _ => {
                    let _ = handle.await;
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // All places at once: nobody has one.
    let mut places = Vec::new();
    for _ in 0..limit.get() {
        places.push(jobs.reserve().await.unwrap());
    }
    assert_eq!((jobs.in_flight(), jobs.available()), (0, Some(0)));
    drop(places);
    assert_eq!(jobs.available(), Some(limit.get()));
    assert!(jobs.jobs().is_empty());
    recorder.assert_one_terminal_each();
}

/// R5: the handle is dropped at every moment of the job's life; it ends as it would have.
#[tokio::test(start_paused = true)]
async fn the_handle_is_dropped_at_every_moment() {
    for moment in 0..12 {
        let recorder = Recorder::new();
        let inner = Scripted::<u32, u32>::new()
            .error_after(secs(2), "busy")
            .answer_after(secs(2), 7);
        let stack = ServiceBuilder::new()
            .layer(LogLayer::to(recorder.clone()))
            .layer(RetryLayer::new())
            .layer(TimeoutLayer::new(secs(3)).per_attempt())
            .service(inner.strict());
        let jobs = Dispatcher::new(stack).limit(NonZeroUsize::MIN);
        let handle = jobs.dispatch(0);
        let mut watch = handle.progress();
        tokio::time::sleep(ms(500) * moment).await;
        drop(handle);
        assert_eq!(watch.ended().await.state, JobState::Succeeded);
        recorder.assert_names(RETRIED_ONCE);
        tokio::time::sleep(secs(1)).await;
        assert_eq!((jobs.in_flight(), jobs.available()), (0, Some(1)));
    }
}

/// R63: a runtime that goes takes its jobs along: each ends once, cancelled by the shutdown, and
/// its handle says so.
#[test]
fn the_runtime_goes() {
    let recorder = Recorder::new();
    let stack = ServiceBuilder::new()
        .layer(LogLayer::to(recorder.clone()))
        .service(Scripted::<u32, u32>::new().never().repeat_last());
    let gone = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let jobs = Dispatcher::new(stack)
        .grace(secs(60))
        .limit(NonZeroUsize::new(3).unwrap())
        .on(gone.handle().clone());
    let (polled, cancelled) = gone.block_on(async {
        let (polled, cancelled) = (jobs.dispatch(0), jobs.dispatch(1));
        tokio::task::yield_now().await;
        cancelled.cancel();
        (polled, cancelled)
    });
    let unpolled = jobs.dispatch(2);
    assert_eq!(jobs.available(), Some(0));
    drop(gone);
    assert_eq!((jobs.in_flight(), jobs.available()), (0, Some(3)));
    let late = jobs.dispatch(3);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for (handle, expected) in [
        (polled, CancelReason::Shutdown),
        (cancelled, CancelReason::Requested),
        (unpolled, CancelReason::Shutdown),
        (late, CancelReason::Shutdown),
    ] {
        assert_eq!(handle.state(), JobState::Cancelled(expected.clone()));
        let id = handle.id();
        let error = runtime.block_on(handle).unwrap_err();
        assert_eq!(reason(&error), expected);
        assert_eq!(
            find::<tower_keep::dispatch::Cancelled>(&*error)
                .unwrap()
                .job(),
            Some(id)
        );
    }
    assert!(jobs.jobs().is_empty());
    recorder.assert_one_terminal_each();
}

/// R63: a panic of what the job holds, when that is dropped, is the job's panic, and takes nothing
/// else along.
#[tokio::test(start_paused = true)]
async fn values_that_panic_when_they_are_dropped() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                std::panic::resume_unwind(Box::new("boom"));
            }
        }
    }
    let stack = service_fn(|panics: bool| {
        let mut bomb = Some(Bomb);
        std::future::poll_fn(move |_| {
            let _held = &mut bomb;
            if panics {
                std::panic::resume_unwind(Box::new(Bomb));
            }
            std::task::Poll::Ready(Ok::<u32, BoxError>(7))
        })
    });
    let jobs = Dispatcher::new(stack).limit(NonZeroUsize::MIN);
    for panics in [false, true] {
        let handle = jobs.dispatch(panics);
        let watch = handle.progress();
        let error = handle.await.unwrap_err();
        let panicked = find::<tower_keep::dispatch::Panicked>(&*error).unwrap();
        assert_eq!(panicked.message(), (!panics).then_some("boom"));
        assert_eq!(
            watch.latest().state,
            JobState::Failed(FailureCause::Panicked)
        );
    }
    assert_eq!(jobs.available(), Some(1));
}

/// R29: the history is as long as its setting says, and a job that runs is not in it.
#[tokio::test(start_paused = true)]
async fn the_history_is_bounded() {
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 7)
        .repeat_last();
    let jobs = Dispatcher::new(inner).history(2);
    let ids: Vec<_> = (0..3).map(|request| jobs.dispatch(request).id()).collect();
    assert!(ids.iter().all(|id| jobs.find(*id).is_some()), "they run");
    tokio::time::sleep(secs(2)).await;
    let known: Vec<_> = ids.iter().map(|id| jobs.find(*id).is_some()).collect();
    assert_eq!(known, [false, true, true]);
    assert!(jobs.jobs().is_empty());
}

/// R52: a panic of the user's code that runs in `dispatch` itself goes to the caller, and takes no
/// place.
#[tokio::test(start_paused = true)]
async fn a_panic_in_dispatch_takes_no_place() {
    let inner = Scripted::<u32, u32>::new().answer(1).repeat_last();
    let jobs =
        Dispatcher::new(inner)
            .limit(NonZeroUsize::MIN)
            .named_by(|request: &u32| -> String {
                assert!(*request > 0, "no name");
                String::new()
            });
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| jobs.dispatch(0)));
    assert!(failed.is_err());
    assert_eq!((jobs.in_flight(), jobs.available()), (0, Some(1)));
    assert_eq!(jobs.dispatch(1).await.unwrap(), 1);
}

/// R6, R29: the board gets every ending, in whatever way the job ends, also of refused jobs.
#[tokio::test(start_paused = true)]
async fn the_board_loses_no_ending() {
    let inner = Scripted::<u32, u32>::new()
        .answer(1)
        .error("broken")
        .panic("oh")
        .never()
        .never();
    let jobs = Dispatcher::new(inner).limit(NonZeroUsize::new(5).unwrap());
    let mut events = jobs.progress_handle().subscribe();
    let handles: Vec<_> = (0..6).map(|request| jobs.dispatch(request)).collect();
    tokio::time::sleep(secs(1)).await;
    handles[3].cancel();
    jobs.cancel_handle().shutdown_now();
    let mut ends = Vec::new();
    for handle in &handles {
        ends.push(handle.progress().ended().await.state);
    }
    let expected = [
        JobState::Succeeded,
        JobState::Failed(FailureCause::Error),
        JobState::Failed(FailureCause::Panicked),
        JobState::Cancelled(CancelReason::Requested),
        JobState::Cancelled(CancelReason::Shutdown),
        JobState::Failed(FailureCause::Rejected),
    ];
    assert_eq!(ends, expected);
    let mut terminal = 0;
    while let Some(Ok(event)) = events.try_recv() {
        terminal += usize::from(event.kind.is_terminal());
        assert!(
            matches!(event.kind, EventKind::Dispatched | EventKind::Started)
                || event.kind.is_terminal()
        );
    }
    assert_eq!(terminal, 6);
    for (handle, state) in handles.iter().zip(ends) {
        assert_eq!(
            jobs.find(handle.id()).expect("it is in the history").state,
            state
        );
    }
    assert_eq!(jobs.progress_handle().history().len(), 6);
    let error = handles.into_iter().next_back().unwrap().await.unwrap_err();
    assert!(find::<Full>(&*error).is_some());
    assert!(Job::current().id().is_none());
}

/// R19: the board has the stack's own error in its own words.
#[tokio::test(start_paused = true)]
async fn the_board_has_the_stacks_error() {
    let jobs = Dispatcher::new(Scripted::<u32, u32>::new().error("disk full"));
    let handle = jobs.dispatch(1);
    let mut watch = handle.progress();
    assert_eq!(handle.await.unwrap_err().to_string(), "disk full");
    let ended = watch.ended().await;
    assert_eq!(ended.state, JobState::Failed(FailureCause::Error));
    assert_eq!(ended.error.as_deref(), Some("disk full"));
}

/// R63: a runtime goes while a waker panics that waited for the job's token: the job ends, its
/// handle says so, and its place is free.
#[test]
fn a_waker_panics_as_the_runtime_goes() {
    let stack = code(|job, _| {
        let waker = panicking_waker();
        let mut cancelled = Box::pin(async move { job.cancelled().await });
        let polled = cancelled.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        async move {
            pending::<()>().await;
            cancelled.await;
            Ok(1)
        }
    });
    let home = runtime();
    let jobs = Dispatcher::new(stack).limit(ONE).on(home.handle().clone());
    let handle = jobs.dispatch(1);
    // It begins.
    home.block_on(tokio::task::yield_now());
    drop(home);
    assert_eq!((jobs.in_flight(), jobs.available()), (0, Some(1)));
    let error = runtime().block_on(handle).unwrap_err();
    assert_eq!(reason(&error), CancelReason::Shutdown);
}

/// R63: a runtime goes with a job that is through a Cancel layer: the handle and the board give one
/// reason.
#[test]
fn the_runtime_goes_after_a_layer_let_the_job_through() {
    let home = runtime();
    let jobs = Dispatcher::new(goes_on()).on(home.handle().clone());
    let handle = jobs.dispatch(1);
    // It begins.
    home.block_on(tokio::task::yield_now());
    drop(home);
    assert_eq!(handle.state(), JobState::Cancelled(CancelReason::Shutdown));
    let error = runtime().block_on(handle).unwrap_err();
    assert_eq!(reason(&error), CancelReason::Shutdown);
}

/// R11b, R63: a job that panics while it cleans up was cancelled, for its watchers and for the
/// caller that awaits it.
#[tokio::test(start_paused = true)]
async fn a_panic_in_the_grace_period_ends_as_cancelled() {
    let stack = code(|job, _| async move {
        job.cancelled().await;
        std::panic::resume_unwind(Box::new("in the grace period"))
    });
    let jobs = Dispatcher::new(stack).grace(secs(5));
    let handle = jobs.dispatch(1);
    tokio::time::sleep(secs(1)).await;
    assert!(handle.cancel());
    let watch = handle.progress();
    let error = handle.await.unwrap_err();
    assert_eq!(reason(&error), CancelReason::Requested);
    let expected = JobState::Cancelled(CancelReason::Requested);
    assert_eq!(watch.latest().state, expected);
}
