//! Requests of reqwest keep their type: `ProgressLayer::http()` alone shows their uploads.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::StatusCode;
use hyper::body::Body as _;
use reqwest::{Body, Method, Request, Response};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, Pipeline, ProgressLayer, RetryLayer};
use tower_keep_test::ms;
use tower_keep_tests::recording;

use super::{FRAME, MIB, amounts, attempts, data, frames, read, reports};

fn put(body: impl Into<Body>) -> Request {
    let mut request = Request::new(Method::PUT, "http://example.com/".parse().unwrap());
    *request.body_mut() = Some(body.into());
    request
}

fn stream(count: u64) -> Body {
    Body::wrap(frames(count, 0))
}

fn answer(status: StatusCode) -> Response {
    let mut response = http::Response::new("");
    *response.status_mut() = status;
    response.into()
}

/// R87 A body of at most 64 KiB stays as it is: `as_bytes` and `try_clone` work inside. So does a
/// larger one in memory without `uploads`. Others are wrapped, and keep their size hint.
#[tokio::test(start_paused = true)]
async fn a_small_body_stays_as_it_is() {
    for uploads in [false, true] {
        for (body, is_kept, hint) in [
            (None, true, None),
            (Some(Body::from("")), true, Some(0)),
            (Some(data(FRAME).into()), true, Some(FRAME as u64)),
            (
                Some(data(FRAME + 1).into()),
                !uploads,
                Some(FRAME as u64 + 1),
            ),
            (Some(stream(3)), false, None),
        ] {
            let (outer, recorder) = recording();
            let has_body = body.is_some();
            let mut request = put("");
            *request.body_mut() = body;
            let server = service_fn(move |request: Request| async move {
                assert_eq!(request.body().is_some(), has_body);
                if has_body {
                    assert_eq!(request.body().unwrap().as_bytes().is_some(), is_kept);
                    assert_eq!(request.try_clone().is_some(), is_kept);
                    assert_eq!(request.body().unwrap().size_hint().exact(), hint);
                }
                Ok::<_, BoxError>(answer(StatusCode::NO_CONTENT))
            });
            if uploads {
                let layers = ServiceBuilder::new().layer(ProgressLayer::http().uploads());
                layers
                    .layer(outer)
                    .service(server)
                    .oneshot(request)
                    .await
                    .unwrap();
            } else {
                let layers = ServiceBuilder::new().layer(ProgressLayer::http());
                layers
                    .layer(outer)
                    .service(server)
                    .oneshot(request)
                    .await
                    .unwrap();
            }
            assert_eq!(amounts(&recorder), Vec::<u64>::new());
        }
    }
}

/// A server that reads this many frames of the first body and answers 503, then reads all.
fn fails_first(
    reads: usize,
) -> impl Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone + Send + Sync
{
    let calls = Arc::new(AtomicUsize::new(0));
    service_fn(move |mut request: Request| {
        let is_first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let mut body = request.body_mut().take().unwrap();
            if !is_first {
                read(body, 100).await?;
                return Ok(answer(StatusCode::NO_CONTENT));
            }
            for _ in 0..reads {
                tokio::time::sleep(ms(100)).await;
                http_body_util::BodyExt::frame(&mut body).await.unwrap()?;
            }
            Ok::<_, BoxError>(answer(StatusCode::SERVICE_UNAVAILABLE))
        }
    })
}

/// The expected amounts of an attempt. The first frame comes with the first report, which says 0.
fn sent(frames: u64, length: u64) -> Vec<u64> {
    let later = (2..=frames).map(|n| n * length);
    [0].into_iter().chain(later).collect()
}

type Boxed = tower::util::BoxCloneSyncService<Request, Response, BoxError>;

