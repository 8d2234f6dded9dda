//! Reports of amounts.

use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    EventKind, Job, LogLayer, Pipeline, ProgressLayer, Report, Unit, progress::JobState,
};
use tower_keep_tests::*;

/// R78 A report may be an amount of a known total, which gives the fraction, or of an unknown one,
/// which gives none.
#[test]
fn an_amount_has_a_fraction_where_the_total_is_known() {
    for (done, total, fraction) in [
        (0, Some(40), Some(0.0)),
        (10, Some(40), Some(0.25)),
        (40, Some(40), Some(1.0)),
        (41, Some(40), Some(1.0)),
        // An empty file is complete.
        (0, Some(0), Some(1.0)),
        (5, Some(0), Some(1.0)),
        (0, None, None),
        (7, None, None),
    ] {
        for unit in [Unit::Items, Unit::Bytes] {
            let report = Report::amount(done, total, unit);
            assert_eq!(report.fraction(), fraction, "{done} of {total:?}");
            assert_eq!(report.done(), Some(done));
            assert_eq!((report.total(), report.unit()), (total, Some(unit)));
        }
    }
    assert_eq!(Report::items(1, None), Report::amount(1, None, Unit::Items));
    assert_eq!(Report::bytes(1, None), Report::amount(1, None, Unit::Bytes));
    let fraction = Report::new(0.5);
    assert_eq!(
        (fraction.done(), fraction.total(), fraction.unit()),
        (None, None, None)
    );
}

/// R78 The largest amounts are kept to the last byte, and no fraction is 1.0 before all is done.
#[test]
fn large_amounts_are_exact() {
    const MAX: u64 = u64::MAX;
    for (done, total) in [
        (MAX - 1, MAX),
        (1 << 53, (1 << 53) + 1),
        (MAX / 2, MAX / 2 + 1),
    ] {
        let report = Report::bytes(done, Some(total));
        assert_eq!((report.done(), report.total()), (Some(done), Some(total)));
        let fraction = report.fraction().unwrap();
        assert!(
            fraction < 1.0 && fraction > 0.999,
            "{done} of {total}: {fraction}"
        );
    }
    assert_eq!(Report::bytes(MAX, Some(MAX)).fraction(), Some(1.0));
    assert_eq!(Report::bytes(MAX, Some(1)).fraction(), Some(1.0));
    assert!(Report::bytes(1, Some(MAX)).fraction().unwrap() > 0.0);
}

/// R78 A message and a step go with an amount, whose fraction stays.
#[test]
fn an_amount_with_a_message_and_a_step() {
    let report = Report::bytes(1, Some(4)).at_step(2, 3).message("upload");
    assert_eq!(report.fraction(), Some(0.25));
    assert_eq!(
        (report.steps(), report.text()),
        (Some((2, 3)), Some("upload"))
    );
    let unknown = Report::bytes(1, None).message("upload").at_step(2, 3);
    assert_eq!((unknown.fraction(), unknown.steps()), (None, Some((2, 3))));
    // A step's own report is as before.
    assert_eq!(Report::step(2, 4).fraction(), Some(0.5));
    assert_eq!(Report::step(2, 0).fraction(), Some(0.0));
}

/// R78 The job's code reports amounts, events and views carry them, in any stack.
#[tokio::test(start_paused = true)]
async fn a_job_reports_amounts() {
    let (log, recorder) = recording();
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let service = ServiceBuilder::new()
        .layer(Pipeline::new().log(log).progress(progress).build().unwrap())
        .service(code(|job, n| async move {
            job.progress(Report::items(3, Some(12)));
            tokio::time::sleep(secs(1)).await;
            job.progress(Report::bytes(9, None).message("unpacking"));
            tokio::time::sleep(secs(1)).await;
            Ok(n)
        }));
    let call = tokio::spawn(service.oneshot(1));
    tokio::time::sleep(ms(500)).await;
    let report = || board.jobs()[0].report.clone();
    assert_eq!(report(), Report::items(3, Some(12)));
    tokio::time::sleep(secs(1)).await;
    assert_eq!(report(), Report::bytes(9, None).message("unpacking"));
    assert_eq!(report().fraction(), None);
    call.await.unwrap().unwrap();
    let told = recorder.kinds().into_iter().filter_map(|kind| match kind {
        EventKind::Progress(report) => report.done(),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [3, 9]);
}

/// R78, R26 What succeeded is complete: the total is reached, and an unknown one is known.
#[tokio::test(start_paused = true)]
async fn success_completes_the_amount() {
    for (last, shown) in [
        (Report::bytes(90, Some(100)), Report::bytes(100, Some(100))),
        (Report::bytes(110, Some(100)), Report::bytes(110, Some(100))),
        (Report::bytes(7, None), Report::bytes(7, Some(7))),
        (Report::items(0, None), Report::items(0, Some(0))),
        (
            Report::items(1, Some(2)).at_step(1, 3),
            Report::items(2, Some(2)).at_step(3, 3),
        ),
    ] {
        for succeeds in [true, false] {
            let progress = ProgressLayer::new();
            let board = progress.handle();
            let report = last.clone();
            let service = progress.layer(code(move |job, n| {
                job.progress(report.clone());
                async move { if succeeds { Ok(n) } else { Err("no".into()) } }
            }));
            let _result = service.oneshot(1).await;
            let view = &board.history()[0];
            let expected = if succeeds { &shown } else { &last };
            assert_eq!(&view.report, expected);
            assert_eq!(view.state == JobState::Succeeded, succeeds);
            assert_eq!((view.rate, view.time_left), (None, None));
            assert!(!succeeds || view.report.fraction() == Some(1.0));
        }
    }
}

/// R78, R41 The record of a report has the amount, the total and the unit, and a fraction where
/// there is one.
#[tokio::test(start_paused = true)]
async fn amounts_are_logged() {
    let (lines, _guard) = Lines::listen();
    let service = LogLayer::new().layer(code(|job, n| async move {
        job.progress(Report::bytes(1, Some(4)));
        job.progress(Report::items(5, None));
        job.progress(0.5);
        Ok(n)
    }));
    service.oneshot(1).await.unwrap();
    let fields = lines.fields();
    let has = |line: usize, field: &str| fields[line].split(' ').any(|known| known == field);
    for field in ["amount=1", "total=4", "unit=\"bytes\"", "fraction=0.25"] {
        assert!(has(2, field), "{field} in {}", fields[2]);
    }
    assert!(
        has(3, "amount=5") && has(3, "unit=\"items\""),
        "{}",
        fields[3]
    );
    assert!(
        !fields[3].contains("fraction=") && !fields[3].contains("total="),
        "{}",
        fields[3]
    );
    assert!(
        !fields[4].contains("amount=") && has(4, "fraction=0.5"),
        "{}",
        fields[4]
    );
}

/// R78 A report outside any job goes nowhere.
#[test]
fn an_unwatched_amount() {
    Job::current().progress(Report::bytes(u64::MAX, Some(0)));
}
