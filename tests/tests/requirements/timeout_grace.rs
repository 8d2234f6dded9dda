//! Limits that tell the work to stop and give it time to do so.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, EventKind, FailureCause, Job, LimitScope, RetryLayer,
    TimeoutLayer, cancel::Cancelled, find, timeout::Elapsed,
};
use tower_keep_test::{Polled, Recorder, Scripted};

use super::support::*;

/// Does its work until it is told to stop, then cleans up for this long.
async fn cleaning_up(job: Job, seconds: u64) -> Result<u32, BoxError> {
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
fn elapsed(error: &BoxError) -> &LimitScope {
    find::<Elapsed>(&**error)
        .unwrap_or_else(|| panic!("no limit expired: {error}"))
        .scope()
}

#[track_caller]
fn assert_failed(recorder: &Recorder) {
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

/// R11b: at the limit the work is told to stop, and may come to its own end within the grace period; otherwise it is
/// dropped when that is over. The event says which, once it is over; the caller gets the limit's error either way.
/// R14: `TimedOut`, then `Failed`, once each.
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

/// R12: polled late, the work is told to stop then, and has its whole grace period from then.
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

/// R16: the limit of an attempt tells that attempt to stop, and what it handed elsewhere, and not the next one: each
/// has a token of its own. The job is not cancelled.
#[tokio::test(start_paused = true)]
async fn an_attempt_is_told_to_stop_and_the_next_is_not() {
    let handles = Arc::new(Mutex::new(Vec::new()));
    let seen = handles.clone();
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .layer(TimeoutLayer::new(secs(10)).per_attempt().grace(secs(5)))
        .service(code(move |job, _| {
            let seen = seen.clone();
            async move {
                let attempt = job.attempt();
                let token = job.token();
                assert!(!job.is_cancelled() && !token.is_cancelled());
                job.checkpoint()?;
                // Handed to another task, which knows it from the job that it was given.
                let given = job.clone();
                let spawned = tokio::spawn(job.scope(async move {
                    given.cancelled().await;
                    assert!(Job::current().is_cancelled());
                    Job::current().attempt()
                }));
                seen.lock().unwrap().push((job.clone(), token, spawned));
                match attempt {
                    1 => cleaning_up(job, 2).await,
                    2 => cleaning_up(job, 100).await,
                    _ => {
                        tokio::time::sleep(secs(10)).await;
                        assert!(!job.is_cancelled() && job.cancel_reason().is_none());
                        Ok(7)
                    }
                }
            }
        }));
    assert_eq!(service.oneshot(0).await.unwrap(), 7);
    assert_eq!(
        limits(&recorder),
        [
            (LimitScope::Attempt, 12, false),
            (LimitScope::Attempt, 12 + 1 + 15, true)
        ]
    );
    recorder.assert_one_terminal_each();
    let handles: Vec<_> = handles.lock().unwrap().drain(..).collect();
    assert_eq!(handles.len(), 3);
    for (attempt, (job, token, spawned)) in (1..).zip(handles) {
        // They stay as they were when their attempt was over.
        let stopped = attempt < 3;
        assert_eq!(job.is_cancelled(), stopped, "attempt {attempt}");
        assert_eq!(job.token().is_cancelled(), stopped, "attempt {attempt}");
        assert_eq!(token.is_cancelled(), stopped, "attempt {attempt}");
        if stopped {
            assert_eq!(spawned.await.unwrap(), attempt);
        } else {
            assert!(!spawned.is_finished());
            spawned.abort();
        }
    }
}

/// R4: the token of an overall limit is for good: nothing inside begins another attempt in the grace period.
#[tokio::test(start_paused = true)]
async fn nothing_is_retried_in_the_grace_period() {
    for per_attempt in [false, true] {
        let attempts = Arc::new(AtomicU32::new(0));
        let count = attempts.clone();
        let limit = if per_attempt {
            TimeoutLayer::new(secs(10)).per_attempt()
        } else {
            TimeoutLayer::new(secs(10))
        };
        let service = ServiceBuilder::new()
            .layer(limit.grace(secs(60)))
            .layer(RetryLayer::new())
            .service(code(move |job, _| {
                count.fetch_add(1, Ordering::Relaxed);
                cleaning_up(job, 1)
            }));
        let start = Instant::now();
        elapsed(&service.oneshot(0).await.unwrap_err());
        assert_eq!(
            (start.elapsed(), attempts.load(Ordering::Relaxed)),
            (secs(11), 1)
        );
    }
}

/// R15: an outer limit holds during the grace period of an attempt: it drops the work, and the job is over.
#[tokio::test(start_paused = true)]
async fn the_overall_limit_ends_an_attempts_grace() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(12)))
        .layer(RetryLayer::new())
        .layer(TimeoutLayer::new(secs(10)).per_attempt().grace(secs(5)))
        .service(code(|job, _| cleaning_up(job, 100)));
    let error = service.oneshot(0).await.unwrap_err();
    assert_eq!(elapsed(&error), &LimitScope::Overall);
    assert_eq!(limits(&recorder), [(LimitScope::Overall, 12, true)]);
    recorder.assert_names([
        "dispatched",
        "started",
        "timed_out",
        "attempt_ended",
        "failed",
    ]);
}

