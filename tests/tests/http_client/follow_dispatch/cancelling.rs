//! A cancellation at each point of a dispatched body.

use std::{sync::Arc, task::Poll};

use http::Request;
use hyper::body::Body;
use tokio::time::{Instant, sleep};
use tower::{Layer, Service};
use tower_keep::{
    CancelReason, Dispatcher, EventKind, Job, LogLayer, Rejection, progress::JobState,
};
use tower_keep_test::{Recorder, secs};

use super::{
    super::{
        follow::{
            Step::{Data, Runs},
            Steps, end, get, poll,
        },
        follow_cancel::{Alive, Wakes, cancelled, poll_with},
    },
    ONE, assert_idle, page, state,
};

/// R84 The handle, the cancel handle, and all jobs: the job ends at once and frees its permit, the
/// reader wakes, the body ends with the reason, and the inner body is dropped.
#[tokio::test(start_paused = true)]
async fn at_each_point() {
    for by in 0..3 {
        for polls in 0..=3 {
            let (alive, recorder) = (Alive::default(), Recorder::new());
            let stack = LogLayer::http_to(recorder.clone()).layer(page(alive.body(2)));
            let jobs = Dispatcher::new(stack).limit(ONE).grace(secs(60)).http();
            let mut handle = jobs.dispatch(get());
            let job = handle.id();
            let mut body = (&mut handle).await.unwrap().into_body();
            let wakes = Wakes::new();
            for frame in 0..polls {
                assert_eq!(poll_with(&mut body, &wakes).is_ready(), frame < 2);
            }
            assert_eq!(end(&recorder), None);
            assert!(match by {
                0 => handle.cancel_because("enough"),
                1 => jobs.cancel_handle().cancel_because(job, "enough"),
                _ => jobs.cancel_handle().cancel_all("enough") == 1,
            });
            assert!(!handle.cancel(), "once");
            assert_eq!(wakes.count(), usize::from(polls == 3));
            assert_eq!(end(&recorder).expect("at once").0, "cancelled: enough");
            let kind = recorder.terminal(job).unwrap();
            assert!(matches!(kind, EventKind::Cancelled { dropped: true, .. }));
            let reason = CancelReason::from("enough");
            assert_eq!(state(&jobs, job), JobState::Cancelled(reason));
            assert_idle(&jobs);

            assert_eq!(alive.count(), 1);
            assert_eq!(cancelled(poll_with(&mut body, &wakes)), "enough");
            assert_eq!(alive.count(), 0);
            assert!(matches!(poll_with(&mut body, &wakes), Poll::Ready(None)));
            assert!(body.is_end_stream());
            recorder.assert_one_terminal_each();
            drop(body);
            assert_eq!(Arc::strong_count(&wakes), 1, "no waker is left");
        }
    }
}

/// R84 After the end of its body a job is over, and cannot be cancelled.
#[tokio::test(start_paused = true)]
async fn too_late() {
    let jobs = Dispatcher::new(page(Steps::new([Data("a page")]))).http();
    let mut handle = jobs.dispatch(get());
    let mut body = (&mut handle).await.unwrap().into_body();
    assert!(poll(&mut body).is_ready());
    assert!(poll(&mut body).is_ready());
    assert!(!handle.cancel());
    assert_eq!(jobs.cancel_handle().cancel_all("late"), 0);
    assert_eq!(handle.state(), JobState::Succeeded);
}

/// R84 A job that is cancelled while its response waits in the handle: the handle gives the
/// response, and its body fails.
#[tokio::test(start_paused = true)]
async fn before_the_response_is_taken() {
    let alive = Alive::default();
    let jobs = Dispatcher::new(page(alive.body(2))).limit(ONE).http();
    let handle = jobs.dispatch(get());
    sleep(secs(1)).await;
    assert!(handle.is_finished());
    assert_eq!(jobs.in_flight(), 1, "the response has the permit");
    assert!(handle.cancel());
    assert_idle(&jobs);
    let mut body = handle.await.unwrap().into_body();
    assert_eq!(cancelled(poll(&mut body)), "requested");
    assert_eq!(alive.count(), 0);
}

/// R84 Before the head a cancellation is as without `http()`: the grace period counts, and the
/// handle fails. A response that comes in the grace period is dropped.
#[tokio::test(start_paused = true)]
async fn before_the_head() {
    let alive = Alive::default();
    let inner = page(alive.body(2));
    let stack = tower::service_fn(move |request: Request<String>| {
        let call = inner.clone().call(request);
        async move {
            Job::current().cancelled().await;
            sleep(secs(5)).await;
            call.await
        }
    });
    let jobs = Dispatcher::new(stack).limit(ONE).grace(secs(60)).http();
    let handle = jobs.dispatch(get());
    sleep(secs(1)).await;
    assert!(handle.cancel());
    let start = Instant::now();
    let error = handle.await.err().expect("cancelled");
    assert_eq!(start.elapsed(), secs(5));
    assert_eq!(Rejection::of(&*error), Some(Rejection::Cancelled));
    assert_eq!(alive.count(), 0);
    assert_idle(&jobs);
}

/// R84 The code of the body may cancel its own job.
#[tokio::test(start_paused = true)]
async fn by_the_body_itself() {
    let handle = Arc::new(std::sync::OnceLock::<tower_keep::cancel::CancelHandle>::new());
    let own = Arc::clone(&handle);
    let cancels = Runs(Box::new(move || {
        let job = Job::current().id().unwrap();
        assert!(own.get().unwrap().cancel(job));
        assert!(Job::current().is_cancelled());
    }));
    let body = Steps::new([Data("a "), cancels, Data("page")]);
    let jobs = Dispatcher::new(page(body)).limit(ONE).http();
    handle.set(jobs.cancel_handle()).unwrap();
    let mut body = jobs.dispatch(get()).await.unwrap().into_body();
    assert!(poll(&mut body).is_ready());
    assert_eq!(cancelled(poll(&mut body)), "requested");
    assert_idle(&jobs);
}

/// R84 A cancellation from another thread races with the reader: the job ends once, as one of the
/// two, and everything is released.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_another_thread() {
    for round in 0..300 {
        let body = Steps::new([Data("a "), Data("page")]);
        let jobs = Dispatcher::new(page(body)).limit(ONE).http();
        let mut handle = jobs.dispatch(get());
        let job = handle.id();
        let body = match round % 2 {
            0 => Some((&mut handle).await.unwrap().into_body()),
            _ => None,
        };
        let reader = tokio::spawn(async move {
            match body {
                Some(body) => super::read(body).await,
                None => super::read(handle.await?.into_body()).await,
            }
        });
        let cancelled = jobs.cancel_handle().cancel_all("enough") == 1;
        let read = reader.await.unwrap();
        let ended = match cancelled {
            true => JobState::Cancelled("enough".into()),
            false => JobState::Succeeded,
        };
        assert_eq!(state(&jobs, job), ended, "{round}");
        // The last frame may be read already when the job is cancelled.
        assert!(cancelled || read.is_ok(), "{round}");
        assert_idle(&jobs);
    }
}
