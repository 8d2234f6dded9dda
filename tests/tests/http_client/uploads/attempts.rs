//! Each attempt begins at zero, and only the newest one reports.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Body;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, Pipeline, ProgressLayer, ReplayLayer, Report, RetryLayer,
    http::{replay::ReplayBody, upload::UploadBody},
    progress::JobState,
    retry::Jitter,
};
use tower_keep_test::{Recorder, ms, secs};
use tower_keep_tests::recording;

use super::{
    FRAME, amounts, answer, attempts, frames, never, no_content, put, read, reports, whole,
};

/// A server that reads this many frames of the first body, a frame each 100 ms, and answers 503. It
/// reads the second body whole.
fn fails_first<B>(
    reads: usize,
) -> impl Service<Request<B>, Response = Response<Full<Bytes>>, Error = BoxError, Future: Send>
+ Clone
+ Send
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let calls = Arc::new(AtomicUsize::new(0));
    service_fn(move |request: Request<B>| {
        let is_first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let mut body = Box::pin(request.into_body());
            if !is_first {
                read(body, 100).await?;
                return Ok(no_content());
            }
            for _ in 0..reads {
                tokio::time::sleep(ms(100)).await;
                body.frame().await.unwrap().map_err(Into::into)?;
            }
            Ok::<_, BoxError>(answer(StatusCode::SERVICE_UNAVAILABLE, ""))
        }
    })
}

/// The expected amounts of an attempt that sends this many frames of equal length. The first frame
/// comes with the first report, which says 0.
fn sent(frames: u64, length: u64) -> Vec<u64> {
    let later = (2..=frames).map(|n| n * length);
    [0].into_iter().chain(later).collect()
}

/// R87 A body that is `Clone` is cloned by the retry, and each attempt is counted from zero.
#[tokio::test(start_paused = true)]
async fn each_attempt_begins_at_zero() {
    for reads in [1, 3] {
        let (outer, recorder) = recording();
        let client = ServiceBuilder::new()
            .layer(ProgressLayer::http().uploads())
            .layer(outer)
            .layer(RetryLayer::http().max_body(1 << 20))
            .service(fails_first(reads));
        client.oneshot(put(whole(4 * FRAME))).await.unwrap();
        let expected = [sent(reads as u64, FRAME as u64), sent(4, FRAME as u64)];
        assert_eq!(attempts(&amounts(&recorder)), expected);
        let total = Some(4 * FRAME as u64);
        assert!(
            reports(&recorder)
                .iter()
                .all(|report| report.total() == total)
        );
    }
}

/// R87 An attempt that sent nothing reports nothing.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_sent_nothing_reports_nothing() {
    let (outer, recorder) = recording();
    let client = ServiceBuilder::new()
        .layer(ProgressLayer::http().uploads())
        .layer(outer)
        .layer(RetryLayer::http())
        .service(fails_first(0));
    client.oneshot(put(whole(100))).await.unwrap();
    assert_eq!(amounts(&recorder), [0, 100]);
}

/// R87 A body that a `ReplayLayer` outside records is counted in each attempt, also where the
/// second attempt begins with the record.
#[tokio::test(start_paused = true)]
async fn a_recorded_body_is_counted_in_each_attempt() {
    type Streamed = UnsyncBoxBody<Bytes, io::Error>;
    type Sent = UploadBody<ReplayBody<Streamed>>;

    for (length, total) in [(None, None), (Some(50), Some(50))] {
        let (outer, recorder) = recording();
        let client = ServiceBuilder::new()
            .layer(ReplayLayer::new())
            .layer(ProgressLayer::http().uploads())
            .layer(outer)
            .layer(RetryLayer::http())
            .service(fails_first::<Sent>(3));
        let mut request = put(frames(5, 0).boxed_unsync());
        if let Some(length) = length {
            request
                .headers_mut()
                .insert("content-length", length.into());
        }
        client.oneshot(request).await.unwrap();
        // Of an unknown length, the end alone says that it is complete.
        let mut second = sent(5, 10);
        if total.is_none() {
            second.push(50);
        }
        assert_eq!(attempts(&amounts(&recorder)), [sent(3, 10), second]);
        assert_eq!(reports(&recorder)[0], Report::bytes(0, total));
        assert_eq!(
            reports(&recorder).last(),
            Some(&Report::bytes(50, Some(50)))
        );
    }
}

