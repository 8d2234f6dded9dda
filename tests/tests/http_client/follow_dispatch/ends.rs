//! How a body ends, and the job with it.

use std::{
    io::ErrorKind::ConnectionReset,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
};

use http::{Method, Response};
use tower::{Layer, ServiceExt};
use tower_keep::{BoxError, Dispatcher, FailureCause, LogLayer, progress::JobState};
use tower_keep_test::Recorder;

use super::{
    super::follow::{
        Step::{self, Data, Error, Panics, Pends, Trailers},
        Steps, end, get, poll,
    },
    ONE, assert_idle, client, page, read, state,
};

/// R84 The job goes on after the head: it is on the board, in flight, and has its permit.
#[tokio::test(start_paused = true)]
async fn the_job_goes_on_after_the_head() -> Result<(), BoxError> {
    let body = Steps::new([Data("a "), Pends, Data("page")]);
    let jobs = Dispatcher::new(page(body)).limit(ONE).http();
    let mut handle = jobs.dispatch(get());
    let job = handle.id();
    let mut body = (&mut handle).await?.into_body();
    tokio::time::sleep(super::super::follow::minute()).await;
    for is_ready in [true, false, true] {
        assert_eq!((jobs.in_flight(), jobs.available()), (1, Some(0)));
        assert_eq!(jobs.jobs()[0].job, job);
        assert_eq!(state(&jobs, job), JobState::Running);
        assert_eq!(handle.state(), JobState::Running);
        assert!(handle.is_finished(), "it gave the response");
        assert_eq!(poll(&mut body).is_ready(), is_ready);
    }
    assert_eq!(read(body).await?, "");
    assert_eq!(handle.state(), JobState::Succeeded);
    assert_idle(&jobs);
    Ok(())
}

/// R84 The table of ends: how the body ended, and how the job did.
#[tokio::test(start_paused = true)]
async fn the_table_of_ends() {
    type Case = (
        &'static str,
        fn() -> Vec<Step>,
        usize,
        &'static str,
        &'static str,
    );
    let cases: [Case; 6] = [
        (
            "read",
            || vec![Data("a "), Data("page")],
            3,
            "succeeded",
            "complete",
        ),
        (
            "trailers",
            || vec![Data("page"), Trailers],
            2,
            "succeeded",
            "complete",
        ),
        ("unread", || vec![Data("page")], 0, "succeeded", "dropped"),
        (
            "dropped",
            || vec![Data("a "), Data("page")],
            1,
            "succeeded",
            "dropped",
        ),
        (
            "dropped in a wait",
            || vec![Data("a "), Pends],
            2,
            "succeeded",
            "dropped",
        ),
        (
            "cut",
            || vec![Data("a "), Error(ConnectionReset)],
            2,
            "connection reset",
            "truncated",
        ),
    ];
    for (case, steps, polls, how, body_end) in cases {
        let recorder = Recorder::new();
        let stack = LogLayer::http_to(recorder.clone()).layer(page(Steps::new(steps())));
        let jobs = Dispatcher::new(stack).limit(ONE).http();
        let handle = jobs.dispatch(get());
        let job = handle.id();
        let mut body = handle.await.unwrap().into_body();
        for _ in 0..polls {
            assert_eq!(end(&recorder), None, "{case}");
            assert_eq!(jobs.in_flight(), 1, "{case}");
            let _ = poll(&mut body);
        }
        if body_end == "dropped" {
            assert_eq!((end(&recorder), jobs.in_flight()), (None, 1), "{case}");
            drop(body);
        }
        let (ended, seen) = end(&recorder).expect(case);
        assert!(ended.contains(how), "{case}: {ended}");
        assert_eq!(seen, body_end, "{case}");
        let expected = match how {
            "succeeded" => JobState::Succeeded,
            _ => JobState::Failed(FailureCause::Error),
        };
        assert_eq!(state(&jobs, job), expected, "{case}");
        recorder.assert_one_terminal_each();
        assert_idle(&jobs);
    }
}

/// R84 A response without a body ends its job at the head, and so does an empty body.
#[tokio::test(start_paused = true)]
async fn without_a_body() {
    let body = || Steps::new([Data("not read")]);
    let of_status = |status| Response::builder().status(status).body(body()).unwrap();
    let empty = || Response::new(Steps::new([]).exact());
    for (case, response) in [
        ("204", of_status(204)),
        ("304", of_status(304)),
        ("HEAD", of_status(200)),
        ("empty", empty()),
    ] {
        let recorder = Recorder::new();
        let stack = LogLayer::http_to(recorder.clone()).layer(client([response]));
        let jobs = Dispatcher::new(stack).limit(ONE).http();
        let mut request = get();
        if case == "HEAD" {
            *request.method_mut() = Method::HEAD;
        }
        let handle = jobs.dispatch(request);
        let job = handle.id();
        let response = handle.await.unwrap();
        assert_eq!(state(&jobs, job), JobState::Succeeded, "{case}");
        assert_eq!(end(&recorder), Some(("succeeded".into(), "complete")));
        assert_idle(&jobs);
        drop(response);
        recorder.assert_one_terminal_each();
    }
}

