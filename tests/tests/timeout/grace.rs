//! Limits that cancel the work and give it time to clean up.

use std::sync::{Arc, Mutex};

use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelReason, EventKind, FailureCause, Job, LimitScope, TimeoutLayer,
    cancel::Cancelled, find, timeout::Elapsed,
};
use tower_keep_test::{Polled, Recorder, Scripted};
use tower_keep_tests::*;

/// Does its work until it is cancelled, then cleans up for this long.
pub(super) async fn cleaning_up(job: Job, seconds: u64) -> Result<u32, BoxError> {
    job.cancelled().await;
    tokio::time::sleep(secs(seconds)).await;
    job.checkpoint()?;
    Ok(0)
}

/// Which limits expired, when, and whether the work was dropped.
pub(super) fn limits(recorder: &Recorder) -> Vec<(LimitScope, u64, bool)> {
    let events = recorder.events().into_iter();
    events
        .filter_map(|event| match event.kind {
            EventKind::TimedOut { scope, dropped, .. } => {
                Some((scope, event.elapsed.as_secs(), dropped))
            }
            _ => None,
        })
        .collect()
}

#[track_caller]
pub(super) fn elapsed(error: &BoxError) -> &LimitScope {
    find::<Elapsed>(&**error)
        .unwrap_or_else(|| panic!("no limit expired: {error}"))
        .scope()
}

#[track_caller]
pub(super) fn assert_failed(recorder: &Recorder) {
    recorder.assert_one_terminal_each();
    for job in recorder.jobs() {
        let ended = recorder.terminal(job);
        assert!(
            matches!(
                ended,
                Some(EventKind::Failed {
                    cause: FailureCause::TimedOut,
                    ..
                })
            ),
            "{recorder}"
        );
    }
}

/// R11b: at the limit the work is cancelled, and may come to its own end within the grace period;
/// otherwise it is dropped when that is over. The event says which, once it is over; the caller
/// gets the limit's error either way. R14: `TimedOut`, then `Failed`, once each.
#[tokio::test(start_paused = true)]
async fn a_grace_period_to_clean_up() {
    for (takes, ends, dropped) in [(0, 60, false), (3, 63, false), (7, 65, true)] {
        let start = Instant::now();
        let (log, recorder) = recording();
        let inner = code(move |job, _| async move {
            let result = cleaning_up(job.clone(), takes).await;
            let stopped = result.as_ref().unwrap_err();
            assert_eq!(reason(stopped), CancelReason::TimedOut);
            assert!(job.is_cancelled());
            assert_eq!(job.cancel_reason(), Some(CancelReason::TimedOut));
            result
        });
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(TimeoutLayer::new(secs(60)).grace(secs(5)))
            .service(inner);
        let error = service.oneshot(0).await.unwrap_err();
        assert_eq!(elapsed(&error), &LimitScope::Overall);
        assert_eq!(start.elapsed(), secs(ends));
        assert_eq!(limits(&recorder), [(LimitScope::Overall, ends, dropped)]);
        recorder.assert_names(["dispatched", "started", "timed_out", "failed"]);
        assert_failed(&recorder);
    }
}

/// R11b: what the work returns in its grace period comes too late, an answer too.
#[tokio::test(start_paused = true)]
async fn a_late_answer_is_none() {
    for per_attempt in [false, true] {
        let inner = Scripted::<u32, u32>::new().answer_after(secs(12), 1);
        let calls = inner.calls();
        let layer = if per_attempt {
            TimeoutLayer::new(secs(10)).per_attempt()
        } else {
            TimeoutLayer::new(secs(10))
        };
        let service = ServiceBuilder::new()
            .layer(layer.grace(secs(5)))
            .service(inner.strict());
        let start = Instant::now();
        elapsed(&service.oneshot(0).await.unwrap_err());
        assert_eq!((start.elapsed(), calls.completed()), (secs(12), 1));
    }
}

/// R13: in time there is no grace, and the timer is gone. R16b: on a tie the result wins.
#[tokio::test(start_paused = true)]
async fn in_time_there_is_no_grace() {
    for seconds in [9, 10] {
        let inner = Scripted::<u32, u32>::new().answer_after(secs(seconds), 1);
        let mut service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(secs(10)).grace(secs(5)))
            .service(inner.strict());
        let mut future = Polled::new(begin(&mut service, 0).await);
        future.assert_pending();
        tokio::time::sleep(secs(seconds)).await;
        assert_eq!(future.assert_ready().unwrap(), 1);
        let wakes = future.wakes();
        tokio::time::sleep(secs(100)).await;
        assert_eq!(future.wakes(), wakes);
    }
}