/// R87 In the pipeline, with the replay around it.
#[tokio::test(start_paused = true)]
async fn in_the_pipeline() {
    let progress = ProgressLayer::http().uploads();
    let board = progress.handle();
    let mut events = board.subscribe();
    let client = ServiceBuilder::new()
        .layer(ReplayLayer::new())
        .layer(Pipeline::http_client().progress(progress).build().unwrap())
        .service(fails_first(3));
    client.oneshot(put(frames(5, 0))).await.unwrap();
    let mut amounts = Vec::new();
    while let Some(Ok(event)) = events.try_recv() {
        if let tower_keep::EventKind::Progress(report) = event.kind {
            amounts.push(report.done().unwrap());
        }
    }
    assert_eq!(
        attempts(&amounts),
        [sent(3, 10), [&sent(5, 10)[..], &[50]].concat()]
    );
    assert_eq!(board.history()[0].state, JobState::Succeeded);
}

/// R87 Inside the retry, the layer sees each attempt as a call.
#[tokio::test(start_paused = true)]
async fn inside_the_retry() {
    let (outer, recorder) = recording();
    let client = ServiceBuilder::new()
        .layer(outer)
        .layer(RetryLayer::http())
        .layer(ProgressLayer::http().uploads())
        .service(fails_first(0).map_request(|request: Request<UploadBody<Full<Bytes>>>| request));
    client.oneshot(put(whole(100))).await.unwrap();
    assert_eq!(amounts(&recorder), [0, 100]);
}

type Held<B> = Arc<Mutex<Vec<Pin<Box<UploadBody<B>>>>>>;

/// A server that answers before it reads the request, and leaves the body to the test, as the task
/// of a connection has it.
fn early<B>(
    held: Held<B>,
    answers: impl IntoIterator<Item = StatusCode>,
) -> impl Service<
    Request<UploadBody<B>>,
    Response = Response<Full<Bytes>>,
    Error = BoxError,
    Future: Send,
> + Clone
+ Send
where
    B: Body<Data: Send> + Send + 'static,
{
    let answers = Arc::new(Mutex::new(
        answers.into_iter().collect::<Vec<_>>().into_iter(),
    ));
    service_fn(move |request: Request<UploadBody<B>>| {
        let (held, answers) = (Arc::clone(&held), Arc::clone(&answers));
        async move {
            let mut body = Box::pin(request.into_body());
            // The transport takes the first frame.
            futures::future::poll_immediate(body.frame()).await;
            held.lock().unwrap().push(body);
            tokio::time::sleep(secs(1)).await;
            let status = answers.lock().unwrap().next().unwrap();
            Ok::<_, BoxError>(answer(status, ""))
        }
    })
}

/// Polls a held body once, as its transport.
async fn send<B: Body>(held: &Held<B>, number: usize) {
    let mut body = held.lock().unwrap().remove(number);
    let sent = futures::future::poll_immediate(body.frame()).await;
    assert!(matches!(sent, Some(Some(Ok(_)))));
    held.lock().unwrap().insert(number, body);
}

/// R87 The body of an earlier attempt that the transport still sends reports nothing: neither while
/// the job waits for the next attempt, nor in it, nor after the job.
#[tokio::test(start_paused = true)]
async fn an_older_attempt_reports_nothing() {
    let (outer, recorder) = recording();
    let held = Held::default();
    let statuses = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::NO_CONTENT];
    let progress = ProgressLayer::http().uploads();
    let board = progress.handle();
    let client = ServiceBuilder::new()
        .layer(progress)
        .layer(outer)
        .layer(
            RetryLayer::http()
                .max_body(1 << 20)
                .base_delay(secs(10))
                .max_delay(secs(10))
                .jitter(Jitter::None),
        )
        .service(early(Arc::clone(&held), statuses));
    let call = tokio::spawn(client.oneshot(put(whole(9 * FRAME))));
    let reported = |recorder: &Recorder| attempts(&amounts(recorder));
    let frame = FRAME as u64;

    tokio::time::sleep(ms(500)).await;
    send(&held, 0).await;
    assert_eq!(reported(&recorder), [[0, 2 * frame]]);
    // Backoff.
    tokio::time::sleep(secs(5)).await;
    assert_eq!(board.jobs()[0].state, JobState::Backoff);
    send(&held, 0).await;
    assert_eq!(reported(&recorder), [[0, 2 * frame]]);
    assert_eq!(board.jobs()[0].state, JobState::Backoff);
    // The second attempt.
    tokio::time::sleep(ms(6500)).await;
    assert_eq!(reported(&recorder), [vec![0, 2 * frame], vec![0]]);
    send(&held, 0).await;
    assert_eq!(reported(&recorder), [vec![0, 2 * frame], vec![0]]);
    send(&held, 1).await;
    assert_eq!(reported(&recorder), [[0, 2 * frame], [0, 2 * frame]]);
    // The rate is of this attempt alone, and its time is too short.
    assert!(
        board.jobs()[0]
            .rate
            .is_none_or(|rate| rate < 4.0 * frame as f64)
    );
    call.await.unwrap().unwrap();
    let before = recorder.events().len();
    for number in [0, 1] {
        tokio::time::sleep(secs(1)).await;
        send(&held, number).await;
    }
    assert_eq!(recorder.events().len(), before);
    assert!(board.jobs().is_empty());
    recorder.assert_one_terminal_each();
}

