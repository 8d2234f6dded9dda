//! Reports of progress and the view of a job's latest value.

use std::num::NonZeroUsize;

use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelReason, Event, EventKind, FailureCause, Job, LogLayer, ProgressLayer, Report,
    RetryLayer, progress::JobState,
};
use tower_keep_test::{Recorder, Scripted};
use tower_keep_tests::*;

/// R26: progress reaches subscribers in order; then success means complete; nothing after the
/// terminal event.
#[tokio::test(start_paused = true)]
async fn progress_comes_in_order_and_ends() {
    let progress = ProgressLayer::new();
    let mut events = progress.handle().subscribe();
    let service = ServiceBuilder::new()
        .layer(progress)
        .service(code(|job, _| async move {
            for i in 1..=3 {
                tokio::time::sleep(secs(1)).await;
                job.progress(f64::from(i) / 4.0);
            }
            let late = job.clone();
            tokio::spawn(async move {
                tokio::time::sleep(secs(1)).await;
                late.progress(0.9);
            });
            Ok(1)
        }));
    service.oneshot(0).await.unwrap();
    tokio::time::sleep(secs(9)).await;
    let mut seen = Vec::new();
    while let Some(event) = events.try_recv() {
        let event = event.unwrap();
        seen.push(match event.kind {
            EventKind::Progress(report) => report.fraction().unwrap().to_string(),
            kind => kind.name().to_owned(),
        });
    }
    assert_eq!(
        seen,
        ["dispatched", "started", "0.25", "0.5", "0.75", "succeeded"]
    );
}

/// R27: a report is a fraction within 0.0..=1.0 (clamped, NaN is 0), an optional message, optional
/// steps.
#[test]
fn a_report_is_clamped() {
    for (given, kept) in [
        (0.5, 0.5),
        (-1.0, 0.0),
        (7.0, 1.0),
        (f64::NAN, 0.0),
        (f64::INFINITY, 1.0),
        (f64::NEG_INFINITY, 0.0),
        (-0.0, 0.0),
    ] {
        assert_eq!(Report::from(given).fraction(), Some(kept));
    }
    let report = Report::new(0.5).message("half");
    assert_eq!((report.text(), report.steps()), (Some("half"), None));
}

/// R28: step c of t sets the fraction to c/t; t = 0 is 0.0; c > t is clamped.
#[test]
fn steps_set_the_fraction() {
    for (current, total, fraction) in [
        (1, 4, 0.25),
        (4, 4, 1.0),
        (0, 4, 0.0),
        (3, 0, 0.0),
        (9, 4, 1.0),
    ] {
        let report = Report::step(current, total);
        assert_eq!(report.fraction(), Some(fraction));
        assert_eq!(report.steps(), Some((current, total)));
    }
}