/// R10: a cancellation ends the grace period at once, and the job as cancelled.
#[tokio::test(start_paused = true)]
async fn a_cancellation_ends_the_grace() {
    for outside in [true, false] {
        let (log, recorder) = recording();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let limit = TimeoutLayer::new(secs(10)).grace(secs(60));
        let inner = code(|job, _| cleaning_up(job, 100));
        let stack = ServiceBuilder::new().layer(log);
        let call = if outside {
            tokio::spawn(stack.layer(cancel).layer(limit).service(inner).oneshot(0))
        } else {
            tokio::spawn(stack.layer(limit).layer(cancel).service(inner).oneshot(0))
        };
        tokio::time::sleep(secs(20)).await;
        assert_eq!(handle.cancel_all(CancelReason::Requested), 1);
        call.await.unwrap().unwrap_err();
        recorder.assert_one_terminal_each();
        let (ended, at) = recorder.times().pop().unwrap();
        assert_eq!((ended, at), ("cancelled", secs(20)));
        assert!(matches!(
            recorder.kinds().pop(),
            Some(EventKind::Cancelled {
                reason: CancelReason::Requested,
                ..
            })
        ));
    }
}

/// R11b: a Cancel layer, outside or inside, leaves the work its grace: the limit speaks for itself.
#[tokio::test(start_paused = true)]
async fn a_cancel_layer_does_not_cut_the_grace() {
    for shared in [false, true] {
        let (log, recorder) = recording();
        let join = tower_keep::DedupLayer::new(move |_: &u32| shared.then_some(())).join();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(CancelLayer::new())
            .layer(join)
            .layer(CancelLayer::new())
            .layer(TimeoutLayer::new(secs(10)).grace(secs(5)))
            .layer(CancelLayer::new())
            .service(code(|job, _| cleaning_up(job, 2)));
        elapsed(&service.oneshot(0).await.unwrap_err());
        assert_eq!(limits(&recorder), [(LimitScope::Overall, 12, false)]);
        assert_failed(&recorder);
    }
}

/// R63: a caller that leaves during the grace period ends the job as cancelled, once.
#[tokio::test(start_paused = true)]
async fn a_caller_may_leave_during_the_grace() {
    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(10)).grace(secs(60)))
        .service(code(|job, _| cleaning_up(job, 100)));
    let mut future = Polled::new(begin(&mut service, 0).await);
    future.assert_pending();
    tokio::time::sleep(secs(10)).await;
    future.assert_pending();
    drop(future);
    tokio::time::sleep(secs(100)).await;
    recorder.assert_names(["dispatched", "started", "cancelled"]);
    assert!(matches!(
        recorder.kinds().pop(),
        Some(EventKind::Cancelled {
            reason: CancelReason::CallerGone,
            dropped: true
        })
    ));
}

/// R63: work that panics in its grace period ends the job as panicked, once.
#[tokio::test(start_paused = true)]
async fn a_panic_during_the_grace() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(10)).grace(secs(60)))
        .service(code(|job, _| async move {
            job.cancelled().await;
            panic!("cleaning up failed")
        }));
    let call = tokio::spawn(service.oneshot(0));
    assert!(call.await.unwrap_err().is_panic());
    recorder.assert_names(["dispatched", "started", "failed"]);
    assert!(matches!(
        recorder.kinds().pop(),
        Some(EventKind::Failed {
            cause: FailureCause::Panicked,
            ..
        })
    ));
    assert!(!Job::current().is_cancelled());
}

