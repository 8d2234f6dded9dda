//! Polls, wake-ups and drops of a limited body.

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use tokio::time::{advance, sleep};
use tokio_test::{assert_pending, task};
use tower::ServiceBuilder;
use tower_keep::{
    LogLayer, TimeoutLayer,
    http::body::{FollowedBody, TimeGuard},
};
use tower_keep_test::{Recorder, secs};

use super::{super::follow::end, Timed, body_of, elapsed, next, read, server};

type Limited<B> = FollowedBody<B, TimeGuard>;

/// R85 No poll wakes its own task, and a body that never waits has no timer that would wake it later.
#[tokio::test(start_paused = true)]
async fn a_body_that_never_waits_is_never_woken() {
    let page = || Full::new(Bytes::from("page"));
    for overall in [true, false] {
        let mut body: Limited<_> = match overall {
            true => body_of(TimeoutLayer::http(secs(10)), server(secs(0), page)).await,
            false => body_of(TimeoutLayer::http_attempt(secs(10)), server(secs(0), page)).await,
        };
        let mut frame = task::spawn(body.frame());
        assert!(frame.poll().is_ready());
        advance(secs(100)).await;
        assert!(!frame.is_woken());
    }
}

/// R85 A body that waits is woken once, at its limit. The timer of an earlier wait wakes nobody whose
/// limit has not expired for good: the next poll is pending again.
#[tokio::test(start_paused = true)]
async fn a_body_that_waits_is_woken_at_its_limit() {
    let hangs = || Timed::new([]).hangs();
    for overall in [true, false] {
        let mut body: Limited<_> = match overall {
            true => body_of(TimeoutLayer::http(secs(10)), server(secs(0), hangs)).await,
            false => body_of(TimeoutLayer::http_attempt(secs(10)), server(secs(0), hangs)).await,
        };
        let mut frame = task::spawn(body.frame());
        assert_pending!(frame.poll());
        assert!(!frame.is_woken(), "it must not wake itself");
        advance(secs(9)).await;
        assert!(!frame.is_woken());
        assert_pending!(frame.poll());
        sleep(secs(1)).await;
        assert!(frame.is_woken());
        assert!(frame.poll().is_ready());
    }
}

/// R85 The task that polled last is woken, also if the body moved to another one.
#[tokio::test(start_paused = true)]
async fn the_last_task_is_woken() {
    let hangs = || Timed::new([]).hangs();
    let mut body = body_of(TimeoutLayer::http(secs(10)), server(secs(0), hangs)).await;
    assert_pending!(task::spawn(body.frame()).poll());
    let error = tokio::spawn(async move { next(&mut body).await.unwrap().unwrap_err() });
    assert_eq!(elapsed(&error.await.unwrap()).limit(), secs(10));
}

/// R84 Dropped at every point, the body releases all, and the job ends as its head.
#[tokio::test(start_paused = true)]
async fn a_drop_at_every_point() {
    for overall in [true, false] {
        for after in [0, 1, 5, 6, 9, 10, 11] {
            let recorder = Recorder::new();
            let alive = std::sync::Arc::new(std::sync::Mutex::new(None));
            let seen = std::sync::Arc::clone(&alive);
            let hangs = move || {
                let body = Timed::new([(0, "a"), (5, "b")]).hangs();
                *seen.lock().unwrap() = Some(body.alive());
                body
            };
            let log = ServiceBuilder::new().layer(LogLayer::http_to(recorder.clone()));
            let body: FollowedBody<Limited<Timed>, _> = match overall {
                true => {
                    let stack = log.layer(TimeoutLayer::http(secs(10))).into_inner();
                    body_of(stack, server(secs(0), hangs)).await
                }
                false => {
                    let limit = TimeoutLayer::http_attempt(secs(10)).idle(secs(5));
                    body_of(log.layer(limit).into_inner(), server(secs(0), hangs)).await
                }
            };
            let reading = async {
                // Reads until it fails, or is dropped.
                tokio::time::timeout(secs(after), read(body)).await.is_ok()
            };
            let has_failed = reading.await;
            assert_eq!(has_failed, after >= 10, "after {after} s");
            let (how, body_end) = end(&recorder).unwrap();
            match has_failed {
                true => assert_eq!(body_end, "stalled"),
                false => assert_eq!((&*how, body_end), ("succeeded", "dropped")),
            }
            let alive = alive.lock().unwrap().take().unwrap();
            assert_eq!(alive.strong_count(), 0);
            recorder.assert_one_terminal_each();
            sleep(secs(100)).await;
            assert!(recorder.names().len() <= 4, "{recorder}");
        }
    }
}

/// R84 Size hint and end are those of the inner body, which stays `Unpin`, `Send` and `Sync`.
#[tokio::test(start_paused = true)]
async fn it_looks_like_the_inner_body() {
    fn check<T: Unpin + Send + Sync + 'static>(_: &Response<T>) {}
    let page = || Full::new(Bytes::from("page"));
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::http(secs(10)))
        .layer(TimeoutLayer::http_attempt(secs(10)))
        .into_inner();
    let body: Limited<Limited<_>> = body_of(stack, server(secs(0), page)).await;
    assert_eq!(body.size_hint().exact(), Some(4));
    assert!(!body.is_end_stream());
    let response = Response::new(body);
    check(&response);
    let mut body = response.into_body();
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "page");
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
}

/// R48 R84 A limited body is the body and its guard, without a timer inside.
#[test]
fn a_limited_body_is_small() {
    let limited = size_of::<Limited<Full<Bytes>>>();
    let bare = size_of::<Full<Bytes>>();
    assert!(limited <= bare + 112, "{limited} around {bare}");
}
