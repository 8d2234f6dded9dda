//! Limits on the time without progress.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, DedupLayer, EventKind, FailureCause, Job, LimitScope, RetryLayer,
    TimeoutLayer, find, timeout::Elapsed,
};
use tower_keep_test::{Polled, Scripted};
use tower_keep_tests::*;

/// Which limit ended it.
#[track_caller]
fn elapsed(error: &BoxError) -> &Elapsed {
    find::<Elapsed>(&**error).expect("a limit expired")
}

/// Reports, each after this wait, and then does nothing.
fn reporting(waits: &'static [u64]) -> Work {
    Box::pin(async move {
        for wait in waits {
            tokio::time::sleep(secs(*wait)).await;
            Job::current().progress(0.5);
        }
        std::future::pending().await
    })
}

/// R16: each report gives the job the whole limit again; without one it ends, and the reason says
/// so.
#[tokio::test(start_paused = true)]
async fn progress_resets_an_idle_limit() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(10)).idle())
        .service(code(|_, _| reporting(&[9, 9, 3, 10])));
    let error = service.oneshot(0).await.unwrap_err();
    let why = elapsed(&error);
    assert_eq!((why.scope(), why.limit()), (&LimitScope::Idle, secs(10)));
    assert_eq!(
        recorder.times(),
        [
            ("dispatched", secs(0)),
            ("started", secs(0)),
            ("progress", secs(9)),
            ("progress", secs(18)),
            ("progress", secs(21)),
            // In the very moment at which the limit would expire: progress wins.
            ("progress", secs(31)),
            ("timed_out", secs(41)),
            ("failed", secs(41)),
        ]
    );
    let kinds = recorder.kinds();
    assert!(matches!(
        kinds[6],
        EventKind::TimedOut {
            scope: LimitScope::Idle,
            name: None,
            limit,
            dropped: true,
            ..
        } if limit == secs(10)
    ));
    assert!(matches!(
        kinds[7],
        EventKind::Failed {
            cause: FailureCause::TimedOut,
            ..
        }
    ));
}

/// R12: its clock starts at the call too, also where the future is polled late.
#[tokio::test(start_paused = true)]
async fn an_idle_limit_starts_at_the_call() {
    let inner = Scripted::<u32, u32>::new().answer_after(secs(6), 1);
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(10)).idle())
        .service(inner.strict());
    let future = begin(&mut service, 0).await;
    tokio::time::sleep(secs(7)).await;
    let start = Instant::now();
    elapsed(&future.await.unwrap_err());
    assert_eq!(start.elapsed(), secs(3));
}

/// R13: in time nothing is reported, and the timer is gone.
#[tokio::test(start_paused = true)]
async fn in_time_an_idle_limit_is_silent() {
    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(10)).idle())
        .service(code(|job, _| async move {
            for _ in 0..5 {
                tokio::time::sleep(secs(9)).await;
                job.progress(0.5);
            }
            Ok(1)
        }));
    let mut future = Polled::new(begin(&mut service, 0).await);
    future.assert_pending();
    for _ in 0..5 {
        tokio::time::sleep(secs(9)).await;
        let _ = future.poll();
    }
    assert!(future.is_done());
    let wakes = future.wakes();
    tokio::time::sleep(secs(100)).await;
    assert_eq!(future.wakes(), wakes);
    assert_eq!(recorder.count("timed_out"), 0);
}

/// R16: the beginning and the end of a step are progress, however it ends.
#[tokio::test(start_paused = true)]
async fn steps_are_progress() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(10)).idle())
        .service(code(|job, _| async move {
            let wait = |ok| async move {
                tokio::time::sleep(secs(9)).await;
                if ok {
                    Ok(())
                } else {
                    Err(BoxError::from("no"))
                }
            };
            tokio::time::sleep(secs(9)).await;
            job.step("a", wait(true)).await?;
            tokio::time::sleep(secs(9)).await;
            job.step("b", wait(false)).await.unwrap_err();
            tokio::time::sleep(secs(9)).await;
            let never = std::future::pending::<Result<(), BoxError>>();
            job.step("c", never).limit(secs(9)).await.unwrap_err();
            std::future::pending().await
        }));
    elapsed(&service.oneshot(0).await.unwrap_err());
    let last = recorder.times().pop();
    assert_eq!(last, Some(("failed", secs(6 * 9 + 10))));
}