/// R11b: whichever limit expires, the code inside all of them is told, by every handle that was taken there, in the call
/// itself too; code outside is not.
#[tokio::test(start_paused = true)]
async fn every_handle_inside_is_told() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let (inside, between) = (taken.clone(), taken.clone());
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .map_request(move |request: u32| {
            between.lock().unwrap().push(Job::current());
            request
        })
        .layer(TimeoutLayer::new(secs(10)).per_attempt().grace(secs(5)))
        .layer(TimeoutLayer::new(secs(60)).per_attempt().grace(secs(5)))
        .service(tower::service_fn(move |_: u32| {
            // Within the call, before any poll.
            let job = Job::current();
            let token = job.token();
            let waiting = job.clone();
            let spawned = tokio::spawn(async move { waiting.cancelled().await });
            inside.lock().unwrap().push(job.clone());
            async move {
                spawned.await.unwrap();
                assert!(token.is_cancelled() && job.is_cancelled());
                Err::<u32, BoxError>(job.checkpoint().unwrap_err().into())
            }
        }));
    elapsed(&service.oneshot(0).await.unwrap_err());
    assert_eq!(limits(&recorder), [(LimitScope::Attempt, 10, false)]);
    let told: Vec<_> = taken
        .lock()
        .unwrap()
        .iter()
        .map(Job::is_cancelled)
        .collect();
    assert_eq!(told, [false, true]);
}

/// R5: what works for the job is left alone if the limit is not on the code that began it, or if it goes on without its
/// caller anyway.
#[tokio::test(start_paused = true)]
async fn what_goes_on_anyway_is_left_alone() {
    let (log, recorder) = recording();
    let slow = || {
        code(|_, _| async {
            tokio::time::sleep(secs(100)).await;
            Ok(1)
        })
    };
    let client = ServiceBuilder::new()
        .layer(log.clone())
        .layer(CancelLayer::new())
        .service(slow());
    let detached = ServiceBuilder::new()
        .layer(log)
        .layer(CancelLayer::new().detached())
        .service(slow());
    let service = ServiceBuilder::new()
        .layer(tower_keep::JobLayer::new("job"))
        .map_request(move |request: u32| {
            let job = Job::current();
            tokio::spawn(job.scope(client.clone().oneshot(0)));
            request
        })
        .layer(
            RetryLayer::new()
                .base_delay(secs(1000))
                .max_delay(secs(1000)),
        )
        .layer(TimeoutLayer::new(secs(10)).per_attempt().grace(secs(5)))
        .service(code(move |job, _| {
            let detached = detached.clone();
            async move {
                if job.attempt() == 1 {
                    return detached.oneshot(0).await;
                }
                Ok(7)
            }
        }));
    assert_eq!(service.oneshot(0).await.unwrap(), 7);
    assert_eq!(recorder.count("succeeded"), 2, "{recorder}");
}

/// R4: jobs that work for the code that is to stop are cancelled; one that begins during the clean-up is at once,
/// unless it is nobody's child.
#[tokio::test(start_paused = true)]
async fn what_works_for_it_is_cancelled() {
    for per_attempt in [false, true] {
        let limit = if per_attempt {
            TimeoutLayer::new(secs(10)).per_attempt()
        } else {
            TimeoutLayer::new(secs(10))
        };
        let (log, recorder) = recording();
        let client = ServiceBuilder::new()
            .layer(log)
            .layer(CancelLayer::new())
            .service(code(|_, wait| async move {
                tokio::time::sleep(secs(u64::from(wait))).await;
                Ok(wait)
            }));
        let service = ServiceBuilder::new()
            .layer(limit.grace(secs(60)))
            .service(code(move |_, _| {
                let client = client.clone();
                async move {
                    let error = client.clone().oneshot(100).await.unwrap_err();
                    assert_eq!(reason(&error), CancelReason::TimedOut);
                    let error = client.clone().oneshot(1).await.unwrap_err();
                    assert_eq!(reason(&error), CancelReason::TimedOut);
                    let clean_up = client.oneshot(2);
                    assert_eq!(Job::default().scope(clean_up).await.unwrap(), 2);
                    Err("cleaned up".into())
                }
            }));
        let start = Instant::now();
        elapsed(&service.oneshot(0).await.unwrap_err());
        assert_eq!(start.elapsed(), secs(12));
        let ended: Vec<_> = recorder
            .jobs()
            .into_iter()
            .map(|job| recorder.terminal(job).unwrap().name())
            .collect();
        assert_eq!(ended, ["cancelled", "cancelled", "succeeded"]);
    }
}