/// R84 Without a log in the stack, the last frame ends the job, if the body says that it is the last.
/// A body whose whole length was read ends with the drop, and is complete.
#[tokio::test(start_paused = true)]
async fn the_whole_length_was_read() {
    let declared = Response::builder().header("content-length", "6");
    let bodies = [
        (
            Response::new(Steps::new([Data("a page")]).says_when_it_ends()),
            true,
        ),
        (Response::new(Steps::new([Data("a page")]).exact()), false),
        (
            declared.body(Steps::new([Data("a page"), Pends])).unwrap(),
            false,
        ),
    ];
    for (response, ends_at_once) in bodies {
        let jobs = Dispatcher::new(client([response])).limit(ONE).http();
        let handle = jobs.dispatch(get());
        let job = handle.id();
        let mut body = handle.await.unwrap().into_body();
        assert_eq!(jobs.in_flight(), 1);
        assert!(poll(&mut body).is_ready());
        assert_eq!(jobs.in_flight(), usize::from(!ends_at_once));
        drop(body);
        assert_idle(&jobs);
        assert_eq!(state(&jobs, job), JobState::Succeeded);
    }
}

/// R84 A body that panics fails its job and frees its permit. The panic reaches the reader.
#[tokio::test(start_paused = true)]
async fn a_body_that_panics() {
    let recorder = Recorder::new();
    let body = Steps::new([Data("a "), Panics]);
    let stack = LogLayer::http_to(recorder.clone()).layer(page(body));
    let jobs = Dispatcher::new(stack).limit(ONE).http();
    let handle = jobs.dispatch(get());
    let job = handle.id();
    let response = handle.await.unwrap();
    let reader = tokio::spawn(read(response.into_body()));
    assert!(reader.await.unwrap_err().is_panic());
    assert_eq!(state(&jobs, job), JobState::Failed(FailureCause::Panicked));
    assert!(end(&recorder).unwrap().0.contains("panicked"));
    assert_idle(&jobs);
}

/// A body that panics when it is asked for its end, this many calls from now.
#[derive(Debug)]
struct Odd(AtomicUsize);

impl hyper::body::Body for Odd {
    type Data = bytes::Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, BoxError>>> {
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let left = self.0.fetch_sub(1, Ordering::SeqCst);
        assert_ne!(left, 0, "the body broke");
        false
    }
}

/// R84 A body that panics at the head fails its job, whichever layer asks it: the innermost or the
/// outermost one.
#[tokio::test(start_paused = true)]
async fn a_body_that_panics_at_the_head() {
    for calls in 0..2 {
        let body = Odd(AtomicUsize::new(calls));
        let jobs = Dispatcher::new(page(body)).limit(ONE).http();
        let handle = jobs.dispatch(get());
        let job = handle.id();
        let error = handle.await.expect_err("it panicked");
        assert!(error.to_string().contains("panicked: "), "{error}");
        assert_eq!(state(&jobs, job), JobState::Failed(FailureCause::Panicked));
        assert_idle(&jobs);
    }
    let recorder = Recorder::new();
    let stack = LogLayer::http_to(recorder.clone()).layer(page(Odd(AtomicUsize::new(0))));
    let call = tokio::spawn(stack.oneshot(get()));
    assert!(call.await.unwrap_err().is_panic());
    assert!(end(&recorder).unwrap().0.contains("panicked"));
}

/// R84 A failure that the head shows is the job's failure, at the end of its body.
#[tokio::test(start_paused = true)]
async fn a_head_that_fails() {
    for cut in [false, true] {
        let recorder = Recorder::new();
        let steps = match cut {
            false => vec![Data("busy")],
            true => vec![Error(ConnectionReset)],
        };
        let response = Response::builder().status(503).body(Steps::new(steps));
        let stack = LogLayer::http_to(recorder.clone()).layer(client([response.unwrap()]));
        let jobs = Dispatcher::new(stack).http();
        let mut dispatcher = jobs.clone();
        let call = dispatcher.ready().await.unwrap();
        let handle = tower::Service::call(call, get()).await.unwrap();
        let job = handle.id();
        let response = handle.await.unwrap();
        assert_eq!((response.status().as_u16(), end(&recorder)), (503, None));
        assert_eq!(read(response.into_body()).await.is_err(), cut);
        assert!(end(&recorder).unwrap().0.contains("503"));
        assert!(matches!(state(&jobs, job), JobState::Failed(_)));
        assert_idle(&jobs);
    }
}

/// R84 A call that fails before its head ends its job as without `http()`.
#[tokio::test(start_paused = true)]
async fn a_call_without_a_head() {
    for panics in [false, true] {
        let stack = tower::service_fn(move |_: http::Request<String>| async move {
            assert!(!panics, "the client broke");
            Err::<Response<Steps>, BoxError>("refused".into())
        });
        let jobs = Dispatcher::new(stack).limit(ONE).http();
        let handle = jobs.dispatch(get());
        let job = handle.id();
        let error = handle.await.err().expect("no head").to_string();
        let cause = match panics {
            true => FailureCause::Panicked,
            false => FailureCause::Error,
        };
        assert!(error.contains(if panics { "panicked" } else { "refused" }));
        assert_eq!(state(&jobs, job), JobState::Failed(cause));
        assert_idle(&jobs);
    }
}

/// R84 Without `http()`, the job ends at the head.
#[tokio::test(start_paused = true)]
async fn without_the_setter() {
    let jobs = Dispatcher::new(page(Steps::new([Data("a page")]))).limit(ONE);
    let handle = jobs.dispatch(get());
    let job = handle.id();
    let response = handle.await.unwrap();
    assert_eq!(state(&jobs, job), JobState::Succeeded);
    assert_idle(&jobs);
    assert_eq!(read(response.into_body()).await.unwrap(), "a page");
}
