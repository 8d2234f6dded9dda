//! Frame by frame: what saves time in a followed body must not change what it does.

use std::{
    io,
    sync::{Arc, Mutex},
    task::Poll,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use http::Response;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Body, Frame};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, EventKind, FailureCause, JobLayer, LogLayer,
    ProgressLayer, TimeoutLayer, timeout::LimitScope,
};
use tower_keep_test::Recorder;
use tower_keep_tests::*;

use super::{
    follow::{
        Step::{Data, Error, Runs},
        Steps, get, poll, server,
    },
    follow_timeout::elapsed,
};

fn frame() -> io::Result<Frame<Bytes>> {
    Ok(Frame::data(Bytes::from_static(b"0123456789")))
}

/// Frames of 10 bytes that are always there.
fn endless() -> impl Body<Data = Bytes, Error = io::Error> + Unpin + Send + Sync + 'static {
    StreamBody::new(stream::repeat_with(frame))
}

/// A frame, and then nothing.
fn hangs() -> impl Body<Data = Bytes, Error = io::Error> + Unpin + Send + Sync + 'static {
    StreamBody::new(stream::iter([frame()]).chain(stream::pending()))
}

/// How the one job ended.
fn ending(recorder: &Recorder) -> EventKind {
    recorder.terminal(recorder.job()).expect("it has ended")
}

/// Why the one job failed.
fn cause(recorder: &Recorder) -> FailureCause {
    match ending(recorder) {
        EventKind::Failed { cause, .. } => cause,
        other => panic!("{other:?}"),
    }
}

/// A body whose errors say nothing of their cause.
fn hidden<B>(response: Response<B>) -> Response<BoxBody<Bytes, io::Error>>
where
    B: Body<Data = Bytes> + Send + Sync + 'static,
{
    response.map(|body| body.map_err(|_| io::Error::other("hidden")).boxed())
}

/// R84 An inner limit tells the layers around why a body failed, although a layer between them
/// replaces the error. Each guard on the way passes it on.
#[tokio::test(start_paused = true)]
async fn outer_layers_learn_why_a_body_failed() {
    macro_rules! fails {
        ($layer:expr) => {{
            let recorder = Recorder::new();
            let client = ServiceBuilder::new()
                .layer(LogLayer::http_to(recorder.clone()))
                .layer($layer)
                .map_response(hidden)
                .layer(TimeoutLayer::http_attempt(secs(10)))
                .service(server(200, hangs()));
            let body = client.oneshot(get()).await.unwrap().into_body();
            let error = body.collect().await.unwrap_err();
            assert_eq!(error.to_string(), "hidden");
            assert_eq!(cause(&recorder), FailureCause::TimedOut);
        }};
    }
    fails!(tower::layer::util::Identity::new());
    fails!(JobLayer::new("fetch").http());
    fails!(LogLayer::http());
    fails!(ProgressLayer::http());
    fails!(CancelLayer::http());
    fails!(CircuitBreakerLayer::http());
    fails!(TimeoutLayer::http(minute()));
    fails!(TimeoutLayer::http_attempt(minute()));
}

fn minute() -> std::time::Duration {
    secs(60)
}

/// R84 What the code of a body does with another body is not this body's failure: another body may
/// stall, and this one is then cut.
#[tokio::test(start_paused = true)]
async fn another_body_is_another_matter() {
    for in_job in [false, true] {
        let recorder = Recorder::new();
        let limit = TimeoutLayer::http_attempt(secs(10));
        let other = match in_job {
            false => hidden(
                limit
                    .layer(server(200, hangs()))
                    .oneshot(get())
                    .await
                    .unwrap(),
            ),
            true => {
                let stack = ServiceBuilder::new().layer(LogLayer::http()).layer(limit);
                let service = stack.service(server(200, hangs()));
                hidden(service.oneshot(get()).await.unwrap())
            }
        };
        let mut other = other.into_body();
        assert!(poll(&mut other).is_ready());
        assert!(poll(&mut other).is_pending());
        let stalls = Runs(Box::new(move || {
            assert!(matches!(poll(&mut other), Poll::Ready(Some(Err(_)))));
        }));
        let steps = [Data("a "), stalls, Error(io::ErrorKind::UnexpectedEof)];
        let client = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(ProgressLayer::http())
            .service(server(200, Steps::new(steps)));
        let mut body = client.oneshot(get()).await.unwrap().into_body();
        assert!(poll(&mut body).is_ready());
        sleep(secs(10)).await;
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Err(_)))));
        assert_eq!(cause(&recorder), FailureCause::Error, "{in_job}");
    }
}

/// Reads the whole body before it returns the response.
async fn buffered<B>(response: Response<B>) -> Result<Response<Full<Bytes>>, BoxError>
where
    B: Body<Data = Bytes, Error = BoxError>,
{
    let (head, body) = response.into_parts();
    let read = body.collect().await?.to_bytes();
    Ok(Response::from_parts(head, Full::new(read)))
}