/// R16, R11b: a step's limit may give its code a grace period. Only that code is told; the job goes on.
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
    // Without a job there is nobody to tell.
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

/// R5: the task of a detached job is told too.
#[tokio::test(start_paused = true)]
async fn a_detached_job_gets_the_grace() {
    for (takes, ends, dropped) in [(3, 13, false), (100, 15, true)] {
        let (log, recorder) = recording();
        let service = ServiceBuilder::new()
            .layer(log)
            .layer(TimeoutLayer::new(secs(10)).grace(secs(5)))
            .layer(CancelLayer::new().detached())
            .service(code(move |job, _| cleaning_up(job, takes)));
        elapsed(&service.oneshot(0).await.unwrap_err());
        assert_eq!(limits(&recorder), [(LimitScope::Overall, ends, dropped)]);
        assert_failed(&recorder);
    }
}

/// R54b: a caller that joined, or whom others joined, leaves at its limit: the execution is not told, as the others
/// wait for it. A limit inside tells the execution.
#[tokio::test(start_paused = true)]
async fn only_what_is_ones_own_is_told() {
    let join = || tower_keep::DedupLayer::new(|_: &(u64, u32)| Some(())).join();
    let limit = TimeoutLayer::none().limit_by(|request: &(u64, u32)| Some(secs(request.0)));
    let inner = code(|job, _| async move {
        tokio::time::sleep(secs(20)).await;
        job.checkpoint()?;
        Ok(7)
    });
    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(limit.grace(secs(60)))
        .layer(join())
        .map_request(|(_, request): (u64, u32)| request)
        .service(inner);
    let start = Instant::now();
    let [first, second, third] = [10, 12, 30].map(|limit| (limit, 0));
    let first = begin(&mut service, first).await;
    let second = begin(&mut service, second).await;
    let third = tokio::spawn(begin(&mut service, third).await);
    let (first, second) = tokio::join!(tokio::spawn(first), tokio::spawn(second));
    elapsed(&first.unwrap().unwrap_err());
    elapsed(&second.unwrap().unwrap_err());
    assert_eq!(start.elapsed(), secs(12));
    assert_eq!(
        limits(&recorder),
        [
            (LimitScope::Overall, 10, true),
            (LimitScope::Overall, 12, true)
        ]
    );
    assert_eq!(third.await.unwrap().unwrap(), 7);

    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(tower_keep::DedupLayer::new(|_: &u32| Some(())).join())
        .layer(TimeoutLayer::new(secs(10)).grace(secs(5)))
        .service(code(|job, _| cleaning_up(job, 2)));
    let calls = [
        tokio::spawn(begin(&mut service, 0).await),
        tokio::spawn(begin(&mut service, 0).await),
    ];
    for call in calls {
        elapsed(&call.await.unwrap().unwrap_err());
    }
    assert_eq!(limits(&recorder), [(LimitScope::Overall, 12, false)]);
    assert_failed(&recorder);
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

/// R59: work that is told to stop at the limit of its attempt counts as failed, not as cancelled.
#[tokio::test(start_paused = true)]
async fn a_circuit_counts_what_is_told_to_stop() {
    for inside in [true, false] {
        let circuit = tower_keep::CircuitBreakerLayer::new().failure_threshold(0);
        let handle = circuit.handle();
        let limit = TimeoutLayer::new(secs(10)).per_attempt().grace(secs(5));
        let inner = code(|job, _| cleaning_up(job, 1));
        let stack = ServiceBuilder::new();
        let error = if inside {
            let service = stack.layer(limit).layer(circuit).service(inner);
            service.oneshot(0).await.unwrap_err()
        } else {
            let service = stack.layer(circuit).layer(limit).service(inner);
            service.oneshot(0).await.unwrap_err()
        };
        elapsed(&error);
        assert_eq!(handle.state(), tower_keep::circuit_breaker::State::Open);
    }
}
