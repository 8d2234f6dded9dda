//! The steps of a job: numbered, and named in every event.

use std::future::pending;

use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, EventKind, FailureCause, Job, ProgressLayer, StepInfo, progress::JobState,
};
use tower_keep_test::Recorder;
use tower_keep_tests::*;

/// Each event's name and step, such as `progress b 2/3`.
pub(super) fn places(recorder: &Recorder) -> Vec<String> {
    let events = recorder.events();
    let place = |step: &StepInfo| match step.total {
        Some(total) => format!("{} {}/{total}", step.name, step.number),
        None => format!("{} {}", step.name, step.number),
    };
    events
        .iter()
        .map(|event| match &event.step {
            Some(step) => format!("{} {}", event.kind.name(), place(step)),
            None => event.kind.name().to_owned(),
        })
        .collect()
}

pub(super) async fn well() -> Result<u32, BoxError> {
    Ok(1)
}

pub(super) async fn badly() -> Result<u32, BoxError> {
    Err("no".into())
}

pub(super) async fn slowly(seconds: u64, result: Result<u32, BoxError>) -> Result<u32, BoxError> {
    tokio::time::sleep(secs(seconds)).await;
    result
}

pub(super) async fn never() -> Result<u32, BoxError> {
    pending().await
}

/// R63: every event carries the step it belongs to, by name and number; the failure says where it
/// was. R28: each step that ends well reports its share.
#[tokio::test(start_paused = true)]
async fn every_event_carries_its_step() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .service(code(|job, fails| async move {
            job.progress(0.1);
            let job = job.steps(3);
            job.step("a", async {
                Job::current().progress(0.2);
                well().await
            })
            .await?;
            job.progress(0.4);
            job.step("b", slowly(5, Ok(1))).await?;
            job.step(
                "c",
                if fails == 1 {
                    slowly(1, badly().await)
                } else {
                    slowly(1, Ok(1))
                },
            )
            .await
        }));
    let begun = [
        "dispatched",
        "started",
        "progress",
        "step_started a 1/3",
        "progress a 1/3",
        "progress a 1/3",
        "step_succeeded a 1/3",
        "progress",
        "step_started b 2/3",
        "progress b 2/3",
        "step_succeeded b 2/3",
        "step_started c 3/3",
    ];
    service.clone().oneshot(1).await.unwrap_err();
    assert_eq!(places(&recorder), [&begun[..], &["failed c 3/3"]].concat());

    recorder.clear();
    service.oneshot(0).await.unwrap();
    let ended = ["progress c 3/3", "step_succeeded c 3/3", "succeeded"];
    assert_eq!(places(&recorder), [&begun[..], &ended].concat());
    let took: Vec<_> = recorder
        .kinds()
        .into_iter()
        .filter_map(|kind| match kind {
            EventKind::StepSucceeded { took, within, .. } => Some((took, within)),
            _ => None,
        })
        .collect();
    assert_eq!(took, [(secs(0), None), (secs(5), None), (secs(1), None)]);
}

/// R63: a step inside a step has the next number; when it ends well the outer one is current again.
#[tokio::test(start_paused = true)]
async fn a_step_inside_a_step() {
    let (log, recorder) = recording();
    let progress = ProgressLayer::new();
    let handle = progress.handle();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(progress)
        .service(code(move |job, fails| {
            let handle = handle.clone();
            async move {
                let shown = move || handle.jobs()[0].step.as_ref().map(|step| step.number);
                let outside = job.clone();
                job.step("outer", async {
                    let job = Job::current();
                    job.step("inner", well()).await?;
                    assert_eq!(shown(), Some(1), "the view too is back at the outer step");
                    job.progress(0.5);
                    let inner = job
                        .step(
                            "inner",
                            if fails > 0 {
                                slowly(1, badly().await)
                            } else {
                                slowly(1, Ok(1))
                            },
                        )
                        .await;
                    outside.progress(0.6);
                    if fails == 1 { inner } else { Ok(1) }
                })
                .await?;
                assert_eq!(shown(), None);
                if fails == 0 {
                    Ok(1)
                } else {
                    Err("later".into())
                }
            }
        }));
    let begun = [
        "dispatched",
        "started",
        "step_started outer 1",
        "step_started inner 2",
        "step_succeeded inner 2",
        "progress outer 1",
        "step_started inner 3",
    ];
    let ended = [
        vec![
            "step_succeeded inner 3",
            "progress outer 1",
            "step_succeeded outer 1",
            "succeeded",
        ],
        // Where it happened, not the step around that passed it on.
        vec!["progress outer 1", "failed inner 3"],
        // The outer step could do without it.
        vec!["progress outer 1", "step_succeeded outer 1", "failed"],
    ];
    for (fails, ended) in (0..).zip(ended) {
        recorder.clear();
        let _ = service.clone().oneshot(fails).await;
        assert_eq!(places(&recorder), [&begun[..], &ended].concat());
    }
}

/// A step that reports on its way.
pub(super) async fn part(job: &Job, name: &'static str, first: u64) -> Result<u32, BoxError> {
    job.step(name, async move {
        tokio::time::sleep(secs(first)).await;
        Job::current().progress(0.5);
        slowly(2, Ok(1)).await
    })
    .await
}

