//! When an upload is reported, and with which total.

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Body;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, ProgressLayer, Report, TimeoutLayer,
    http::upload::UploadBody,
    progress::{JobState, JobView},
};
use tower_keep_test::{Recorder, secs};
use tower_keep_tests::recording;

use super::{FRAME, amounts, frames, no_content, put, read, reports, whole};

/// A server that reads the body, with a wait in milliseconds before each frame.
fn server<B>(
    each: u64,
) -> impl Service<
    Request<UploadBody<B>>,
    Response = http::Response<http_body_util::Full<Bytes>>,
    Error = BoxError,
    Future: Send,
> + Clone
+ Send
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    service_fn(move |request: Request<UploadBody<B>>| async move {
        read(request.into_body(), each).await?;
        Ok::<_, BoxError>(no_content())
    })
}

/// Sends the request to such a server. Returns the record of its job.
async fn send<B>(request: Request<B>, each: u64) -> Recorder
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let (outer, recorder) = recording();
    let client = ServiceBuilder::new()
        .layer(ProgressLayer::http().uploads())
        .layer(outer)
        .service(server(each));
    client.oneshot(request).await.unwrap();
    recorder.assert_one_terminal_each();
    recorder
}

/// R29b R87 A board shows the bytes of an upload, their rate and the time left.
#[tokio::test(start_paused = true)]
async fn a_board_shows_the_bytes() {
    let progress = ProgressLayer::http().uploads().history(1);
    let board = progress.handle();
    let client = progress.layer(server(1000));
    let mut request = put(frames(100, 0));
    request.headers_mut().insert("content-length", 1000.into());
    let call = tokio::spawn(client.oneshot(request));
    tokio::time::sleep(secs(50) + std::time::Duration::from_millis(1)).await;
    let view: &JobView = &board.jobs()[0];
    assert_eq!(view.state, JobState::Running);
    assert_eq!(view.report, Report::bytes(500, Some(1000)));
    assert_eq!(view.rate.map(f64::round), Some(10.0));
    let left = view.time_left.map(|left| left.as_secs_f64().round());
    assert_eq!(left, Some(50.0));
    call.await.unwrap().unwrap();
    let last = &board.history()[0];
    assert_eq!(last.state, JobState::Succeeded);
    assert_eq!(last.report, Report::bytes(1000, Some(1000)));
}

/// R87 Reports are throttled at their source: at first 0, then at most one each 100 ms, and one at
/// the end.
#[tokio::test(start_paused = true)]
async fn reports_are_throttled() {
    // The last report says the total, which is known then.
    for (each, expected) in [
        (0, vec![0, 100]),
        // The first frame comes at once, 99 ms are too early.
        (
            99,
            [0].into_iter()
                .chain((3..=100).step_by(2))
                .chain([100])
                .collect::<Vec<_>>(),
        ),
        (100, [0].into_iter().chain(2..=100).chain([100]).collect()),
    ] {
        let recorder = send(put(frames(100, 0)), each).await;
        let seen: Vec<_> = amounts(&recorder).iter().map(|done| done / 10).collect();
        assert_eq!(seen, expected, "{each} ms");
    }
}

/// R87 A body in memory shows progress while it is sent, not 0 and then everything.
#[tokio::test(start_paused = true)]
async fn a_body_in_memory_shows_progress() {
    let length = 10 * FRAME;
    let recorder = send(put(whole(length)), 100).await;
    let total = Some(length as u64);
    let expected = [0].into_iter().chain(2..=10).map(|n| n * FRAME as u64);
    let expected: Vec<_> = expected.map(|done| Report::bytes(done, total)).collect();
    assert_eq!(reports(&recorder), expected);
}

/// R87 There is a total only where it is true: the size hint, or a valid `Content-Length` that
/// nothing overrides. A body that is sent whole has one.
#[tokio::test(start_paused = true)]
async fn a_total_is_true() {
    for (headers, total) in [
        (&[][..], None),
        (&[("content-length", "30")], Some(30)),
        (
            &[("content-length", "30"), ("content-length", "30")],
            Some(30),
        ),
        // An encoded body is counted as it is sent.
        (
            &[("content-length", "30"), ("content-encoding", "gzip")],
            Some(30),
        ),
        (&[("content-length", "30"), ("content-length", "40")], None),
        (
            &[("content-length", "30"), ("transfer-encoding", "chunked")],
            None,
        ),
        (&[("content-length", "+30")], None),
        (&[("content-length", "")], None),
        (&[("content-length", "99999999999999999999")], None),
    ] {
        let mut request = put(frames(3, 0));
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let recorder = send(request, 0).await;
        let expected = [Report::bytes(0, total), Report::bytes(30, Some(30))];
        assert_eq!(reports(&recorder), expected, "{headers:?}");
    }
    // The size hint is what is sent.
    let mut request = put(whole(30));
    request.headers_mut().insert("content-length", 40.into());
    let recorder = send(request, 0).await;
    let expected = [Report::bytes(0, Some(30)), Report::bytes(30, Some(30))];
    assert_eq!(reports(&recorder), expected);
}

/// R87 A body that is longer than its declared length has no total.
#[tokio::test(start_paused = true)]
async fn a_total_that_was_wrong_is_dropped() {
    let mut request = put(frames(3, 0));
    request.headers_mut().insert("content-length", 15.into());
    let recorder = send(request, 100).await;
    let expected = [
        Report::bytes(0, Some(15)),
        Report::bytes(20, None),
        Report::bytes(30, None),
        Report::bytes(30, Some(30)),
    ];
    assert_eq!(reports(&recorder), expected);
}

/// R87 A request without a body has no progress.
#[tokio::test(start_paused = true)]
async fn nothing_to_send_is_no_progress() {
    for method in ["GET", "HEAD", "PUT"] {
        let mut request = put(whole(0));
        *request.method_mut() = method.parse().unwrap();
        let recorder = send(request, 0).await;
        assert_eq!(recorder.names(), ["dispatched", "started", "succeeded"]);
    }
}

/// R87 A body that fails shows what was sent of it, and its error is the body's own.
#[tokio::test(start_paused = true)]
async fn a_body_that_fails_shows_what_was_sent() {
    use futures::StreamExt;

    let (outer, recorder) = recording();
    let client = ServiceBuilder::new()
        .layer(ProgressLayer::http().uploads())
        .layer(outer)
        .service(server(10));
    let broken = futures::stream::iter([Err(std::io::Error::other("the disk broke"))]);
    let body = frames(3, 0)
        .into_data_stream()
        .map(|data| data.map(hyper::body::Frame::data));
    let body = http_body_util::StreamBody::new(Box::pin(body.chain(broken)));
    let error = client.oneshot(put(body)).await.unwrap_err();
    assert_eq!(error.to_string(), "the disk broke");
    assert!(error.is::<std::io::Error>());
    assert_eq!(
        reports(&recorder),
        [Report::bytes(0, None), Report::bytes(30, None)]
    );
}

/// R87 Bytes that are sent are activity: an idle limit starts again, whether or not a reader
/// listens.
#[tokio::test(start_paused = true)]
async fn an_upload_is_not_idle() {
    for is_heard in [true, false] {
        let progress = ProgressLayer::http().uploads();
        let _board = is_heard.then(|| progress.handle());
        for (each, is_idle) in [(900, false), (1100, true)] {
            let client = ServiceBuilder::new()
                .layer(progress.clone())
                .layer(TimeoutLayer::new(secs(1)).idle())
                .service(server(each));
            let result = client.oneshot(put(frames(10, 0))).await;
            assert_eq!(result.is_err(), is_idle, "{is_heard} {each}");
        }
    }
}
