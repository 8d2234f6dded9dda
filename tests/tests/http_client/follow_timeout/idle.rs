//! `TimeoutLayer::http_attempt`: until the head, then an idle limit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use tokio::time::{Instant, sleep};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, EventKind, FailureCause, LogLayer, Rejection, RetryLayer, TimeoutLayer,
    retry::Jitter, timeout::LimitScope,
};
use tower_keep_test::{Recorder, secs};

use super::{
    super::follow::{end, ended},
    Timed, body_of, elapsed, get, next, read, server,
};

/// A log, a retry after one second, and a limit of 10 s for each attempt, idle 15 s.
macro_rules! attempts {
    ($recorder:expr) => {
        ServiceBuilder::new()
            .layer(LogLayer::http_to($recorder.clone()))
            .layer(RetryLayer::http().base_delay(secs(1)).jitter(Jitter::None))
            .layer(TimeoutLayer::http_attempt(secs(10)).idle(secs(15)))
    };
}

/// R84 A late head fails its attempt, which is retried, as with `per_attempt()`.
#[tokio::test(start_paused = true)]
async fn a_late_head_is_retried() {
    let recorder = Recorder::new();
    let calls = Arc::new(AtomicU32::new(0));
    let service = attempts!(recorder).service(service_fn(move |_: Request<String>| {
        let thinks = match calls.fetch_add(1, Ordering::Relaxed) {
            0 => secs(11),
            _ => secs(9),
        };
        async move {
            sleep(thinks).await;
            Ok::<_, BoxError>(Response::new(Timed::new([(0, "page")])))
        }
    }));
    let body = service.oneshot(get()).await.unwrap().into_body();
    assert_eq!(read(body).await.unwrap(), "page");
    let times = recorder.times();
    assert_eq!(times[2], ("timed_out", secs(10)));
    assert_eq!(times.last().unwrap(), &("succeeded", secs(10 + 1 + 9)));
}

/// R84 A body that stalls is not retried: it fails the job, `idle` after the last frame.
#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_fails_the_job() {
    let recorder = Recorder::new();
    let stack = attempts!(recorder).into_inner();
    let alive = Arc::new(std::sync::Mutex::new(Vec::new()));
    let alives = Arc::clone(&alive);
    let stalls = move || {
        let body = Timed::new([(14, "a "), (28, "page")]).hangs();
        alives.lock().unwrap().push(body.alive());
        body
    };
    let mut body = body_of(stack, server(secs(0), stalls)).await;
    for expected in ["a ", "page"] {
        assert_eq!(next(&mut body).await.unwrap().unwrap(), expected);
    }
    let error = next(&mut body).await.unwrap().unwrap_err();
    assert_eq!(Rejection::of(&*error), Some(Rejection::TimedOut));
    assert_eq!(error.to_string(), "idle time limit of 15s expired");
    assert_eq!(elapsed(&error).scope(), &LimitScope::Idle);
    {
        let alive = alive.lock().unwrap();
        assert_eq!(alive.len(), 1, "it was not retried");
        assert_eq!(alive[0].strong_count(), 0, "the transfer is dropped");
    }

    let expected = ["dispatched", "started", "timed_out", "failed"];
    let names = recorder.names();
    let seen = names.iter().filter(|name| **name != "attempt_ended");
    assert!(seen.eq(&expected), "{names:?}");
    assert_eq!(recorder.times().last().unwrap(), &("failed", secs(28 + 15)));
    let Some((EventKind::Failed { cause, .. }, body_end)) = ended(&recorder) else {
        panic!("{recorder}")
    };
    assert_eq!(cause, FailureCause::TimedOut);
    assert_eq!(body_end.unwrap().to_string(), "stalled");
    assert!(next(&mut body).await.is_none());
}