/// R28: the steps of a job report their share; with no total there is nothing to report.
#[tokio::test(start_paused = true)]
async fn a_jobs_steps_report() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .service(code(|job, total| async move {
            let job = if total > 0 { job.steps(total) } else { job };
            job.step("a", async { Ok::<_, BoxError>(1) }).await?;
            job.step("b", async { Err::<u32, _>(BoxError::from("no")) })
                .await
        }));
    service.clone().oneshot(2).await.unwrap_err();
    let steps: Vec<_> = recorder
        .kinds()
        .into_iter()
        .filter_map(|kind| match kind {
            EventKind::StepStarted {
                name,
                number,
                total,
            } => Some(format!("{name} {number} {total:?}")),
            EventKind::Progress(report) => Some(report.fraction().unwrap().to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(steps, ["a 1 Some(2)", "0.5", "b 2 Some(2)"]);

    recorder.clear();
    service.oneshot(0).await.unwrap_err();
    recorder.assert_names([
        "dispatched",
        "started",
        "step_started",
        "step_succeeded",
        "step_started",
        "failed",
    ]);
}

/// R29: a latest-value view: 0.0 at the start, then the last value, then ended; it never lags or
/// loses the ending.
#[tokio::test(start_paused = true)]
async fn the_latest_value_never_lags() {
    let progress = ProgressLayer::with_buffer(NonZeroUsize::MIN);
    let handle = progress.handle();
    let mut behind = handle.subscribe();
    let service = ServiceBuilder::new()
        .layer(progress)
        .service(code(|job, _| async move {
            tokio::time::sleep(secs(1)).await;
            for i in 0..=1000 {
                job.progress(Report::new(f64::from(i) / 2000.0).message("working"));
            }
            tokio::time::sleep(secs(1)).await;
            Err("broken".into())
        }));
    let call = tokio::spawn(service.oneshot(0));
    tokio::task::yield_now().await;
    let [view] = &handle.jobs()[..] else {
        panic!("one job runs")
    };
    assert_eq!(
        (view.report.fraction().unwrap(), &view.state),
        (0.0, &JobState::Running)
    );
    let mut watch = handle.watch(view.job).unwrap();
    let mut second = handle.watch(view.job).unwrap();

    let view = watch.changed().await.unwrap();
    assert_eq!(
        (view.report.fraction().unwrap(), view.report.text()),
        (0.5, Some("working"))
    );
    assert_eq!(handle.find(view.job).unwrap().report.fraction(), Some(0.5));

    call.await.unwrap().unwrap_err();
    // Both see the ending, however late they look, and it says how.
    tokio::time::sleep(secs(100)).await;
    assert_eq!(
        second.ended().await.state,
        JobState::Failed(FailureCause::Error)
    );
    assert_eq!(
        watch.changed().await.unwrap().state,
        JobState::Failed(FailureCause::Error)
    );
    assert!(watch.changed().await.is_none());
    assert_eq!(watch.latest().report.fraction(), Some(0.5));
    assert!(handle.jobs().is_empty() && handle.watch(view.job).is_none());

    // The stream says that it lagged, and by how much.
    let lagged = behind.recv().await.unwrap().unwrap_err();
    assert!(lagged.missed() >= 1000);
}

/// R29: success is complete; cancellation and backoff are states of the view.
#[tokio::test(start_paused = true)]
async fn the_view_says_what_the_job_does() {
    let progress = ProgressLayer::new();
    let handle = progress.handle();
    let inner = Scripted::<u32, u32>::new()
        .error_after(secs(1), "no")
        .answer_after(secs(1), 1)
        .never();
    let mut service = ServiceBuilder::new()
        .layer(progress)
        .layer(RetryLayer::new())
        .service(inner.strict());
    let call = tokio::spawn(begin(&mut service, 0).await);
    tokio::time::sleep(ms(1500)).await;
    let id = handle.jobs()[0].job;
    let mut watch = handle.watch(id).unwrap();
    assert_eq!(watch.latest().state, JobState::Backoff);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(
        (watch.latest().state, watch.latest().attempt),
        (JobState::Running, 2)
    );
    call.await.unwrap().unwrap();
    let ended = watch.ended().await;
    assert_eq!(
        (ended.state, ended.report.fraction().unwrap()),
        (JobState::Succeeded, 1.0)
    );

    let call = tokio::spawn(begin(&mut service, 0).await);
    tokio::task::yield_now().await;
    let mut watch = handle.watch(handle.jobs()[0].job).unwrap();
    call.abort();
    assert_eq!(
        watch.ended().await.state,
        JobState::Cancelled(CancelReason::CallerGone)
    );
}

/// R26: every observer of a job sees the same events in the same order, also an observer that
/// joined it later.
#[tokio::test(start_paused = true)]
async fn every_observer_sees_the_same() {
    let recorders: [Recorder; 3] = std::array::from_fn(|_| Recorder::new());
    let log = |i: usize| LogLayer::to(recorders[i].clone());
    let service = ServiceBuilder::new()
        .layer(log(0))
        .layer(log(1))
        .layer(RetryLayer::new())
        .layer(log(2))
        .service(code(|job, _| async move {
            job.progress(0.1);
            if job.attempt() == 1 {
                Err("once".into())
            } else {
                Ok(1)
            }
        }));
    service.oneshot(0).await.unwrap();
    let seen = recorders.each_ref().map(|recorder| {
        recorder.assert_one_terminal_each();
        recorder
            .events()
            .iter()
            .map(|event| (event.seq, event.kind.clone()))
            .collect::<Vec<_>>()
    });
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

/// An observer that itself reports does not deadlock, and its report comes after what it saw.
#[tokio::test(start_paused = true)]
async fn an_observer_may_report() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(LogLayer::to(|event: &Event| {
            if matches!(event.kind, EventKind::StepStarted { .. }) {
                Job::current().progress(0.3);
            }
        }))
        .layer(LogLayer::to(recorder.clone()))
        .service(code(|job, _| async move {
            job.step("a", async { Ok::<_, BoxError>(1) }).await
        }));
    service.oneshot(0).await.unwrap();
    recorder.assert_names([
        "dispatched",
        "started",
        "step_started",
        "progress",
        "step_succeeded",
        "succeeded",
    ]);
}
