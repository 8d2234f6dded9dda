//! `TimeoutLayer::http`: one limit from the call to the end of the body.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Empty;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, EventKind, FailureCause, Job, LogLayer, Rejection, TimeoutLayer, timeout::LimitScope,
};
use tower_keep_test::{Recorder, secs};

use super::{
    super::follow::{end, ended},
    TRAILERS, Timed, body_of, elapsed, get, next, read, server,
};

/// A log around a limit of one minute.
macro_rules! minute {
    ($recorder:expr) => {
        ServiceBuilder::new()
            .layer(LogLayer::http_to($recorder.clone()))
            .layer(TimeoutLayer::http(secs(60)))
    };
}

/// R84 A body that stalls ends at the limit, counted from the call. Its reader gets the typed error,
/// the transfer is dropped at once, and the job has timed out.
#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_ends_at_the_limit() {
    let recorder = Recorder::new();
    let start = Instant::now();
    let timed = Timed::new([(45, "a "), (55, "page")]).hangs();
    let alive = timed.alive();
    let timed = std::sync::Mutex::new(Some(timed));
    let service = minute!(recorder).service(service_fn(move |_: Request<String>| {
        let body = timed.lock().unwrap().take().unwrap();
        async move {
            sleep(secs(40)).await;
            Ok::<_, BoxError>(Response::new(body))
        }
    }));
    let mut body = service.oneshot(get()).await.unwrap().into_body();
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "a ");
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "page");
    assert_eq!(end(&recorder), None);
    let error = next(&mut body).await.unwrap().unwrap_err();
    assert_eq!(start.elapsed(), secs(60));
    assert_eq!(Rejection::of(&*error), Some(Rejection::TimedOut));
    let why = elapsed(&error);
    assert_eq!((why.scope(), why.limit()), (&LimitScope::Overall, secs(60)));
    assert_eq!(alive.strong_count(), 0, "the transfer is dropped");

    let times = [
        ("dispatched", secs(0)),
        ("started", secs(0)),
        ("timed_out", secs(60)),
        ("failed", secs(60)),
    ];
    assert_eq!(recorder.times(), times);
    let Some((EventKind::Failed { cause, error: text }, body_end)) = ended(&recorder) else {
        panic!("{recorder}")
    };
    assert_eq!(cause, FailureCause::TimedOut);
    assert_eq!(*text, *error.to_string());
    assert_eq!(body_end.unwrap().to_string(), "stalled");

    // Read on: nothing follows.
    assert!(next(&mut body).await.is_none());
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(body.get_ref().unwrap().get_ref().is_none());
    drop(body);
    recorder.assert_one_terminal_each();
}

/// R84 A body that is complete in time is untouched, with its trailers.
#[tokio::test(start_paused = true)]
async fn a_body_in_time_is_complete() {
    let recorder = Recorder::new();
    let parts = || Timed::new([(0, "a "), (59, "page"), (59, TRAILERS)]);
    let mut body = body_of(minute!(recorder).into_inner(), server(secs(0), parts)).await;
    for expected in ["a ", "page", TRAILERS] {
        assert_eq!(next(&mut body).await.unwrap().unwrap(), expected);
    }
    assert_eq!(end(&recorder), Some(("succeeded".to_owned(), "complete")));
    sleep(secs(600)).await;
    assert!(next(&mut body).await.is_none());
    assert_eq!(recorder.names(), ["dispatched", "started", "succeeded"]);
}

/// R84 Before the head, the limit is that of `TimeoutLayer::new`: the same error, events and time.
#[tokio::test(start_paused = true)]
async fn before_the_head_it_is_the_plain_limit() {
    macro_rules! late {
        ($limit:expr) => {{
            let recorder = Recorder::new();
            let start = Instant::now();
            let service = ServiceBuilder::new()
                .layer(LogLayer::http_to(recorder.clone()))
                .layer($limit)
                .service(server(secs(61), || Timed::new([])));
            let error = service.oneshot(get()).await.map(drop).unwrap_err();
            assert_eq!(start.elapsed(), secs(60));
            (error.to_string(), recorder.times(), end(&recorder))
        }};
    }
    let plain = late!(TimeoutLayer::new(secs(60)));
    let http = late!(TimeoutLayer::http(secs(60)));
    assert_eq!(http, plain);
    assert_eq!(http.0, "overall time limit of 60s expired");
}

/// R29 R84 A reader that is slower than the server has no more time: a body that is always ready ends
/// at the limit, too.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_always_ready_ends_at_the_limit() {
    let recorder = Recorder::new();
    let endless = || {
        let frame = || Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"more")));
        http_body_util::StreamBody::new(futures::stream::repeat_with(frame))
    };
    let mut body = body_of(minute!(recorder).into_inner(), server(secs(0), endless)).await;
    let start = Instant::now();
    let mut frames = 0;
    let error = loop {
        match next(&mut body).await.unwrap() {
            Ok(_) => frames += 1,
            Err(error) => break error,
        }
        sleep(secs(1)).await;
    };
    assert_eq!((frames, start.elapsed()), (61, secs(61)));
    assert_eq!(elapsed(&error).scope(), &LimitScope::Overall);
    assert_eq!(end(&recorder).unwrap().1, "stalled");
}