/// R84 Without `idle`, the idle limit is the limit of the attempt.
#[tokio::test(start_paused = true)]
async fn the_default_is_the_limit_of_the_attempt() {
    let stalls = || Timed::new([(9, "page")]).hangs();
    let limit = TimeoutLayer::http_attempt(secs(10));
    let start = Instant::now();
    let mut body = body_of(limit, server(secs(0), stalls)).await;
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "page");
    let error = next(&mut body).await.unwrap().unwrap_err();
    assert_eq!(elapsed(&error).limit(), secs(10));
    assert_eq!(start.elapsed(), secs(9 + 10));
}

/// R85 Asks 22, 23: a slow server is not idle, however long the whole body takes.
#[tokio::test(start_paused = true)]
async fn a_trickling_body_is_not_idle() {
    let recorder = Recorder::new();
    let trickles = || Timed::new((1..=100).map(|n| (n * 14, "x")));
    let body = body_of(attempts!(recorder).into_inner(), server(secs(0), trickles)).await;
    assert_eq!(read(body).await.unwrap().len(), 100);
    assert_eq!(recorder.times().last().unwrap(), &("succeeded", secs(1400)));
}

/// R85 Ask 22: a reader that does not poll is not idle time: neither before the first frame, nor
/// between frames, nor after a poll that found nothing, if the data is there.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_idle() {
    let recorder = Recorder::new();
    let parts = || Timed::new([(0, "a"), (0, "b"), (610, "c"), (620, "d")]);
    let mut body = body_of(attempts!(recorder).into_inner(), server(secs(0), parts)).await;
    sleep(secs(300)).await;
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "a");
    sleep(secs(300)).await;
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "b");
    // It polls once, and finds nothing.
    assert!(futures::FutureExt::now_or_never(body.frame()).is_none());
    sleep(secs(300)).await;
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "c");
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "d");
    assert!(next(&mut body).await.is_none());
    assert_eq!(end(&recorder), Some(("succeeded".to_owned(), "complete")));
    assert_eq!(recorder.count("timed_out"), 0);
}

/// R85 Each wait has the whole limit, from the poll that found nothing: also after a wait that began
/// earlier than the timer knows.
#[tokio::test(start_paused = true)]
async fn each_wait_has_the_whole_limit() {
    let limit = TimeoutLayer::http_attempt(secs(10)).idle(secs(15));
    // A wait of 10 s, a pause of 100 s, and a wait without end.
    let parts = || Timed::new([(10, "a"), (20, "b")]).hangs();
    let mut body = body_of(limit.clone(), server(secs(0), parts)).await;
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "a");
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "b");
    sleep(secs(100)).await;
    let start = Instant::now();
    next(&mut body).await.unwrap().unwrap_err();
    assert_eq!(start.elapsed(), secs(15));

    // A wait of 14 s is no debt of the next one.
    let parts = || Timed::new([(14, "a"), (28, "b"), (42, "c")]).hangs();
    let mut body = body_of(limit, server(secs(0), parts)).await;
    let start = Instant::now();
    for _ in 0..3 {
        next(&mut body).await.unwrap().unwrap();
    }
    next(&mut body).await.unwrap().unwrap_err();
    assert_eq!(start.elapsed(), secs(42 + 15));
}

/// R85 Ask 24: a response without a body is not idle, and nor is a server that thinks before its
/// head: that is the matter of the attempt's limit.
#[tokio::test(start_paused = true)]
async fn nothing_to_wait_for_is_not_idle() {
    let recorder = Recorder::new();
    let empty = Empty::<Bytes>::new;
    let kept = body_of(attempts!(recorder).into_inner(), server(secs(0), empty)).await;
    sleep(secs(100)).await;
    assert!(kept.collect().await.is_ok());
    assert_eq!(recorder.times().last().unwrap(), &("succeeded", secs(0)));
    assert_eq!(recorder.count("timed_out"), 0);

    let recorder = Recorder::new();
    let service = attempts!(recorder).service(server(secs(0), || Timed::new([]).hangs()));
    let mut head = get();
    *head.method_mut() = Method::HEAD;
    let _kept = service.oneshot(head).await.unwrap();
    assert_eq!(end(&recorder), Some(("succeeded".to_owned(), "complete")));

    let limit = TimeoutLayer::http_attempt(secs(100)).idle(secs(1));
    let thinks = server(secs(99), || Timed::new([(0, "page")]));
    assert_eq!(read(body_of(limit, thinks).await).await.unwrap(), "page");
}

