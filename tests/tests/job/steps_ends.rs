//! In which step a job ended, whatever ended it.

use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{CancelLayer, EventKind, Job, LimitScope, RetryLayer, StepInfo, TimeoutLayer};
use tower_keep_test::Recorder;
use tower_keep_tests::*;

use super::steps::{badly, never, places, slowly, well};

/// R63: of steps that run at once the first to fail is where the job failed, whatever becomes of
/// the others.
#[tokio::test(start_paused = true)]
async fn the_first_failure_is_kept() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .service(code(|job, all| async move {
            let a = job.step(
                "a",
                slowly(
                    if all == 2 { 5 } else { 50 },
                    if all == 1 { badly().await } else { Ok(1) },
                ),
            );
            let b = job.step("b", slowly(1, badly().await));
            if all == 0 {
                // Drops the other.
                tokio::try_join!(a, b).map(|(a, _)| a)
            } else {
                let (a, b) = tokio::join!(a, b);
                b.and(a)
            }
        }));
    for all in 0..=2 {
        recorder.clear();
        service.clone().oneshot(all).await.unwrap_err();
        assert_eq!(places(&recorder).last().unwrap(), "failed b 2");
    }
}

/// R14, R63: a time limit, a cancellation, a drop and a panic say in which step they hit the job;
/// R16: so does a step's own limit.
#[tokio::test(start_paused = true)]
async fn endings_from_outside_say_where() {
    let steps = |job: Job, panics: u32| async move {
        let job = job.steps(2);
        job.step("a", well()).await?;
        job.step("b", async {
            let job = Job::current();
            job.step("b'", async {
                tokio::time::sleep(secs(1)).await;
                assert!(panics != 1, "boom");
                if panics == 2 {
                    Job::current().step("c", never()).limit(secs(1)).await
                } else {
                    never().await
                }
            })
            .await
        })
        .await
    };
    let (log, recorder) = recording();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(cancel)
        .layer(TimeoutLayer::new(secs(9)))
        .service(code(steps));
    let last = |recorder: &Recorder, count: usize| {
        let places = places(recorder);
        recorder.clear();
        places[places.len() - count..].to_vec()
    };

    begin(&mut service, 0).await.await.unwrap_err();
    assert_eq!(last(&recorder, 2), ["timed_out b' 3/2", "failed b' 3/2"]);

    let call = tokio::spawn(begin(&mut service, 0).await);
    tokio::time::sleep(secs(2)).await;
    assert!(handle.cancel(recorder.job()));
    call.await.unwrap().unwrap_err();
    assert_eq!(last(&recorder, 1), ["cancelled b' 3/2"]);

    let call = tokio::spawn(begin(&mut service, 0).await);
    tokio::time::sleep(secs(2)).await;
    call.abort();
    call.await.unwrap_err();
    assert_eq!(last(&recorder, 1), ["cancelled b' 3/2"]);

    let call = tokio::spawn(begin(&mut service, 1).await);
    assert!(call.await.unwrap_err().is_panic());
    assert_eq!(last(&recorder, 1), ["failed b' 3/2"]);

    begin(&mut service, 2).await.await.unwrap_err();
    assert_eq!(last(&recorder, 2), ["timed_out c 4/2", "failed c 4/2"]);
}

/// R63: a step that could do without one inside it that failed is where the job is stopped later.
#[tokio::test(start_paused = true)]
async fn a_step_that_runs_on_is_where_it_stops() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::new(secs(9)))
        .service(code(|job, _| async move {
            job.step("outer", async {
                let job = Job::current();
                job.step("inner", badly()).await.unwrap_err();
                never().await
            })
            .await
        }));
    service.oneshot(0).await.unwrap_err();
    assert_eq!(
        places(&recorder)[4..],
        ["timed_out outer 1", "failed outer 1"]
    );
}

/// R16, R63: a limit that drops a step while another runs at the same time names its own.
#[tokio::test(start_paused = true)]
async fn a_limit_names_its_own_step() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .service(code(|job, _| async move {
            let a = job.step("a", never()).limit(secs(1));
            let b = job.step("b", slowly(5, Ok(1)));
            let (a, b) = tokio::join!(a, b);
            a.unwrap_err();
            b
        }));
    service.oneshot(0).await.unwrap();
    let events = recorder.events();
    let expired = events.iter().find(|event| event.kind.name() == "timed_out");
    let expired = expired.unwrap();
    assert_eq!(expired.step, Some(StepInfo::new("a", 1, None)));
    assert!(
        matches!(&expired.kind, EventKind::TimedOut { scope: LimitScope::Step(name), .. } if &**name == "a")
    );
}

/// R18, R63: the retry says in which step the attempt failed, and the next attempt goes through its
/// steps from the first.
#[tokio::test(start_paused = true)]
async fn each_attempt_goes_through_its_steps_from_the_first() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .service(code(|job, _| async move {
            let job = job.steps(2);
            job.step("a", well()).await?;
            if job.attempt() == 1 {
                // It leaves a step behind, which is none of the next attempt's.
                let left = job.clone();
                tokio::spawn(job.scope(async move { left.step("left", slowly(60, Ok(1))).await }));
                tokio::task::yield_now().await;
                job.step("b", badly()).await
            } else {
                tokio::time::sleep(secs(100)).await;
                job.progress(0.7);
                job.step("b", well()).await
            }
        }));
    service.oneshot(0).await.unwrap();
    assert_eq!(
        places(&recorder)[5..],
        [
            "step_started left 2/2",
            "step_started b 3/2",
            "attempt_ended b 3/2",
            "retry_scheduled b 3/2",
            "retrying",
            "step_started a 1/2",
            "progress a 1/2",
            "step_succeeded a 1/2",
            "progress",
            "step_started b 2/2",
            "progress b 2/2",
            "step_succeeded b 2/2",
            "attempt_ended",
            "succeeded",
        ]
    );
}

/// R63: a failed step that the job does without is forgotten when the next begins, or when `steps`
/// counts from 1 again.
#[tokio::test(start_paused = true)]
async fn a_failure_that_is_dealt_with_is_forgotten() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .service(code(|job, again| async move {
            job.step("a", badly()).await.unwrap_err();
            job.progress(0.1);
            if again == 1 {
                let _ = job.steps(7);
            } else {
                job.step("b", well()).await?;
            }
            badly().await
        }));
    for (again, expected) in [
        (
            0,
            &[
                "progress a 1",
                "step_started b 2",
                "step_succeeded b 2",
                "failed",
            ][..],
        ),
        (1, &["progress a 1", "failed"][..]),
    ] {
        recorder.clear();
        service.clone().oneshot(again).await.unwrap_err();
        assert_eq!(places(&recorder)[3..], *expected);
    }
}

/// R63: a job that ends well is at no step, whatever became of the last.
#[tokio::test(start_paused = true)]
async fn success_is_at_no_step() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .service(code(|job, _| async move {
            job.step("a", badly()).await.unwrap_err();
            Ok(1)
        }));
    service.oneshot(0).await.unwrap();
    assert_eq!(places(&recorder)[2..], ["step_started a 1", "succeeded"]);
}
