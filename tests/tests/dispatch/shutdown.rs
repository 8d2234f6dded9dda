//! A dispatcher that is shut down: which jobs end, and which are turned away.

use std::num::NonZeroUsize;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};
use tower_keep::{CancelReason, Dispatcher, dispatch::TryDispatchError, progress::JobState};
use tower_keep_test::{Polled, Scripted};
use tower_keep_tests::*;

use super::places::{ONE, TWO, seconds};

/// A dispatcher of one job at a time that is to be shut down by this token.
fn shut_down_on(inner: Scripted<u32, u32>) -> (Dispatcher<Scripted<u32, u32>>, CancellationToken) {
    let token = CancellationToken::new();
    let jobs = Dispatcher::new(inner)
        .limit(ONE)
        .grace(secs(600))
        .shutdown_on(token.clone(), secs(10));
    (jobs, token)
}

/// R11: the first question after the token fired notices it, though no job runs that would see it.
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

/// R11: a caller that waits for a place notices the token, whether a job that cleans up or a
/// reservation has the place.
#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_for_a_place_notices_the_token() {
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

/// R3: a shutdown lets running jobs end, cancels those left, turns new ones away, and releases
/// waiting callers.
#[tokio::test(start_paused = true)]
async fn a_shutdown() {
    let inner = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 7)
        .never()
        .repeat_last();
    let calls = inner.calls();
    let jobs = Dispatcher::new(inner).limit(TWO);
    let (quick, slow) = (jobs.dispatch(0), jobs.dispatch(1));
    let mut waiting = Polled::new(Box::pin(jobs.reserve()));
    waiting.assert_pending();
    let mut service = jobs.clone();
    let mut unready = Polled::new(Box::pin(service.ready()));
    unready.assert_pending();
    let shutdown = jobs.cancel_handle().shutdown(secs(10));
    waiting.assert_woken();
    assert_eq!(
        waiting.assert_ready().unwrap_err().reason(),
        &CancelReason::Shutdown
    );
    unready.assert_ready().unwrap();
    drop(unready);
    let late = service.call(2).await.unwrap();
    let refused = jobs.dispatch(3);
    let shutdown = shutdown.await;
    assert_eq!(
        (shutdown.finished, shutdown.cancelled, shutdown.refused),
        (1, 1, 2)
    );
    assert_eq!(quick.await.unwrap(), 7);
    for handle in [slow, late, refused] {
        assert_eq!(handle.state(), JobState::Cancelled(CancelReason::Shutdown));
        assert_eq!(reason(&handle.await.unwrap_err()), CancelReason::Shutdown);
    }
    assert_eq!(calls.count(), 2);
    assert_eq!(
        jobs.reserve().await.unwrap_err().reason(),
        &CancelReason::Shutdown
    );
    assert!(matches!(
        jobs.try_reserve(),
        Err(TryDispatchError::ShutDown { .. })
    ));
    assert_eq!((jobs.in_flight(), jobs.available()), (0, Some(2)));
}

/// R3: a place that was reserved before the shutdown no longer begins a job's work.
#[tokio::test(start_paused = true)]
async fn a_place_after_the_shutdown() {
    let inner = seconds();
    let calls = inner.calls();
    let jobs = Dispatcher::new(inner).limit(ONE);
    let place = jobs.reserve().await.unwrap();
    jobs.cancel_handle().shutdown_now();
    assert_eq!(
        reason(&place.dispatch(0).await.unwrap_err()),
        CancelReason::Shutdown
    );
    assert_eq!((calls.count(), jobs.available()), (0, Some(1)));
}

/// R3: a server's token shuts the dispatcher down, with time for the running jobs.
#[tokio::test(start_paused = true)]
async fn a_token_shuts_it_down() {
    let token = tokio_util::sync::CancellationToken::new();
    let inner = Scripted::<u32, u32>::new().answer_after(secs(5), 7).never();
    let jobs = Dispatcher::new(inner).shutdown_on(token.clone(), secs(10));
    let (quick, slow) = (jobs.dispatch(0), jobs.dispatch(1));
    tokio::time::sleep(secs(1)).await;
    token.cancel();
    assert_eq!(quick.await.unwrap(), 7);
    assert_eq!(reason(&slow.await.unwrap_err()), CancelReason::Shutdown);
    assert_eq!(
        reason(&jobs.dispatch(2).await.unwrap_err()),
        CancelReason::Shutdown
    );
}