/// R63: of steps that run at once, each event carries that whose code it comes from; what comes
/// from outside carries the step that began last.
#[tokio::test(start_paused = true)]
async fn steps_side_by_side() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .service(code(|job, _| async move {
            let outside = async {
                tokio::time::sleep(ms(3500)).await;
                job.progress(0.7);
                slowly(1, Ok(1)).await
            };
            let (a, b, c, d) = tokio::join!(
                part(&job, "a", 1),
                part(&job, "b", 2),
                part(&job, "c", 9),
                outside
            );
            a.and(b).and(c).and(d)
        }));
    service.oneshot(0).await.unwrap();
    assert_eq!(
        places(&recorder)[2..],
        [
            "step_started a 1",
            "step_started b 2",
            "step_started c 3",
            "progress a 1",
            "progress b 2",
            "step_succeeded a 1",
            "progress c 3",
            "step_succeeded b 2",
            "progress c 3",
            "step_succeeded c 3",
            "succeeded",
        ]
    );
}

/// R63: a child job's events carry its own steps, and its parent's go on with the parent's.
#[tokio::test(start_paused = true)]
async fn a_child_has_steps_of_its_own() {
    let (inner, children) = recording();
    let (outer, parents) = recording();
    let client = ServiceBuilder::new()
        .layer(inner)
        .service(code(|job, _| async move {
            job.progress(0.1);
            job.step("child's", async {
                Job::current().progress(0.2);
                well().await
            })
            .await
        }));
    let service = ServiceBuilder::new()
        .layer(outer)
        .service(code(move |job, _| {
            let client = client.clone();
            async move {
                job.step("parent's", async {
                    client.oneshot(0).await?;
                    Job::current().progress(0.3);
                    well().await
                })
                .await
            }
        }));
    service.oneshot(0).await.unwrap();
    assert_eq!(
        places(&children)[2..],
        [
            "progress",
            "step_started child's 1",
            "progress child's 1",
            "step_succeeded child's 1",
            "succeeded"
        ]
    );
    assert_eq!(
        places(&parents)[2..],
        [
            "step_started parent's 1",
            "progress parent's 1",
            "step_succeeded parent's 1",
            "succeeded"
        ]
    );
}

/// R28: a total of 0 is unknown, more steps than announced go on counting, and no name or number
/// does harm.
#[tokio::test(start_paused = true)]
async fn hostile_names_and_totals() {
    let huge = "x".repeat(1 << 20);
    let names = ["", "two\nlines", "\u{0}\u{1b}[31m\"{}%s", &huge];
    for total in [0, 1, u32::MAX] {
        let (log, recorder) = recording();
        let given: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let service = ServiceBuilder::new()
            .layer(log)
            .service(code(move |job, _| {
                let names = given.clone();
                async move {
                    let job = job.steps(total);
                    for name in names {
                        job.step(name, well()).await?;
                    }
                    Ok(1)
                }
            }));
        service.oneshot(0).await.unwrap();
        let mut seen = Vec::new();
        for event in recorder.events() {
            match (event.kind, event.step) {
                (EventKind::StepSucceeded { .. }, Some(step)) => {
                    assert!(
                        !step.to_string().contains(['\n', '\u{1b}']),
                        "it is escaped"
                    );
                    seen.push(step);
                }
                (EventKind::Progress(report), Some(step)) => {
                    assert_eq!(report.steps(), Some((step.number, total)));
                    assert!((0.0..=1.0).contains(&report.fraction().unwrap()));
                    assert!(total > 1 || report.fraction().unwrap() == 1.0);
                }
                _ => {}
            }
        }
        let expected: Vec<_> = (1..)
            .zip(names)
            .map(|(number, name)| StepInfo::new(name, number, (total > 0).then_some(total)))
            .collect();
        assert_eq!(seen, expected);
    }
}

/// R29: the view says in which step the job is, and in which it failed.
#[tokio::test(start_paused = true)]
async fn the_view_has_the_step() {
    let progress = ProgressLayer::new();
    let handle = progress.handle();
    let service = ServiceBuilder::new()
        .layer(progress)
        .service(code(|job, _| async move {
            let job = job.steps(2);
            job.step("download", slowly(2, Ok(1))).await?;
            tokio::time::sleep(secs(2)).await;
            job.step("unpack", slowly(2, badly().await)).await
        }));
    let call = tokio::spawn(service.oneshot(0));
    tokio::time::sleep(secs(1)).await;
    let shown = || handle.jobs()[0].step.as_ref().map(ToString::to_string);
    assert_eq!(shown().unwrap(), r#"step 1 of 2 "download""#);
    let mut watch = handle.watch(handle.jobs()[0].job).unwrap();
    tokio::time::sleep(secs(2)).await;
    assert_eq!(shown(), None, "the job does something between its steps");
    call.await.unwrap().unwrap_err();
    let ended = watch.ended().await;
    assert_eq!(ended.state, JobState::Failed(FailureCause::Error));
    assert_eq!(ended.step, Some(StepInfo::new("unpack", 2, Some(2))));
}

/// Outside any job the steps run as before, and no event is sent.
#[tokio::test(start_paused = true)]
async fn steps_without_a_job() {
    let job = Job::current().steps(2);
    let inner = async { Job::current().step("inner", well()).await };
    assert_eq!(job.step("outer", inner).await.unwrap(), 1);
    job.step("fails", badly()).await.unwrap_err();
    let expired = job.step("hangs", never()).limit(secs(1)).await.unwrap_err();
    assert_eq!(
        expired.to_string(),
        "time limit of 1s for step \"hangs\" expired"
    );
}