/// R56: an idle limit outside the retry ends the job: nothing is retried.
#[tokio::test(start_paused = true)]
async fn an_idle_limit_of_the_job_is_not_retried() {
    for outside in [true, false] {
        let inner = Scripted::<u32, u32>::new().never().repeat_last();
        let calls = inner.calls();
        let (log, recorder) = recording();
        let idle = TimeoutLayer::new(secs(10)).idle();
        let stack = ServiceBuilder::new().layer(log.clone());
        let error = if outside {
            let stack = stack.layer(idle).layer(RetryLayer::new());
            stack.service(inner.strict()).oneshot(0).await.unwrap_err()
        } else {
            let stack = stack.layer(RetryLayer::new()).layer(idle);
            stack.service(inner.strict()).oneshot(0).await.unwrap_err()
        };
        elapsed(&error);
        assert_eq!(calls.count(), 1);
        recorder.assert_names([
            "dispatched",
            "started",
            "timed_out",
            "attempt_ended",
            "failed",
        ]);
    }
}

/// R16: an idle limit of each attempt fails the attempt, which is retried, and each attempt has the
/// whole limit.
#[tokio::test(start_paused = true)]
async fn an_idle_attempt_is_retried() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .layer(TimeoutLayer::new(secs(10)).per_attempt().idle())
        .service(code(|job, _| async move {
            if job.attempt() < 3 {
                return reporting(&[5]).await;
            }
            tokio::time::sleep(secs(9)).await;
            Ok(7)
        }));
    assert_eq!(service.oneshot(0).await.unwrap(), 7);
    let times: Vec<_> = recorder.times();
    let told: Vec<_> = times
        .iter()
        .filter(|(name, _)| ["timed_out", "succeeded"].contains(name))
        .collect();
    assert_eq!(
        told,
        [
            &("timed_out", secs(15)),
            &("timed_out", secs(15 + 1 + 15)),
            &("succeeded", secs(15 + 1 + 15 + 2 + 9)),
        ]
    );
    let scopes = recorder.kinds().into_iter().filter(
        |kind| matches!(kind, EventKind::TimedOut { scope, .. } if *scope == LimitScope::Idle),
    );
    assert_eq!(scopes.count(), 2);
}

/// R16: an attempt that begins is progress, and the wait before it does not count, however long it
/// is.
#[tokio::test(start_paused = true)]
async fn a_wait_for_the_next_attempt_is_not_idleness() {
    let (log, recorder) = recording();
    let inner = Scripted::<u32, u32>::new()
        .times(3, || tower_keep_test::Step::error("no").after(secs(9)))
        .never();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(10)).idle())
        .layer(
            RetryLayer::new()
                .base_delay(secs(100))
                .max_delay(secs(1000)),
        )
        .service(inner.strict());
    elapsed(&service.oneshot(0).await.unwrap_err());
    let last = recorder.times().pop();
    assert_eq!(last, Some(("failed", secs(3 * 9 + 100 + 200 + 400 + 10))));
}

/// R16: however often there is progress, the timer goes off at most twice in a limit's time.
#[tokio::test(start_paused = true)]
async fn progress_costs_no_timer() {
    let handle = Arc::new(Mutex::new(None));
    let seen = handle.clone();
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(10)).idle())
        .service(code(move |job, _| {
            *seen.lock().unwrap() = Some(job);
            std::future::pending()
        }));
    let mut future = Polled::new(begin(&mut service, 0).await);
    future.assert_waiting();
    let job: Job = handle.lock().unwrap().take().unwrap();
    for _ in 0..1000 {
        tokio::time::advance(ms(100)).await;
        job.progress(0.5);
        if future.is_woken() {
            future.assert_pending();
        }
    }
    // A hundred seconds of it.
    assert!(future.wakes() <= 20, "{} wakes", future.wakes());
    assert!(future.wakes() >= 9);
    tokio::time::advance(secs(10)).await;
    while !future.is_done() {
        future.assert_woken();
        let _ = future.poll();
    }
}

/// R16: what works for the job shows that the job goes on.
#[tokio::test(start_paused = true)]
async fn a_childs_progress_is_its_parents() {
    let start = Instant::now();
    let (log, recorder) = recording();
    let client = ServiceBuilder::new()
        .layer(log)
        .service(code(|_, _| reporting(&[9, 9, 9])));
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(10)).idle())
        .service(code(move |_, request| client.clone().oneshot(request)));
    elapsed(&service.oneshot(0).await.unwrap_err());
    assert_eq!(start.elapsed(), secs(37));
    assert_eq!(recorder.count("progress"), 3);
}