/// R16b: no grace is none, and neither zero nor `MAX` panics.
#[tokio::test(start_paused = true)]
async fn graces_at_the_edges() {
    let call = |limit, grace| {
        let inner = Scripted::<u32, u32>::new().answer_after(secs(100), 1);
        ServiceBuilder::new()
            .layer(TimeoutLayer::new(limit).grace(grace))
            .service(inner.strict())
            .oneshot(0)
    };
    for (limit, grace, ends) in [
        (secs(5), secs(0), 5),
        (secs(0), secs(5), 5),
        (secs(0), secs(0), 0),
        (secs(5), std::time::Duration::MAX, 100),
    ] {
        let start = Instant::now();
        elapsed(&call(limit, grace).await.unwrap_err());
        assert_eq!(start.elapsed(), secs(ends), "{limit:?} and {grace:?}");
    }
    assert_eq!(call(std::time::Duration::MAX, secs(5)).await.unwrap(), 1);
}

/// R12: polled late, the work is cancelled then, and has its whole grace period from then.
#[tokio::test(start_paused = true)]
async fn a_late_poll_still_gives_the_grace() {
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(10)).grace(secs(5)))
        .service(code(|job, _| cleaning_up(job, 100)));
    let future = begin(&mut service, 0).await;
    tokio::time::sleep(secs(30)).await;
    let start = Instant::now();
    elapsed(&future.await.unwrap_err());
    assert_eq!(start.elapsed(), secs(5));
}

/// R16, R11b: a step's limit may give its code a grace period. Only that code is cancelled; the job
/// goes on.
#[tokio::test(start_paused = true)]
async fn a_step_with_grace() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::none().step_limit(secs(10)))
        .service(code(|job, _| async move {
            for (takes, ends) in [(2, 12), (100, 15)] {
                let start = Instant::now();
                let before = Arc::new(Mutex::new(None));
                let seen = before.clone();
                let step = async move {
                    let mine = Job::current();
                    *seen.lock().unwrap() = Some((mine.clone(), mine.token()));
                    cleaning_up(mine, takes).await
                };
                let error = job.step("save", step).grace(secs(5)).await.unwrap_err();
                assert_eq!(elapsed(&error), &LimitScope::Step("save".into()));
                assert_eq!(start.elapsed(), secs(ends));
                let (mine, token) = before.lock().unwrap().take().unwrap();
                assert!(mine.is_cancelled() && token.is_cancelled());
                job.checkpoint()?;
                assert!(!job.token().is_cancelled() && !Job::current().is_cancelled());
            }
            job.step("next", async { Ok::<_, BoxError>(7) })
                .grace(secs(5))
                .await
        }));
    assert_eq!(service.oneshot(0).await.unwrap(), 7);
    let save = || LimitScope::Step("save".into());
    assert_eq!(limits(&recorder), [(save(), 12, false), (save(), 27, true)]);
    // Without a job there is nothing to cancel.
    let start = Instant::now();
    let never = std::future::pending::<Result<(), BoxError>>();
    let step = Job::current().step("save", never).limit(secs(10));
    elapsed(&step.grace(secs(5)).await.unwrap_err());
    assert_eq!(start.elapsed(), secs(10));
}

/// R9: no step begins in the grace period.
#[tokio::test(start_paused = true)]
async fn no_step_begins_in_the_grace() {
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(10)).per_attempt().grace(secs(5)))
        .service(code(|job, _| async move {
            let job = job.clone();
            job.step("slow", async {
                tokio::time::sleep(secs(11)).await;
                Ok::<_, BoxError>(())
            })
            .await?;
            let never = async { unreachable!("it is over") as Result<u32, BoxError> };
            let error = job.step("next", never).await.unwrap_err();
            assert!(find::<Cancelled>(&*error).is_some());
            Err(error)
        }));
    let start = Instant::now();
    elapsed(&service.oneshot(0).await.unwrap_err());
    assert_eq!(start.elapsed(), secs(11));
}

/// R11b: an idle limit gives a grace period too; progress in it comes too late.
#[tokio::test(start_paused = true)]
async fn an_idle_limit_with_grace() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(10)).idle().grace(secs(5)))
        .service(code(|job, _| async move {
            tokio::time::sleep(secs(9)).await;
            job.progress(0.5);
            job.cancelled().await;
            loop {
                tokio::time::sleep(secs(1)).await;
                job.progress(0.6);
            }
        }));
    assert_eq!(
        elapsed(&service.oneshot(0).await.unwrap_err()),
        &LimitScope::Idle
    );
    assert_eq!(limits(&recorder), [(LimitScope::Idle, 24, true)]);
    assert_failed(&recorder);
}