/// R85 Limits at the edges: zero fails the first wait, and `Duration::MAX` none. A call without a
/// limit of its own keeps its idle limit.
#[tokio::test(start_paused = true)]
async fn zero_and_max() {
    let ready_then_late = || Timed::new([(0, "a"), (7 * 24 * 3600, "b")]);
    let limit = TimeoutLayer::http_attempt(secs(10)).idle(Duration::ZERO);
    let mut body = body_of(limit, server(secs(0), ready_then_late)).await;
    sleep(secs(1)).await;
    // The timer of the test's body needs a poll to be ready.
    let first = next(&mut body).await.unwrap();
    let second = match first {
        Ok(first) => {
            assert_eq!(first, "a");
            next(&mut body).await.unwrap()
        }
        Err(error) => Err(error),
    };
    assert_eq!(elapsed(&second.unwrap_err()).limit(), Duration::ZERO);

    let limit = TimeoutLayer::http_attempt(secs(10)).idle(Duration::MAX);
    let body = body_of(limit, server(secs(0), ready_then_late)).await;
    assert_eq!(read(body).await.unwrap(), "ab");

    let limit = TimeoutLayer::http_attempt(Duration::MAX);
    let body = body_of(limit.clone(), server(secs(0), ready_then_late)).await;
    assert_eq!(read(body).await.unwrap(), "ab");
    let limit = limit.idle(secs(15)).named("origin");
    let body = body_of(limit, server(secs(1000), ready_then_late)).await;
    let error = read(body).await.unwrap_err();
    assert_eq!(elapsed(&error).name(), Some("origin"));
    assert_eq!(elapsed(&error).limit(), secs(15));
}

/// R85 Retry reads the rest of an answer that it does not return. If it stalls, that is no failure
/// of the job.
#[tokio::test(start_paused = true)]
async fn a_discarded_body_may_stall() {
    let recorder = Recorder::new();
    let calls = Arc::new(AtomicU32::new(0));
    let service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(RetryLayer::http().base_delay(secs(20)).jitter(Jitter::None))
        .layer(TimeoutLayer::http_attempt(secs(10)))
        .service(service_fn(move |_: Request<String>| {
            let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
            let response = match is_first {
                true => Response::builder()
                    .status(503)
                    .body(Timed::new([(0, "sorry")]).hangs()),
                false => Response::builder().body(Timed::new([(0, "page")])),
            };
            async move { Ok::<_, BoxError>(response.unwrap()) }
        }));
    let body = service.oneshot(get()).await.unwrap().into_body();
    assert_eq!(read(body).await.unwrap(), "page");
    assert_eq!(recorder.count("timed_out"), 0, "{recorder}");
    assert_eq!(recorder.times().last().unwrap(), &("succeeded", secs(20)));
}

/// R84 The error names the attempt whose body stalled.
#[tokio::test(start_paused = true)]
async fn the_error_names_the_attempt() {
    let recorder = Recorder::new();
    let calls = Arc::new(AtomicU32::new(0));
    let service = attempts!(recorder).service(service_fn(move |_: Request<String>| {
        let status = match calls.fetch_add(1, Ordering::Relaxed) {
            0 => 503,
            _ => 200,
        };
        let response = Response::builder().status(status);
        let response = response.body(Timed::new([(0, "a")]).hangs()).unwrap();
        async move { Ok::<_, BoxError>(response) }
    }));
    let error = read(service.oneshot(get()).await.unwrap().into_body())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "idle time limit of 15s expired in attempt 2"
    );
    assert_eq!(recorder.count("retrying"), 1);
    assert_eq!(recorder.count("timed_out"), 1);
}
