//! Cancelling jobs that share an execution: whom it reaches, in both orders of the layers.

use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, EventKind, Job, RetryLayer, TimeoutLayer,
};
use tower_keep_test::{Polled, Recorder, Scripted};
use tower_keep_tests::*;

use super::join_attempts::{below_ten, one_key};

fn ended_for(recorder: &Recorder) -> Vec<Option<CancelReason>> {
    let jobs = recorder.jobs().into_iter();
    jobs.map(|job| match recorder.terminal(job) {
        Some(EventKind::Cancelled { reason, .. }) => Some(reason),
        _ => None,
    })
    .collect()
}

/// R11, R54b: where Cancel is around Dedup it takes out the caller whose job is meant, the first or
/// another, within one poll; the work goes on for the others and stops with the last.
#[tokio::test(start_paused = true)]
async fn a_cancel_around_takes_out_one_caller() {
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0]] {
        for all in [false, true] {
            let (log, recorder) = recording();
            let inner = Scripted::<u32, u32>::new().answer_after(secs(5), 7);
            let calls = inner.calls();
            let cancel = CancelLayer::new();
            let handle = cancel.handle();
            let dedup = DedupLayer::new(|key: &u32| Some(*key)).join();
            let mut service = ServiceBuilder::new()
                .layer(log)
                .layer(cancel)
                .layer(dedup.clone())
                .service(inner.strict());
            let mut callers = Vec::new();
            for _ in 0..3 {
                let mut caller = Polled::new(begin(&mut service, 1).await);
                caller.assert_waiting();
                callers.push(caller);
            }
            let jobs = running_ids(&handle);
            assert_eq!(jobs, recorder.jobs());
            let out = if all { 3 } else { 2 };
            for (number, meant) in order.into_iter().take(out).enumerate() {
                assert_eq!((calls.in_flight(), calls.dropped()), (1, 0));
                assert!(handle.cancel(jobs[meant]));
                callers[meant].assert_woken();
                let error = callers[meant].assert_ready().unwrap_err();
                assert_eq!(reason(&error), CancelReason::Requested);
                assert!(!handle.cancel(jobs[meant]));
                assert_eq!(handle.jobs().len(), 2 - number);
            }
            if all {
                assert_eq!((calls.in_flight(), calls.dropped()), (0, 1));
            } else {
                let left = callers.remove(order[2]);
                assert_eq!(left.await.unwrap(), 7);
            }
            assert_eq!(calls.count(), 1);
            assert_eq!(dedup.in_flight(), 0);
            recorder.assert_one_terminal_each();
            for (number, ended) in ended_for(&recorder).into_iter().enumerate() {
                let cancelled = all || number != order[2];
                assert_eq!(ended, cancelled.then_some(CancelReason::Requested));
            }
        }
    }
}

/// R11, R54b: where Dedup is around Cancel that has the work in hand, under the leader's job: a
/// follower is no job of its own there, and cancelling the work ends it for all.
#[tokio::test(start_paused = true)]
async fn a_cancel_inside_stops_the_work() {
    for first_stays in [true, false] {
        let (log, recorder) = recording();
        let inner = Scripted::<u32, u32>::new().answer_after(secs(5), 7);
        let calls = inner.calls();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let dedup = DedupLayer::new(|key: &u32| Some(*key)).join();
        let mut service = ServiceBuilder::new()
            .layer(log)
            .layer(dedup.clone())
            .layer(cancel)
            .service(inner.strict());
        let mut first = Some(Polled::new(begin(&mut service, 1).await));
        first.as_mut().unwrap().assert_waiting();
        let mut second = Polled::new(begin(&mut service, 1).await);
        second.assert_waiting();
        let [work, joined] = recorder.jobs()[..] else {
            panic!("two jobs")
        };
        assert_eq!(running_ids(&handle), [work]);
        assert!(!handle.cancel(joined));
        if !first_stays {
            first = None;
            second.assert_woken();
            second.assert_waiting();
            tokio::time::advance(secs(1)).await;
            assert_eq!((calls.in_flight(), calls.dropped()), (1, 0), "it goes on");
            assert_eq!(running_ids(&handle), [work]);
        }
        assert!(handle.cancel(work));
        assert!(!handle.cancel(work));
        if let Some(mut first) = first.take() {
            first.assert_woken();
            let error = first.assert_ready().unwrap_err();
            assert_eq!(reason(&error), CancelReason::Requested);
        }
        second.assert_woken();
        let error = second.assert_ready().unwrap_err();
        assert_eq!(reason(&error), CancelReason::Requested);
        assert_eq!((calls.in_flight(), calls.dropped()), (0, 1));
        assert_eq!((dedup.in_flight(), handle.jobs().len()), (0, 0));
        recorder.assert_one_terminal_each();
        let first = if first_stays {
            CancelReason::Requested
        } else {
            CancelReason::CallerGone
        };
        assert_eq!(
            ended_for(&recorder),
            [Some(first), Some(CancelReason::Requested)]
        );
    }
}

