//! What the callers of a shared execution see of its reports.

use std::sync::{Arc, Mutex};

use tokio::time::sleep;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, Event, EventKind, Job, JobId, LogLayer, RetryLayer};
use tower_keep_test::Recorder;
use tower_keep_tests::*;

use super::join_attempts::one_key;

fn fractions(recorder: &Recorder, job: JobId) -> Vec<f64> {
    let kinds = recorder.kinds_of(job).into_iter();
    kinds
        .filter_map(|kind| match kind {
            EventKind::Progress(report) => report.fraction(),
            _ => None,
        })
        .collect()
}

/// R26: jobs that joined see the reports in the work's order, though another part of it gets on
/// while an observer of the first is at work.
#[tokio::test(start_paused = true)]
async fn reports_have_the_works_order() {
    for elsewhere in [false, true] {
        let recorder = Recorder::new();
        let work: Arc<Mutex<Option<Job>>> = Arc::default();
        let known = Arc::clone(&work);
        let busy = move |event: &Event| {
            let work = known.lock().unwrap().clone();
            let Some(work) = work.filter(|work| work.id() == Some(event.job)) else {
                return;
            };
            if matches!(&event.kind, EventKind::Progress(report) if report.fraction() == Some(0.5))
            {
                if elsewhere {
                    std::thread::spawn(move || work.progress(0.75))
                        .join()
                        .unwrap();
                } else {
                    work.progress(0.75);
                }
            }
        };
        let service = ServiceBuilder::new()
            .layer(LogLayer::to(busy))
            .layer(LogLayer::to(recorder.clone()))
            .layer(by_number().join())
            .service(code(move |job, request| {
                *work.lock().unwrap() = Some(job.clone());
                async move {
                    tokio::time::sleep(secs(1)).await;
                    job.progress(0.5);
                    tokio::time::sleep(secs(2)).await;
                    Ok(request)
                }
            }));
        let mut calls = Vec::new();
        for wait in [0, 2, 0] {
            calls.push(tokio::spawn(service.clone().oneshot(1)));
            tokio::task::yield_now().await;
            tokio::time::sleep(secs(wait)).await;
        }
        for call in calls {
            call.await.unwrap().unwrap();
        }
        let seen: Vec<_> = (recorder.jobs().into_iter())
            .map(|job| fractions(&recorder, job))
            .collect();
        assert_eq!(seen, [vec![0.5, 0.75], vec![0.5, 0.75], vec![0.75]]);
    }
}

/// R63: a caller that leaves while another caller gets a report does not get that report.
#[tokio::test(start_paused = true)]
async fn a_caller_that_left_gets_no_report() {
    type Slot = Arc<Mutex<Option<Work>>>;
    let shared = by_number().join().layer(code(|job, request| async move {
        tokio::time::sleep(secs(1)).await;
        job.progress(0.5);
        tokio::time::sleep(secs(1)).await;
        Ok(request)
    }));
    let leaves = Slot::default();
    let slot = Arc::clone(&leaves);
    let told = move |event: &Event| {
        if matches!(event.kind, EventKind::Progress(_)) {
            drop(slot.lock().unwrap().take());
        }
    };
    let (log, recorder) = recording();
    let leader = tokio::spawn(log.layer(shared.clone()).oneshot(1));
    tokio::task::yield_now().await;
    let first = tokio::spawn(LogLayer::to(told).layer(shared.clone()).oneshot(1));
    tokio::task::yield_now().await;
    // Its job goes on, without the call that joined.
    let (slot, mut joins) = (Arc::clone(&leaves), shared);
    let second = log.layer(service_fn(move |request: u32| {
        *slot.lock().unwrap() = Some(Box::pin(joins.call(request)));
        async {
            tokio::time::sleep(secs(60)).await;
            Ok::<u32, BoxError>(0)
        }
    }));
    second.oneshot(1).await.unwrap();
    for call in [leader, first] {
        call.await.unwrap().unwrap();
    }
    assert!(leaves.lock().unwrap().is_none(), "it left");
    let [leader, second] = recorder.jobs()[..] else {
        panic!("two jobs\n{recorder}")
    };
    assert!(recorder.names_of(leader).contains(&"progress"));
    assert!(!recorder.names_of(second).contains(&"progress"));
}

/// R51: a caller that waits for one execution does not get what the first caller's next execution
/// reports.
#[tokio::test(start_paused = true)]
async fn a_follower_gets_reports_of_its_own_execution_only() {
    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new().max_retries(1).base_delay(secs(1)))
        .layer(one_key().join())
        .service(code(|job, _| async move {
            sleep(secs(1)).await;
            if job.attempt() == 1 {
                return Err("no".into());
            }
            job.progress(0.9);
            Ok(7)
        }));
    let first = tokio::spawn(service.clone().oneshot(1));
    sleep(ms(500)).await;
    // It joins, and is not polled.
    let _second = service.ready().await.unwrap().call(2);
    first.await.unwrap().unwrap();
    assert_eq!(
        recorder.names_of(recorder.jobs()[1]),
        ["dispatched", "duplicate"]
    );
}