/// R84 What arrives at the moment of the limit wins. After it, only the last frame does: the body is
/// then complete.
#[tokio::test(start_paused = true)]
async fn the_last_frame_wins() {
    let minute = || TimeoutLayer::http(secs(60));
    let at_limit = || Timed::new([(60, "page")]);
    let body = body_of(minute(), server(secs(0), at_limit)).await;
    assert_eq!(read(body).await.unwrap(), "page");

    for parts in [&[(0, "page")][..], &[(0, TRAILERS)]] {
        let late = move || Timed::new(parts.iter().copied()).exact();
        let mut body = body_of(minute(), server(secs(0), late)).await;
        sleep(secs(100)).await;
        assert_eq!(next(&mut body).await.unwrap().unwrap(), parts[0].1);
        assert!(next(&mut body).await.is_none());
    }
    let not_last = || Timed::new([(0, "a "), (0, "page")]).exact();
    let mut body = body_of(minute(), server(secs(0), not_last)).await;
    sleep(secs(100)).await;
    elapsed(&next(&mut body).await.unwrap().unwrap_err());
}

/// R84 Where nothing is left to read, the limit ends with the head.
#[tokio::test(start_paused = true)]
async fn a_response_without_a_body_has_no_limit() {
    for (method, status) in [
        (Method::HEAD, 200),
        (Method::GET, 204),
        (Method::GET, 304),
        (Method::GET, 101),
    ] {
        let recorder = Recorder::new();
        let service = minute!(recorder).service(service_fn(move |_: Request<String>| async move {
            let response = Response::builder().status(status);
            Ok::<_, BoxError>(response.body(Timed::new([]).hangs()).unwrap())
        }));
        let mut request = get();
        *request.method_mut() = method;
        let _kept = service.oneshot(request).await.unwrap();
        assert_eq!(end(&recorder), Some(("succeeded".to_owned(), "complete")));
        sleep(secs(600)).await;
        assert_eq!(recorder.names(), ["dispatched", "started", "succeeded"]);
    }
    let recorder = Recorder::new();
    let empty = Empty::<Bytes>::new;
    let _kept = body_of(minute!(recorder).into_inner(), server(secs(0), empty)).await;
    assert_eq!(end(&recorder), Some(("succeeded".to_owned(), "complete")));
}

/// R84 An error of the body is passed on, and is no timeout.
#[tokio::test(start_paused = true)]
async fn an_error_of_the_body_is_passed_on() {
    let recorder = Recorder::new();
    let fails = || Timed::new([(30, super::FAILS)]);
    let body = body_of(minute!(recorder).into_inner(), server(secs(0), fails)).await;
    let error = read(body).await.unwrap_err();
    assert_eq!(Rejection::of(&*error), None);
    let kind = tower_keep::find::<std::io::Error>(&*error).unwrap().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
    assert_eq!(end(&recorder).unwrap().1, "truncated");
    assert_eq!(recorder.count("timed_out"), 0);
}

/// R84 The expiry fires the job's token, as before the head: work in other tasks stops.
#[tokio::test(start_paused = true)]
async fn the_expiry_stops_the_jobs_work() {
    let recorder = Recorder::new();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    let service = minute!(recorder).service(service_fn(move |_: Request<String>| {
        let sender = sender.lock().unwrap().take().unwrap();
        async move {
            sender.send(Job::current()).map_err(drop).unwrap();
            Ok::<_, BoxError>(Response::new(Timed::new([]).hangs()))
        }
    }));
    let body = service.oneshot(get()).await.unwrap().into_body();
    let job = receiver.await.unwrap();
    assert!(!job.is_cancelled());
    let (read, ()) = tokio::join!(read(body), job.cancelled());
    assert!(read.is_err());
    assert!(job.is_cancelled());
    assert_eq!(recorder.times().last().unwrap(), &("failed", secs(60)));
}

/// R84 The code of the body sees the time that is left.
#[tokio::test(start_paused = true)]
async fn the_body_sees_the_time_left() {
    let asks = || {
        let frames = futures::stream::once(async {
            sleep(secs(20)).await;
            let left = Job::current().remaining().unwrap().as_secs();
            Ok::<_, Infallible>(Frame::data(Bytes::from(left.to_string())))
        });
        http_body_util::StreamBody::new(Box::pin(frames))
    };
    let limit = TimeoutLayer::http(secs(60));
    let body = body_of(limit.clone(), server(secs(10), asks)).await;
    assert_eq!(read(body).await.unwrap(), "30");
    let recorder = Recorder::new();
    let body = body_of(minute!(recorder).into_inner(), server(secs(10), asks)).await;
    assert_eq!(read(body).await.unwrap(), "30");
    // The reader does not.
    assert_eq!(Job::current().remaining(), None);
    let _ = limit.layer(());
}