/// R54b: the first caller's leaving is no cancellation of the work, where Dedup is around Cancel.
#[tokio::test(start_paused = true)]
async fn a_cancel_inside_lets_the_work_go_on() {
    let (log, recorder) = recording();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
        .layer(cancel)
        .service(code(|job, n| async move {
            for _ in 0..5 {
                tokio::time::sleep(secs(1)).await;
                job.checkpoint()?;
            }
            Ok(n)
        }));
    let first = tokio::spawn(begin(&mut service, 1).await);
    let second = tokio::spawn(begin(&mut service, 1).await);
    tokio::time::sleep(ms(1500)).await;
    first.abort();
    assert_eq!(second.await.unwrap().unwrap(), 1);
    assert!(handle.jobs().is_empty());
    recorder.assert_one_terminal_each();
    assert_eq!(ended_for(&recorder), [Some(CancelReason::CallerGone), None]);
}

/// R11: a shutdown reaches work whose first caller left, at the deadline; so does a predicate.
#[tokio::test(start_paused = true)]
async fn a_shutdown_stops_work_that_the_first_caller_left() {
    for by_shutdown in [true, false] {
        let inner = Scripted::<u32, u32>::new().answer_after(secs(3600), 7);
        let calls = inner.calls();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let (log, recorder) = recording();
        let mut service = ServiceBuilder::new()
            .layer(log)
            .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
            .layer(cancel)
            .service(inner.strict());
        let first = tokio::spawn(begin(&mut service, 1).await);
        let second = tokio::spawn(begin(&mut service, 1).await);
        tokio::time::sleep(secs(1)).await;
        first.abort();
        tokio::time::sleep(secs(1)).await;
        let start = tokio::time::Instant::now();
        if by_shutdown {
            let told = handle.shutdown(secs(10)).await;
            assert_eq!((told.cancelled, told.finished), (1, 0));
            assert_eq!(start.elapsed(), secs(10));
        } else {
            assert_eq!(
                handle.cancel_where(tower_keep::CancelReason::Requested, |_| true),
                1
            );
        }
        second.await.unwrap().unwrap_err();
        assert_eq!(calls.dropped(), 1);
        recorder.assert_one_terminal_each();
    }
}

/// R54b: where two layers of one stack join, the end of what the inner one shares is not the end of
/// what the outer one does: work that follows, such as another attempt, is not cancelled because
/// the first caller left.
#[tokio::test(start_paused = true)]
async fn the_work_goes_on_between_two_executions() {
    let (log, recorder) = recording();
    let join = || DedupLayer::new(|key: &u32| Some(*key)).join();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(join())
        .layer(RetryLayer::new())
        .layer(join())
        .service(code(|_, n| async move {
            // The handle belongs to this attempt.
            let job = Job::current();
            tokio::time::sleep(secs(1)).await;
            if job.attempt() == 1 {
                return Err::<u32, BoxError>("once more".into());
            }
            job.progress(0.5);
            job.checkpoint()?;
            Ok(n)
        }));
    let first = tokio::spawn(begin(&mut service, 1).await);
    let second = tokio::spawn(begin(&mut service, 1).await);
    tokio::time::sleep(ms(1500)).await;
    first.abort();
    assert_eq!(second.await.unwrap().unwrap(), 1);
    assert!(recorder.names_of(recorder.jobs()[1]).contains(&"progress"));
    recorder.assert_one_terminal_each();
}

/// R11: a shutdown that stops work which its first caller left by its own limit counts it as
/// cancelled.
#[tokio::test(start_paused = true)]
async fn a_shutdown_counts_work_that_was_left() {
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(quiet())
        .layer(TimeoutLayer::none().limit_by(below_ten))
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