/// R84 An inner layer calls the head a failure. The job fails as such, although a layer between
/// reads the body, or another one, before the job's owner sees the head.
#[tokio::test(start_paused = true)]
async fn a_head_stays_a_failure_while_bodies_are_read() {
    let page = || Steps::new([Data("a "), Data("page")]);
    let mut endings = Vec::new();
    for (reads_it, reads_other) in [(false, false), (true, false), (false, true), (true, true)] {
        let other = LogLayer::http().layer(server(200, page()));
        let other = other.oneshot(get()).await.unwrap().into_body();
        let other = Arc::new(Mutex::new(reads_other.then_some(other)));
        let recorder = Recorder::new();
        let client = ServiceBuilder::new()
            .layer(JobLayer::new("fetch").http())
            .and_then(move |response: Response<_>| {
                let other = other.lock().unwrap().take();
                async move {
                    if let Some(other) = other {
                        assert_eq!(other.collect().await?.to_bytes(), "a page");
                    }
                    match reads_it {
                        true => buffered(response).await,
                        false => Ok(response.map(|_| Full::from("a page"))),
                    }
                }
            })
            .layer(LogLayer::http_to(recorder.clone()))
            .service(server(503, page()));
        let response = client.oneshot(get()).await.unwrap();
        let read = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(read, "a page");
        endings.push(format!("{:?}", ending(&recorder)));
    }
    assert!(endings[0].contains("503"), "{}", endings[0]);
    assert!(
        endings.iter().all(|ending| *ending == endings[0]),
        "{endings:?}"
    );
}

/// R84 An overall limit ends a body whose reader never yields to the runtime, so that no timer
/// fires: with the timer of an earlier wait, and without one.
#[tokio::test(start_paused = true)]
async fn a_reader_that_never_yields_has_a_limit() {
    for waits in [false, true] {
        let mut waits = waits;
        let frames = stream::poll_fn(move |_| match std::mem::take(&mut waits) {
            true => Poll::Pending,
            false => Poll::Ready(Some(frame())),
        });
        let service = TimeoutLayer::http(secs(60)).layer(server(200, StreamBody::new(frames)));
        let mut body = service.oneshot(get()).await.unwrap().into_body();
        while poll(&mut body).is_pending() {}
        // The clock goes on, and the runtime does nothing.
        assert!(advance(secs(61)).now_or_never().is_none());
        let mut polls = (0..100).map(|_| poll(&mut body));
        let error = polls.find_map(|polled| match polled {
            Poll::Ready(Some(Err(error))) => Some(error),
            _ => None,
        });
        assert_eq!(elapsed(&error.unwrap()).scope(), &LimitScope::Overall);
    }
}

/// The times of the reports, in milliseconds, of a reader that takes these times between frames that
/// are always there.
async fn reports(gaps: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    let recorder = Recorder::new();
    let client = ServiceBuilder::new()
        .layer(ProgressLayer::http())
        .layer(LogLayer::http_to(recorder.clone()))
        .service(server(200, endless()));
    let start = Instant::now();
    let mut body = client.oneshot(get()).await.unwrap().into_body();
    for gap in gaps {
        sleep(ms(gap)).await;
        body.frame().await.unwrap().unwrap();
    }
    let events = recorder.events().into_iter();
    let reports = events.filter_map(|event| match event.kind {
        EventKind::Progress(report) => {
            let at = event.at.duration_since(start).as_millis() as u64;
            Some((at, report.done().unwrap() / 10))
        }
        _ => None,
    });
    reports.collect()
}

/// R29b R78 A reader with a steady pace gets a report at its first frame after 100 ms, however many frames
/// come in between.
#[tokio::test(start_paused = true)]
async fn a_steady_reader_gets_its_reports_on_time() {
    for gap in [1, 3, 7, 30, 99, 100, 1_000] {
        let each = 100_u64.div_ceil(gap);
        let reports = reports((0..10 * each).map(|_| gap)).await;
        let expected: Vec<_> = (0..=10).map(|n| (n * each * gap, n * each)).collect();
        assert_eq!(reports, expected, "{gap} ms");
    }
}

/// R29b R78 A reader that becomes slow all at once gets one late report, then one for each frame.
#[tokio::test(start_paused = true)]
async fn a_reader_that_becomes_slow_gets_reports() {
    let reports = reports((0..1_000).map(|_| 0).chain((0..50).map(|_| 1_000))).await;
    let frames: Vec<_> = reports.iter().map(|(_, frame)| *frame).collect();
    assert_eq!(frames[0], 0);
    assert!(frames[1] <= 1_016, "{frames:?}");
    assert!(
        frames[1..].windows(2).all(|two| two[1] == two[0] + 1),
        "{frames:?}"
    );
    assert_eq!(frames.last(), Some(&1_050));
}

/// R29b R78 After a wait, the next frame is reported if it is due: what came before says nothing of
/// its time.
#[tokio::test(start_paused = true)]
async fn a_frame_after_a_wait_is_reported() {
    let (frames, mut sent) = tokio::sync::mpsc::unbounded_channel();
    let body = StreamBody::new(stream::poll_fn(move |cx| sent.poll_recv(cx)));
    let recorder = Recorder::new();
    let client = ServiceBuilder::new()
        .layer(ProgressLayer::http())
        .layer(LogLayer::http_to(recorder.clone()))
        .service(server(200, body));
    let mut body = client.oneshot(get()).await.unwrap().into_body();
    let last = || match recorder.kinds().pop() {
        Some(EventKind::Progress(report)) => report.done().unwrap() / 10,
        other => panic!("{other:?}"),
    };
    for _ in 0..100 {
        frames.send(frame()).unwrap();
        assert!(poll(&mut body).is_ready());
    }
    assert_eq!(last(), 0);
    for read in 101..110 {
        assert!(poll(&mut body).is_pending());
        advance(ms(100)).await;
        frames.send(frame()).unwrap();
        assert!(poll(&mut body).is_ready());
        assert_eq!(last(), read);
    }
}