/// R87 A clone that is first sent while the job waits for its next attempt comes too late, and does
/// not take the place of the attempt that follows.
#[tokio::test(start_paused = true)]
async fn a_body_that_begins_too_late_reports_nothing() {
    let (outer, recorder) = recording();
    let held: Arc<Mutex<Vec<UploadBody<Full<Bytes>>>>> = Arc::default();
    let keep = Arc::clone(&held);
    let client = ServiceBuilder::new()
        .layer(ProgressLayer::http().uploads())
        .layer(outer)
        .layer(RetryLayer::http().base_delay(secs(10)).max_delay(secs(10)))
        .service(service_fn(
            move |request: Request<UploadBody<Full<Bytes>>>| {
                let keep = Arc::clone(&keep);
                async move {
                    let is_first = keep.lock().unwrap().is_empty();
                    keep.lock().unwrap().push(request.body().clone());
                    match is_first {
                        true => Ok(answer(StatusCode::SERVICE_UNAVAILABLE, "")),
                        false => {
                            read(request.into_body(), 100).await?;
                            Ok::<_, BoxError>(no_content())
                        }
                    }
                }
            },
        ));
    let mut call = tokio_test::task::spawn(client.oneshot(put(whole(3000))));
    assert!(call.poll().is_pending());
    let late = held.lock().unwrap()[0].clone();
    assert_eq!(read(late, 0).await.unwrap().concat().len(), 3000);
    assert_eq!(amounts(&recorder), Vec::<u64>::new());
    call.await.unwrap();
    assert_eq!(amounts(&recorder), [0, 3000]);
}

/// R87 Two layers in one stack count once.
#[tokio::test(start_paused = true)]
async fn two_layers_count_once() {
    let (outer, recorder) = recording();
    let client = ServiceBuilder::new()
        .layer(ProgressLayer::http().uploads())
        .layer(outer)
        .layer(ProgressLayer::http().uploads())
        .service(service_fn(
            |request: Request<UploadBody<UploadBody<Full<Bytes>>>>| async move {
                read(request.into_body().map_err(never), 100).await?;
                Ok::<_, BoxError>(no_content())
            },
        ));
    client.oneshot(put(whole(3 * FRAME))).await.unwrap();
    let amounts = amounts(&recorder);
    let last = attempts(&amounts).pop();
    assert_eq!(last, Some(sent(3, FRAME as u64)));
    assert!(amounts.len() <= 4, "{amounts:?}");
}

/// R87 A clone of the stack has a count of its own for each call.
#[tokio::test(start_paused = true)]
async fn calls_of_clones_do_not_mix() {
    let recorder = Recorder::new();
    let client = ServiceBuilder::new()
        .layer(ProgressLayer::http().uploads())
        .layer(tower_keep::LogLayer::to(recorder.clone()))
        .service(service_fn(
            |request: Request<UploadBody<Full<Bytes>>>| async move {
                read(request.into_body(), 100).await?;
                Ok::<_, BoxError>(no_content())
            },
        ));
    let calls = [3, 5].map(|frames| client.clone().oneshot(put(whole(frames * FRAME))));
    for result in futures::future::join_all(calls).await {
        result.unwrap();
    }
    let jobs = recorder.jobs();
    for (job, frames) in jobs.into_iter().zip([3, 5]) {
        let reports = recorder.kinds_of(job).into_iter();
        let amounts: Vec<_> = reports
            .filter_map(|kind| match kind {
                tower_keep::EventKind::Progress(report) => report.done(),
                _ => None,
            })
            .collect();
        assert_eq!(amounts, sent(frames, FRAME as u64));
    }
}

/// R87 The layer's own type of service is named, to keep it in a struct.
#[tokio::test(start_paused = true)]
async fn the_service_has_a_name() {
    use tower_keep::{
        http::upload::{CountUploads, TransferCount},
        progress::Progress,
    };

    fn named<S>(inner: S) -> Progress<CountUploads<S>, TransferCount> {
        ProgressLayer::http().uploads().layer(inner)
    }
    let client = named(fails_first::<UploadBody<Full<Bytes>>>(0));
    let _inner = client.get_ref().get_ref();
    let response = client.oneshot(put(whole(1))).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}
