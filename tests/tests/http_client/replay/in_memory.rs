//! Over a service in memory, with paused time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, GiveUpReason, ReplayLayer, RetryLayer, find,
    http::replay::{BodyReplay, NotReplayable, ReplayBody, Superseded},
    retry::{Attempt, Decision},
};

use super::{Body, frames, whole, written};

/// A server in memory. An argument says whether it reads the body.
fn fails_first<B>(
    reads: bool,
    calls: Arc<AtomicUsize>,
) -> impl Service<Request<ReplayBody<B>>, Response = Bytes, Error = BoxError, Future: Send> + Clone
where
    B: http_body::Body<Error = BoxError> + Send + 'static,
{
    service_fn(move |request: Request<ReplayBody<B>>| {
        let is_first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let body = request.into_body();
            if is_first && !reads {
                return Err("connection refused".into());
            }
            let body = body.collect().await?.to_bytes();
            match is_first {
                true => Err("rejected".into()),
                false => Ok(body),
            }
        }
    })
}

/// R83 A body of any size is sent by the second attempt, if the first could not connect.
#[tokio::test(start_paused = true)]
async fn a_body_that_was_not_begun_can_be_sent() {
    for (reads, attempts) in [(false, 2), (true, 1)] {
        let calls = Arc::new(AtomicUsize::new(0));
        let client = ServiceBuilder::new()
            .layer(ReplayLayer::new().max_body(3))
            .layer(RetryLayer::new().decide_with_request(
                // A policy for any body.
                |request: &Request<ReplayBody<Body>>| {
                    request.extensions().get::<BodyReplay>().cloned()
                },
                |body: &Option<BodyReplay>, outcome: &Result<Bytes, BoxError>, _: &Attempt<'_>| {
                    let replayable = body.as_ref().is_none_or(BodyReplay::is_replayable);
                    match outcome.is_err() && replayable {
                        true => Decision::Retry,
                        false => Decision::Stop,
                    }
                },
            ))
            .service(fails_first::<Body>(reads, Arc::clone(&calls)));
        let outcome = client.oneshot(Request::new(whole("large"))).await;
        assert_eq!(outcome.is_ok(), attempts == 2);
        assert_eq!(calls.load(Ordering::SeqCst), attempts);
    }
}

/// R83 A retry that does not ask gets a typed error, and the server no part of the body.
#[tokio::test(start_paused = true)]
async fn a_retry_that_does_not_ask_gets_a_typed_error() {
    let calls = Arc::new(AtomicUsize::new(0));
    let client = ServiceBuilder::new()
        .layer(ReplayLayer::new().max_body(3))
        .layer(RetryLayer::new().max_retries(1).on_give_up(
            |outcome: Result<Bytes, BoxError>, why| {
                assert_eq!(why.reason(), GiveUpReason::Exhausted);
                outcome
            },
        ))
        .service(fails_first::<Body>(true, Arc::clone(&calls)));
    let error = client
        .oneshot(Request::new(whole("large")))
        .await
        .unwrap_err();
    assert!(find::<NotReplayable>(&*error).is_some());
    assert!(find::<Superseded>(&*error).is_none());
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

/// R83 Only a body that may be larger than the cap has the mark in the extensions.
#[tokio::test(start_paused = true)]
async fn only_a_body_that_may_be_larger_is_marked() {
    let marked = ServiceBuilder::new()
        .layer(ReplayLayer::new().max_body(4))
        .service(service_fn(
            |request: Request<ReplayBody<Body>>| async move {
                let mark = request.extensions().get::<BodyReplay>().cloned();
                let body = request.into_body();
                assert!(mark.as_ref().is_none_or(BodyReplay::is_replayable));
                body.collect().await.unwrap();
                Ok::<_, BoxError>(mark.map(|mark| mark.is_replayable()))
            },
        ));
    for (body, expected) in [
        (whole("four"), None),
        (whole("fives"), Some(false)),
        (frames([Frame::data("four".into())]), Some(true)),
        (frames([Frame::data("fives".into())]), Some(false)),
    ] {
        let mark = marked.clone().oneshot(Request::new(body)).await.unwrap();
        assert_eq!(mark, expected);
    }
}

/// R83 With a higher cap, the retry for HTTP repeats larger bodies too, of known and unknown length.
#[tokio::test(start_paused = true)]
async fn a_higher_cap_holds_for_the_retry_for_http() {
    for (max_body, attempts) in [(100_000, 2), (99_999, 1)] {
        let large = || Bytes::from(vec![b'x'; 100_000]);
        for body in [whole(large()), frames([Frame::data(large())])] {
            let calls = AtomicUsize::new(0);
            let calls = &calls;
            let server = service_fn(move |request: Request<ReplayBody<Body>>| async move {
                let is_first = calls.fetch_add(1, Ordering::SeqCst) == 0;
                let body = request.into_body().collect().await?.to_bytes();
                assert_eq!(body.len(), 100_000);
                let mut response = Response::new(Body::default());
                if is_first {
                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                }
                Ok::<_, BoxError>(response)
            });
            let client = ServiceBuilder::new()
                .layer(ReplayLayer::new().max_body(max_body))
                .layer(RetryLayer::http())
                .service(server);
            let request = Request::put("https://example.com/").body(body).unwrap();
            let response = client.oneshot(request).await.unwrap();
            assert_eq!(response.status().is_success(), attempts == 2);
            assert_eq!(calls.load(Ordering::SeqCst), attempts);
        }
    }
}

/// R83 An attempt that its limit ends leaves the body to the next one.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_times_out_leaves_the_body() {
    let calls = AtomicUsize::new(0);
    let calls = &calls;
    let server = service_fn(move |request: Request<ReplayBody<Body>>| async move {
        let mut body = request.into_body();
        if calls.fetch_add(1, Ordering::SeqCst) == 0 {
            body.frame().await.unwrap()?;
            std::future::pending::<()>().await;
        }
        Ok::<_, BoxError>(body.collect().await?.to_bytes())
    });
    let client = ServiceBuilder::new()
        .layer(ReplayLayer::new())
        .layer(RetryLayer::new())
        .layer(tower_keep::TimeoutLayer::new(Duration::from_secs(1)).per_attempt())
        .service(server);
    let (writer, body) = written();
    for part in ["one ", "two"] {
        writer.send(part).unwrap();
    }
    drop(writer);
    assert_eq!(client.oneshot(Request::new(body)).await.unwrap(), "one two");
}
