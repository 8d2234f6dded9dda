//! `ProgressLayer::http`: the bytes of a body that were read. `JobLayer::http`: the name of the job
//! that ends with its body.

use std::io;

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Frame};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, EventKind, JobLayer, LogLayer, Pipeline, ProgressLayer, Report,
    RetryLayer, SendThrough,
    http::body::BodyEnd,
    progress::{JobState, JobView},
};
use tower_keep_test::{
    Recorder,
    http::{Origin, Reply},
};
use tower_keep_tests::*;

use super::{
    super::origin::clients,
    Step::{self, Data, Error, Pends},
    Steps, end, get, poll, server,
};

/// The reports of the one job.
fn reports(recorder: &Recorder) -> Vec<Report> {
    let reports = recorder.kinds().into_iter().filter_map(|kind| match kind {
        EventKind::Progress(report) => Some(report),
        _ => None,
    });
    reports.collect()
}

/// This number of frames of 10 bytes, with an interval in milliseconds.
fn frames(count: u64, each: u64) -> impl Body<Data = Bytes, Error = io::Error> + Send + 'static {
    StreamBody::new(futures::stream::unfold(0, move |sent| async move {
        if sent == count {
            return None;
        }
        tokio::time::sleep(ms(each)).await;
        let frame = Frame::data(Bytes::from_static(b"0123456789"));
        Some((Ok(frame), sent + 1))
    }))
}

/// R78 R87 R29b A board shows the bytes of a body, their rate and the time left, until the end of the body.
#[tokio::test(start_paused = true)]
async fn a_board_shows_the_bytes() {
    let progress = ProgressLayer::http().history(1);
    let board = progress.handle();
    let client = progress.layer(server(200, frames(100, 1000)).map_response(|mut response| {
        response.headers_mut().insert("content-length", 1000.into());
        response
    }));
    let mut body = Box::pin(client.oneshot(get()).await.unwrap().into_body());
    let shown = |view: &JobView| view.report.clone();
    assert_eq!(shown(&board.jobs()[0]), Report::bytes(0, Some(1000)));
    for read in 1..=99 {
        body.frame().await.unwrap().unwrap();
        let view = &board.jobs()[0];
        assert_eq!(view.state, JobState::Running);
        assert_eq!(shown(view), Report::bytes(read * 10, Some(1000)));
    }
    let view = &board.jobs()[0];
    assert_eq!(view.rate.map(f64::round), Some(10.0));
    assert_eq!(view.time_left.map(|left| left.as_secs()), Some(1));
    body.frame().await.unwrap().unwrap();
    // The whole length is there, but its end is not.
    assert_eq!(shown(&board.jobs()[0]), Report::bytes(1000, Some(1000)));
    assert!(body.frame().await.is_none());
    assert!(board.jobs().is_empty());
    let last = &board.history()[0];
    assert_eq!(last.state, JobState::Succeeded);
    assert_eq!(shown(last), Report::bytes(1000, Some(1000)));
}

/// R78 R87 R29b Reports are throttled at their source: at most one each 100 ms, and one at the end.
#[tokio::test(start_paused = true)]
async fn reports_are_throttled() {
    // The last report says the total, which is known then.
    for (each, expected) in [
        (0, vec![0, 100]),
        // 99 ms is too early.
        (99, (0..=100).step_by(2).chain([100]).collect()),
        (100, (0..=100).chain([100]).collect()),
    ] {
        let (outer, recorder) = recording();
        let client = ServiceBuilder::new()
            .layer(ProgressLayer::http())
            .layer(outer)
            .service(server(200, frames(100, each)));
        let response = client.oneshot(get()).await.unwrap();
        assert_eq!(
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .len(),
            1000
        );
        let reports = reports(&recorder).into_iter();
        let seen: Vec<_> = reports.map(|report| report.done().unwrap() / 10).collect();
        assert_eq!(seen, expected, "{each} ms");
    }
}