/// The kinds of a stack with a retry, which all count the same.
fn stacks<S>(server: S) -> [(tower_keep_test::Recorder, Boxed); 3]
where
    S: Service<Request, Response = Response, Error = BoxError, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
{
    fn boxed<S>(stack: S) -> Boxed
    where
        S: Service<Request, Response = Response, Error = BoxError, Future: Send + 'static>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Boxed::new(stack)
    }
    let retry = || RetryLayer::http().max_body(MIB);
    let (outer, plain) = recording();
    let first = ServiceBuilder::new()
        .layer(ProgressLayer::http().uploads())
        .layer(outer)
        .layer(retry());
    let first = boxed(first.service(server.clone()));
    let (outer, hooked) = recording();
    // A hook that is awaited before each attempt.
    let hook = retry().before_attempt_async(|request: Request, _| async {
        tokio::task::yield_now().await;
        Ok::<_, BoxError>(request)
    });
    let second = ServiceBuilder::new()
        .layer(ProgressLayer::http().uploads())
        .layer(outer)
        .layer(hook);
    let second = boxed(second.service(server.clone()));
    let (outer, piped) = recording();
    let pipeline = Pipeline::http_client().progress(ProgressLayer::http().uploads());
    let pipeline = pipeline.retry(retry()).build().unwrap();
    let third = ServiceBuilder::new().layer(outer).layer(pipeline);
    let third = boxed(third.service(server));
    [(plain, first), (hooked, second), (piped, third)]
}

/// R87 A stream that the retry records is counted from zero in each attempt, also what is sent again
/// from the record.
#[tokio::test(start_paused = true)]
async fn a_recorded_stream_is_counted_in_each_attempt() {
    for number in 0..3 {
        for reads in [0, 3, 5] {
            let (recorder, client) = stacks(fails_first(reads)).into_iter().nth(number).unwrap();
            let mut request = put(stream(5));
            request.headers_mut().insert("content-length", 50.into());
            client.oneshot(request).await.unwrap();
            let mut found = attempts(&amounts(&recorder));
            // The record and what follows it may each report a beginning.
            found.retain(|attempt| attempt.len() > 1);
            let mut expected = vec![sent(5, 10)];
            if reads > 1 {
                expected.insert(0, sent(reads as u64, 10));
            }
            assert_eq!(found, expected, "{number} {reads}");
            assert!(
                reports(&recorder)
                    .iter()
                    .all(|report| report.total() == Some(50))
            );
        }
    }
}

/// R87 A body in memory above 64 KiB is repeated, if the retry keeps so much, and each attempt is
/// counted.
#[tokio::test(start_paused = true)]
async fn a_body_in_memory_is_counted_in_each_attempt() {
    for number in 0..3 {
        let (recorder, client) = stacks(fails_first(3)).into_iter().nth(number).unwrap();
        client.oneshot(put(data(5 * FRAME))).await.unwrap();
        let found = attempts(&amounts(&recorder));
        assert_eq!(found, [sent(3, FRAME as u64), sent(5, FRAME as u64)]);
    }
}

/// R87 The bytes that a stack without a Progress layer sends again are not those of the job whose
/// code calls it.
#[tokio::test(start_paused = true)]
async fn the_retries_of_an_inner_stack_are_not_counted() {
    let inner = RetryLayer::http().layer(fails_first(3));
    let (outer, recorder) = recording();
    let client = ServiceBuilder::new()
        .layer(ProgressLayer::http())
        .layer(outer)
        .service(service_fn(move |_: Request| {
            let inner = inner.clone();
            async move { inner.oneshot(put(stream(5))).await }
        }));
    client.oneshot(put(stream(7))).await.unwrap();
    assert_eq!(amounts(&recorder), Vec::<u64>::new());
}

/// R87 The frames of a body in memory have at most 64 KiB, and are not copied.
#[tokio::test(start_paused = true)]
async fn a_body_in_memory_is_split() {
    let whole = data(MIB + 1);
    let begin = whole.as_ptr() as usize;
    let layer = ProgressLayer::http().uploads();
    let client = layer.layer(service_fn(move |mut request: Request| async move {
        let frames = read(request.body_mut().take().unwrap(), 0).await?;
        let mut at = begin;
        for frame in &frames {
            assert!(frame.len() <= FRAME);
            assert_eq!(frame.as_ptr() as usize, at);
            at += frame.len();
        }
        assert_eq!(at, begin + MIB + 1);
        Ok::<_, BoxError>(answer(StatusCode::NO_CONTENT))
    }));
    client.oneshot(put(Bytes::clone(&whole))).await.unwrap();
}
