//! The watch of one job.

use std::pin::Pin;

use futures::{FutureExt, Stream, StreamExt};
use tokio::time::timeout;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    Dispatcher, ProgressLayer,
    progress::{JobState, JobView},
};
use tower_keep_tests::*;

use super::{board::reporting, readers::a_chain_that_fails};

/// R29: a watch of one job is a stream of its latest states that ends after the ending, whichever
/// way it is read.
#[tokio::test(start_paused = true)]
async fn a_watch_is_a_stream() {
    let progress = ProgressLayer::new();
    let handle = progress.handle();
    let service = ServiceBuilder::new()
        .layer(progress)
        .service(code(|job, n| async move {
            for i in 1..=4 {
                tokio::time::sleep(secs(1)).await;
                job.progress(0.01);
                job.progress(f64::from(i) / 5.0);
            }
            Ok(n)
        }));
    let call = tokio::spawn(service.oneshot(7));
    tokio::task::yield_now().await;
    let mut watch = handle.watch(handle.jobs()[0].job).unwrap();
    let copy = watch.clone();
    fn is_stream(_: &(impl Stream<Item = JobView> + Unpin + Send + Sync)) {}
    is_stream(&watch);

    assert_eq!(watch.next().now_or_never(), None);
    assert_eq!(watch.latest().report.fraction(), Some(0.0));
    assert_eq!(watch.next().await.unwrap().report.fraction(), Some(0.2));
    // A stream's wait that was given up does not return again what was returned in another way.
    assert_eq!(watch.next().now_or_never(), None);
    assert_eq!(watch.changed().await.unwrap().report.fraction(), Some(0.4));
    assert_eq!(watch.next().now_or_never(), None);
    assert_eq!(watch.next().await.unwrap().report.fraction(), Some(0.6));
    let states: Vec<_> = Pin::new(&mut watch).map(|view| view.state).collect().await;
    assert_eq!(states, [JobState::Succeeded]);
    assert_eq!(watch.next().await, None);
    assert_eq!(watch.latest().report.fraction(), Some(1.0));
    call.await.unwrap().unwrap();
    let late: Vec<_> = copy.map(|view| view.state).collect().await;
    assert_eq!(late, [JobState::Succeeded]);
}

/// R29: a watcher that begins as a job ends sees its end, or comes too late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_begins_at_the_end_sees_it() {
    let progress = ProgressLayer::new();
    let handle = progress.handle();
    let service = reporting(progress);
    for _ in 0..500 {
        let call = tokio::spawn(service.clone().oneshot(2));
        for view in handle.jobs() {
            if let Some(mut watch) = handle.watch(view.job) {
                assert_eq!(watch.ended().await.state, JobState::Succeeded);
                assert_eq!(watch.latest().state, JobState::Succeeded);
            }
        }
        call.await.unwrap().unwrap();
    }
}

/// R29, R51: a watch sees each report also where the job joined a job that joined another.
#[tokio::test(start_paused = true)]
async fn a_watch_at_the_end_of_a_chain() {
    let progress = ProgressLayer::new();
    let handle = progress.handle();
    a_chain_that_fails(progress, async {
        let last = handle.jobs().pop().unwrap();
        let mut watch = handle.watch(last.job).unwrap();
        for fraction in [0.25, 0.5] {
            assert_eq!(
                watch.changed().await.unwrap().report.fraction(),
                Some(fraction)
            );
        }
        assert!(watch.ended().await.state.is_terminal());
    })
    .await;
}

/// R29: a wait for the ending that is dropped has returned nothing: the states before it are there
/// for who asks.
#[tokio::test(start_paused = true)]
async fn a_dropped_wait_for_the_ending_loses_no_state() {
    let jobs = Dispatcher::new(code(|job, request| async move {
        job.progress(0.25);
        tokio::time::sleep(secs(60)).await;
        Ok(request)
    }));
    let mut watch = jobs.dispatch(1).progress();
    tokio::time::sleep(secs(1)).await;
    timeout(secs(1), watch.ended()).await.unwrap_err();
    let changed = timeout(secs(1), watch.changed()).await;
    let view = changed.expect("it has changed").unwrap();
    assert_eq!(view.report.fraction(), Some(0.25));
    assert_eq!(watch.ended().await.state, JobState::Succeeded);
}