/// R78 R87 R29b There is a total only where it is true: a size hint, or the length of a body that was not
/// decoded. At its end, each complete body has one.
#[tokio::test(start_paused = true)]
async fn a_total_is_true() {
    let steps = || Steps::new([Data("a "), Data("page")]);
    for (body, headers, total) in [
        (steps().exact(), &[][..], Some(6)),
        (steps(), &[("content-length", "6")], Some(6)),
        (steps(), &[], None),
        (
            steps(),
            &[("content-length", "4"), ("content-encoding", "gzip")],
            None,
        ),
        (
            steps(),
            &[("content-length", "6"), ("content-length", "6")],
            Some(6),
        ),
        (
            steps(),
            &[("content-length", "6"), ("content-length", "7")],
            None,
        ),
        (steps(), &[("content-length", "+6")], None),
    ] {
        let (outer, recorder) = recording();
        let client = ServiceBuilder::new()
            .layer(ProgressLayer::http())
            .layer(outer)
            .service(server(200, body).map_response(|mut response| {
                for (name, value) in headers {
                    response.headers_mut().append(*name, value.parse().unwrap());
                }
                response
            }));
        let response = client.oneshot(get()).await.unwrap();
        assert_eq!(reports(&recorder), [Report::bytes(0, total)]);
        response.into_body().collect().await.unwrap();
        assert_eq!(
            reports(&recorder).last(),
            Some(&Report::bytes(6, Some(6))),
            "{headers:?}"
        );
    }
}

/// R87 A body that is longer than its declared length has no total.
#[tokio::test(start_paused = true)]
async fn a_total_that_was_wrong_is_dropped() {
    let (outer, recorder) = recording();
    let client = ServiceBuilder::new()
        .layer(ProgressLayer::http())
        .layer(outer)
        .service(
            server(200, Steps::new([Data("a "), Pends, Data("page"), Pends])).map_response(
                |mut response| {
                    let length = "4".parse().unwrap();
                    response.headers_mut().insert("content-length", length);
                    response
                },
            ),
        );
    let mut body = client.oneshot(get()).await.unwrap().into_body();
    assert!(poll(&mut body).is_ready());
    assert!(poll(&mut body).is_pending());
    tokio::time::advance(secs(1)).await;
    assert!(poll(&mut body).is_ready());
    let expected = [Report::bytes(0, Some(4)), Report::bytes(6, None)];
    assert_eq!(reports(&recorder), expected);
}

/// R78 R87 R29b A body that is cut or dropped shows what was read of it.
#[tokio::test(start_paused = true)]
async fn an_early_end_shows_what_was_read() {
    for is_cut in [true, false] {
        let (outer, recorder) = recording();
        let steps = [
            Data("a "),
            Data("page"),
            Error(io::ErrorKind::UnexpectedEof),
        ];
        let client = ServiceBuilder::new()
            .layer(ProgressLayer::http())
            .layer(outer)
            .service(server(200, Steps::new(steps)));
        let mut body = client.oneshot(get()).await.unwrap().into_body();
        let polls = if is_cut { 3 } else { 2 };
        for _ in 0..polls {
            assert!(poll(&mut body).is_ready());
        }
        drop(body);
        assert_eq!(reports(&recorder).last(), Some(&Report::bytes(6, None)));
        let terminal = recorder.terminal(recorder.job()).unwrap();
        assert_eq!(matches!(terminal, EventKind::Failed { .. }), is_cut);
        assert_eq!(recorder.kinds().last(), Some(&terminal), "the end is last");
    }
}

/// R78 R87 R29b A response without a body has no progress.
#[tokio::test(start_paused = true)]
async fn nothing_to_read_is_no_progress() {
    for (method, status) in [(Method::GET, 204), (Method::HEAD, 200)] {
        let (outer, recorder) = recording();
        let client = ServiceBuilder::new()
            .layer(ProgressLayer::http())
            .layer(outer)
            .service(server(status, Steps::new([])));
        let mut request = get();
        *request.method_mut() = method;
        let _response = client.oneshot(request).await.unwrap();
        assert_eq!(recorder.names(), ["dispatched", "started", "succeeded"]);
    }
}

