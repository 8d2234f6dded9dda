//! How much of a job's work its steps say is done.

use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{BoxError, EventKind, Job, ProgressLayer, RetryLayer, retry::Backoff};
use tower_keep_test::Recorder;
use tower_keep_tests::*;

async fn takes(seconds: u64) -> Result<u32, BoxError> {
    tokio::time::sleep(secs(seconds)).await;
    Ok(1)
}

async fn fails() -> Result<u32, BoxError> {
    Err("no".into())
}

/// What the steps reported: how many of how many are over.
fn shares(recorder: &Recorder) -> Vec<(u32, u32)> {
    let kinds = recorder.kinds().into_iter();
    kinds
        .filter_map(|kind| match kind {
            EventKind::Progress(report) => report.steps(),
            _ => None,
        })
        .collect()
}

/// R28: of steps that run side by side the first to end is the first that is done, whatever its
/// number: the share never goes back, and ends at one.
#[tokio::test(start_paused = true)]
async fn steps_side_by_side() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .service(code(|job, _| async move {
            let job = job.steps(3);
            let (slow, fast) = tokio::join!(job.step("slow", takes(9)), job.step("fast", takes(1)));
            slow.and(fast)?;
            job.step("last", takes(1)).await
        }));
    service.oneshot(0).await.unwrap();
    assert_eq!(shares(&recorder), [(1, 3), (2, 3), (3, 3)]);
}

/// R28: a step inside another step counts as the next one when it ends.
#[tokio::test(start_paused = true)]
async fn a_step_inside_a_step() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .service(code(|job, _| async move {
            let job = job.steps(3);
            job.step("outer", async {
                Job::current().step("inner", takes(1)).await
            })
            .await?;
            job.step("last", takes(1)).await
        }));
    service.oneshot(0).await.unwrap();
    assert_eq!(shares(&recorder), [(1, 3), (2, 3), (3, 3)]);
}

/// R28: a step that fails, and that the job does without, is over too; it reports nothing itself.
#[tokio::test(start_paused = true)]
async fn a_failure_that_is_dealt_with() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .service(code(|job, _| async move {
            let job = job.steps(3);
            job.step("first", takes(1)).await?;
            job.step("tried", fails()).await.unwrap_err();
            job.step("last", takes(1)).await
        }));
    service.oneshot(0).await.unwrap();
    assert_eq!(shares(&recorder), [(1, 3), (3, 3)]);
}

/// R28: what an earlier attempt left running reports nothing of the attempt that runs now.
#[tokio::test(start_paused = true)]
async fn a_step_of_an_earlier_attempt_reports_nothing() {
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(progress)
        .layer(RetryLayer::new().backoff(Backoff::constant(secs(1))))
        .service(code(|job, _| async move {
            let job = job.steps(2);
            if job.attempt() == 1 {
                job.step("first", takes(1)).await?;
                let left = job.clone();
                tokio::spawn(async move { left.step("second", takes(10)).await });
                tokio::time::sleep(secs(1)).await;
                return Err("no".into());
            }
            job.step("first", takes(30)).await?;
            job.step("second", takes(30)).await
        }));
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(20)).await;
    let view = &board.jobs()[0];
    assert_eq!(
        (view.attempt, view.report.fraction().unwrap() <= 0.5),
        (2, true)
    );
    call.await.unwrap().unwrap();
    assert_eq!(shares(&recorder), [(1, 2), (1, 2), (2, 2)]);
}
