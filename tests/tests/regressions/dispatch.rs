//! Dispatchers: who is told of the shutdown, and what a job's end costs nobody.

use std::{
    future::{Future, pending},
    num::NonZeroUsize,
    task::Context,
};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    CancelReason, Dispatcher, EventKind, ProgressLayer, TimeoutLayer, dispatch::TryDispatchError,
    progress::JobState,
};
use tower_keep_test::{Polled, Scripted};

use super::support::*;

const ONE: NonZeroUsize = NonZeroUsize::MIN;

/// A dispatcher of one job at a time that is to be shut down by this token.
fn shut_down_on(inner: Scripted<u32, u32>) -> (Dispatcher<Scripted<u32, u32>>, CancellationToken) {
    let token = CancellationToken::new();
    let jobs = Dispatcher::new(inner)
        .limit(ONE)
        .grace(secs(600))
        .shutdown_on(token.clone(), secs(10));
    (jobs, token)
}

/// R11: the token from outside is noticed by whoever asks first, though no job runs that would see it.
#[tokio::test(start_paused = true)]
async fn an_idle_dispatcher_notices_its_token() {
    for first in 0..4 {
        let (jobs, token) = shut_down_on(Scripted::new());
        let asks = |which: u32| match which {
            0 => jobs.cancel_handle().is_shut_down(),
            1 => matches!(jobs.try_reserve(), Err(TryDispatchError::ShutDown { .. })),
            2 => jobs.try_dispatch(1).is_err(),
            _ => Polled::new(Box::pin(jobs.reserve()))
                .assert_ready()
                .is_err(),
        };
        token.cancel();
        for which in (first..4).chain(0..first) {
            assert!(asks(which), "{first} {which}");
        }
    }
}

/// R11: so it is by who waits for a place, where that is taken, by a job that cleans up or by none at all.
#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_place_notices_the_token() {
    for reserved in [false, true] {
        let (jobs, token) = shut_down_on(Scripted::new().never());
        let place = if reserved {
            Some(jobs.try_reserve().unwrap())
        } else {
            let handle = jobs.dispatch(1);
            tokio::time::sleep(secs(1)).await;
            assert!(handle.cancel());
            tokio::time::sleep(secs(1)).await;
            None
        };
        assert_eq!(jobs.available(), Some(0));
        let mut waits = Polled::new(Box::pin(jobs.reserve()));
        waits.assert_waiting();
        token.cancel();
        waits.assert_woken();
        assert!(waits.assert_ready().is_err());
        assert!(jobs.cancel_handle().is_shut_down());
        drop(place);
    }
}

/// R11: a job that comes after the token is turned away for that, not for want of a place.
#[tokio::test(start_paused = true)]
async fn after_the_token_a_full_dispatcher_is_shut_down() {
    let (jobs, token) = shut_down_on(Scripted::new().never());
    let _running = jobs.dispatch(1);
    tokio::time::sleep(secs(1)).await;
    token.cancel();
    let refused = jobs.try_dispatch(2).unwrap_err();
    assert!(matches!(refused, TryDispatchError::ShutDown { .. }));
    let error = jobs.dispatch(3).await.unwrap_err();
    assert_eq!(reason(&error), CancelReason::Shutdown);
}

/// R11: when a shutdown is over, every handle has its result, and every place is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_waits_for_the_results() {
    for round in 0..300_u32 {
        let inner = code(move |_, request| async move {
            for _ in 0..(request + round) % 5 {
                tokio::task::yield_now().await;
            }
            Ok(request)
        });
        let jobs = Dispatcher::new(inner).limit(NonZeroUsize::new(8).unwrap());
        let handles: Vec<_> = (0..8).map(|request| jobs.dispatch(request)).collect();
        let shutdown = jobs.cancel_handle().shutdown(secs(60));
        timeout(secs(60), shutdown).await.expect("it is over");
        assert_eq!((jobs.in_flight(), jobs.available()), (0, Some(8)));
        for handle in handles {
            assert!(handle.is_finished(), "round {round}");
            handle.await.unwrap();
        }
    }
}

/// R63: a runtime goes while a waker panics that waited for the job's token: the job ends, its handle says so, and its
/// place is free.
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

/// R63: a runtime goes with a job that is through a Cancel layer: the handle and the board give one reason.
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

/// R11b, R63: a job that panics while it cleans up was cancelled, to who watches and to who awaits it.
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

/// R5: code within a limit that runs a runtime itself gives the jobs in it no limit.
#[test]
fn whoever_polls_the_runtime_gives_it_no_limit() {
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

/// R29: a wait for the ending that is dropped has returned nothing: the states before it are there for who asks.
#[tokio::test(start_paused = true)]
async fn a_dropped_wait_for_the_ending_loses_no_state() {
    let jobs = Dispatcher::new(code(|job, request| async move {
        job.progress(0.25);
        tokio::time::sleep(secs(60)).await;
        Ok(request)
    }));
    let mut watch = jobs.dispatch(1).progress();
    tokio::time::sleep(secs(1)).await;
    timeout(secs(1), watch.ended()).await.unwrap_err();
    let changed = timeout(secs(1), watch.changed()).await;
    let view = changed.expect("it has changed").unwrap();
    assert_eq!(view.report.fraction(), Some(0.25));
    assert_eq!(watch.ended().await.state, JobState::Succeeded);
}

/// R6, R29: one who reads the board and whose waker panics costs nobody else a wake or an event, nor the job.
#[tokio::test(start_paused = true)]
async fn a_readers_waker_that_panics_costs_nobody_else() {
    let jobs = Dispatcher::new(Scripted::<u32, u32>::new().answer(1));
    let board = jobs.progress_handle();
    let ((_, mut bad), (_, mut good)) = (board.changes(), board.changes());
    let mut events = board.subscribe();
    let waker = panicking_waker();
    let mut cx = Context::from_waker(&waker);
    let mut bad = Box::pin(bad.changed());
    assert!(bad.as_mut().poll(&mut cx).is_pending());
    let mut good = Polled::new(Box::pin(good.changed()));
    good.assert_waiting();
    let handle = jobs.dispatch(1);
    good.assert_woken();
    assert!(good.assert_ready().is_some());
    let event = events.try_recv().expect("an event").unwrap();
    assert_eq!(event.kind, EventKind::Dispatched);
    assert_eq!(handle.await.unwrap(), 1);
}

/// R29: whoever has only a job's id finds it while it runs and once it has ended, as long as the history has it.
#[tokio::test(start_paused = true)]
async fn a_job_is_found_by_its_id() {
    let progress = ProgressLayer::new().history(1);
    let board = progress.handle();
    let (log, recorder) = recording();
    let service = ServiceBuilder::new().layer(log).layer(progress).service(
        Scripted::<u32, u32>::new()
            .answer_after(secs(1), 1)
            .repeat_last(),
    );
    let state = |job| board.find(job).map(|view| view.state);
    let first = tokio::spawn(service.clone().oneshot(1));
    tokio::task::yield_now().await;
    let job = recorder.job();
    assert_eq!(state(job), Some(JobState::Running));
    first.await.unwrap().unwrap();
    assert_eq!(state(job), Some(JobState::Succeeded));
    service.oneshot(1).await.unwrap();
    assert_eq!(state(job), None, "another one took its place");
    let last = recorder.jobs()[1];
    assert_eq!(state(last), Some(JobState::Succeeded));
}