/// R16b: the limit can come from the request; zero lets through what is ready at once, and `MAX`
/// never expires.
#[tokio::test(start_paused = true)]
async fn an_idle_limit_comes_from_the_request() {
    let limit = |request: &u32| match request {
        0 => None,
        1 => Some(Duration::MAX),
        2 => Some(Duration::ZERO),
        seconds => Some(secs(u64::from(*seconds))),
    };
    for per_attempt in [false, true] {
        let layer = if per_attempt {
            TimeoutLayer::none()
                .limit_by(limit as fn(&u32) -> _)
                .per_attempt()
                .idle()
        } else {
            TimeoutLayer::none().limit_by(limit as fn(&u32) -> _).idle()
        };
        for (request, ends) in [(0, None), (1, None), (2, Some(0)), (7, Some(7))] {
            let start = Instant::now();
            let inner = Scripted::<u32, u32>::new().answer_after(secs(1_000_000), 1);
            let service = ServiceBuilder::new()
                .layer(layer.clone())
                .service(inner.strict());
            let result = service.oneshot(request).await;
            match ends {
                None => assert_eq!(result.unwrap(), 1),
                Some(ends) => {
                    elapsed(&result.unwrap_err());
                    assert_eq!(start.elapsed(), secs(ends));
                }
            }
        }
        let ready = Scripted::<u32, u32>::new().answer(1);
        let ready = ServiceBuilder::new().layer(layer).service(ready.strict());
        assert_eq!(ready.oneshot(2).await.unwrap(), 1);
    }
}

/// R54b: a caller that joined an execution waits for as long as that goes on, whichever job it
/// belongs to, and no longer.
#[tokio::test(start_paused = true)]
async fn callers_that_joined_share_its_progress() {
    for leader_leaves in [false, true] {
        let start = Instant::now();
        let mut service = ServiceBuilder::new()
            .layer(TimeoutLayer::new(secs(10)).idle())
            .layer(DedupLayer::new(|_: &u32| Some(())).join())
            .service(code(|_, _| reporting(&[9, 9, 9])));
        let first = tokio::spawn(begin(&mut service, 0).await);
        tokio::time::sleep(secs(1)).await;
        let second = tokio::spawn(begin(&mut service, 0).await);
        tokio::time::sleep(secs(5)).await;
        if leader_leaves {
            first.abort();
        } else {
            elapsed(&first.await.unwrap().unwrap_err());
            assert_eq!(start.elapsed(), secs(37));
        }
        elapsed(&second.await.unwrap().unwrap_err());
        assert_eq!(start.elapsed(), secs(37));
    }
}

/// R54b: an idle limit inside watches the execution itself, for all that joined.
#[tokio::test(start_paused = true)]
async fn an_idle_limit_inside_ends_the_execution_for_all() {
    let start = Instant::now();
    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(DedupLayer::new(|_: &u32| Some(())).join())
        .layer(TimeoutLayer::new(secs(10)).idle())
        .service(code(|_, _| reporting(&[9])));
    let calls = [
        tokio::spawn(begin(&mut service, 0).await),
        tokio::spawn(begin(&mut service, 0).await),
    ];
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        elapsed(&error);
    }
    assert_eq!(start.elapsed(), secs(19));
    assert_eq!(recorder.count("timed_out"), 1);
    recorder.assert_one_terminal_each();
}

/// R5: a detached job outlives an idle limit outside it with its caller, and keeps one inside.
#[tokio::test(start_paused = true)]
async fn an_idle_limit_and_a_detached_job() {
    for inside in [false, true] {
        let (log, recorder) = recording();
        let detached = CancelLayer::new().detached();
        let idle = TimeoutLayer::new(secs(10)).idle();
        let inner = Scripted::<u32, u32>::new().answer_after(secs(60), 1);
        let stack = ServiceBuilder::new().layer(log);
        let call = if inside {
            let mut service = stack.layer(detached).layer(idle).service(inner.strict());
            Box::pin(begin(&mut service, 0).await) as Work
        } else {
            let mut service = stack.layer(idle).layer(detached).service(inner.strict());
            Box::pin(begin(&mut service, 0).await)
        };
        drop(call);
        tokio::time::sleep(secs(100)).await;
        let ended = if inside {
            ("failed", secs(10))
        } else {
            ("succeeded", secs(60))
        };
        assert_eq!(recorder.times().pop(), Some(ended));
    }
}

/// R16: a child job that the work began before a caller joined is a sign of life for that caller's
/// idle limit too.
#[tokio::test(start_paused = true)]
async fn an_earlier_child_is_a_sign_of_life() {
    let child = quiet().layer(code(|job, request| async move {
        for tenth in 0..10 {
            tokio::time::sleep(secs(1)).await;
            job.progress(f64::from(tenth) / 10.0);
        }
        Ok(request)
    }));
    let shared = by_number()
        .join()
        .layer(code(move |_, request| child.clone().oneshot(request)));
    let first = tokio::spawn(quiet().layer(shared.clone()).oneshot(1));
    tokio::time::sleep(ms(1500)).await;
    let idle = ServiceBuilder::new()
        .layer(quiet())
        .layer(TimeoutLayer::new(secs(3)).idle())
        .service(shared);
    assert_eq!(idle.oneshot(1).await.unwrap(), 1);
    first.await.unwrap().unwrap();
}