/// R78 If the job ended at the head, nothing is reported afterwards.
#[tokio::test(start_paused = true)]
async fn nothing_is_reported_after_the_end() {
    let (outer, recorder) = recording();
    let client = ServiceBuilder::new()
        .layer(JobLayer::new("fetch"))
        .layer(outer)
        .layer(ProgressLayer::http())
        .service(server(200, frames(3, 1000)));
    let response = client.oneshot(get()).await.unwrap();
    response.into_body().collect().await.unwrap();
    let names = ["dispatched", "started", "progress", "succeeded"];
    assert_eq!(recorder.names(), names);
}

/// R78 R84 A named job of all layers that follow: it has one end, at the end of the body, through
/// retries.
#[tokio::test(start_paused = true)]
async fn all_that_follow_share_one_end() {
    for fails in [false, true] {
        let recorder = Recorder::new();
        let progress = ProgressLayer::http();
        let board = progress.handle();
        let mut attempts = 0;
        let client = ServiceBuilder::new()
            .layer(
                JobLayer::new("fetch")
                    .http()
                    .identified_by(|_: &Request<String>| Some("7")),
            )
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(CancelLayer::new())
            .layer(RetryLayer::http().base_delay(secs(1)))
            .layer(progress)
            .service(service_fn(move |_: Request<String>| {
                attempts += 1;
                let last: Step = if fails {
                    Error(io::ErrorKind::UnexpectedEof)
                } else {
                    Data("page")
                };
                let response = Response::builder().status(if attempts == 1 { 503 } else { 200 });
                let response = response.body(Steps::new([Data("a "), last])).unwrap();
                async move { Ok::<_, BoxError>(response) }
            }));
        let response = client.oneshot(get()).await.unwrap();
        assert_eq!(end(&recorder), None);
        let view = &board.jobs()[0];
        assert_eq!(
            (&*view.name, view.external_id.as_deref()),
            ("fetch", Some("7"))
        );
        let read = response.into_body().collect().await;
        assert_eq!(read.is_err(), fails);
        let expected = if fails {
            BodyEnd::Truncated
        } else {
            BodyEnd::Complete
        };
        assert_eq!(end(&recorder).unwrap().1, expected.name());
        let last = &board.history()[0];
        assert_eq!(matches!(last.state, JobState::Failed(_)), fails);
        recorder.assert_one_terminal_each();
    }
}

/// R78 R87 R29b Real downloads, with both clients and versions, in the slot of the pipeline.
#[tokio::test]
async fn downloads_are_shown() -> Result<(), BoxError> {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let reply = Reply::status(200).body(vec![7; 300_000]);
        let origin = Origin::start().await?.script([reply.clone(), reply]);
        let progress = ProgressLayer::http();
        let board = progress.handle();
        let pipeline = Pipeline::http_client().progress(progress).build()?;

        let client = clients::reqwest(version);
        let api = pipeline.layer(client.clone());
        let response = client.get(origin.url("/")).send_through(&api).await?;
        assert_eq!(board.jobs()[0].report, Report::bytes(0, Some(300_000)));
        assert_eq!(response.bytes().await?.len(), 300_000);

        let api = pipeline.layer(clients::hyper(version));
        let request = Request::get(origin.url("/")).body(http_body_util::Full::default())?;
        let response = api.oneshot(request).await?;
        assert_eq!(board.jobs()[0].report, Report::bytes(0, Some(300_000)));
        assert_eq!(
            response.into_body().collect().await?.to_bytes().len(),
            300_000
        );

        assert!(board.jobs().is_empty());
        for view in board.history() {
            assert_eq!(view.report, Report::bytes(300_000, Some(300_000)));
            assert_eq!(view.state, JobState::Succeeded);
        }
        assert_eq!(board.history().len(), 2);
    }
    Ok(())
}
