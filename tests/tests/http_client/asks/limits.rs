//! Time limits: asks 11, 12, 21, 25 and 26.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, header::ACCEPT};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, EventKind, GiveUpReason, Job, JobLayer, LogLayer, Pipeline, Rejection, Report,
    RetryLayer, TimeoutLayer, find,
    retry::Jitter,
    timeout::{Elapsed, LimitScope},
};
use tower_keep_test::{
    Recorder,
    http::{Origin, Reply},
};
use tower_keep_tests::*;

use super::{VERSIONS, arrivals, get, in_memory, request};

/// R25b R80 Ask 11: the time of all attempts and waits together has a cap. It ends no attempt, and
/// no wait is begun in vain.
#[tokio::test(start_paused = true)]
async fn all_attempts_together_have_a_cap() {
    for version in VERSIONS {
        let origin = Origin::in_memory()
            .then(Reply::status(503).after(secs(2)))
            .repeat_last();
        let recorder = Recorder::new();
        let api = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(
                RetryLayer::http()
                    .max_retries(100)
                    .base_delay(secs(1))
                    .max_delay(secs(1))
                    .jitter(Jitter::None)
                    .max_total_time(secs(9)),
            )
            .service(in_memory(&origin, version));
        let began = tokio::time::Instant::now();
        assert_eq!(api.oneshot(get(&origin)).await.unwrap().status(), 503);
        assert_eq!(began.elapsed(), secs(8));
        assert_eq!(arrivals(&origin, version), [secs(0), secs(3), secs(6)]);
        let kinds = recorder.kinds();
        let given_up = kinds.iter().find_map(|kind| match kind {
            EventKind::RetryGivenUp { reason, .. } => Some(*reason),
            _ => None,
        });
        assert_eq!(given_up, Some(GiveUpReason::TotalTime));
    }
}

/// R15 R80 Ask 12: a retry alone would wait for a hanging server for ever. The ready-made stack has
/// a limit for each attempt inside, and so has an error to retry.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_retried() {
    for version in VERSIONS {
        let origin = Origin::in_memory()
            .then(Reply::hang())
            .then(Reply::status(200).body("page"));
        let (lines, _guard) = Lines::listen();
        let api = Pipeline::http_client().build().unwrap();
        let api = api.layer(in_memory(&origin, version));
        let response = api.oneshot(get(&origin)).await.unwrap();
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            "page"
        );
        let second = arrivals(&origin, version)[1];
        assert!(secs(10) <= second && second <= ms(10_100), "{second:?}");
        assert!(origin.received()[0].abandoned.is_some());
        let fields = format!("{:?}", lines.fields());
        assert!(
            fields.contains("attempt time limit of 10s expired"),
            "{fields}"
        );

        let alone = RetryLayer::http().layer(in_memory(&origin, version));
        origin.push(Reply::hang());
        let call = alone.oneshot(get(&origin));
        assert!(tokio::time::timeout(secs(3600), call).await.is_err());
    }
}

/// The limit of one request.
#[derive(Clone, Copy)]
struct Patience(Duration);

/// R15 Ask 21: the limit comes from the request: its route, its extensions, its headers. A stream of
/// events has none.
#[tokio::test(start_paused = true)]
async fn limits_come_from_the_request() {
    for version in VERSIONS {
        let origin = Origin::in_memory().answer_with(|received| match received.path() {
            "/events" => Reply::status(200).after(secs(3600)),
            _ => Reply::hang(),
        });
        let limit = |request: &Request<Full<Bytes>>| {
            let accepts_events = request
                .headers()
                .get(ACCEPT)
                .is_some_and(|accept| accept == "text/event-stream");
            match request.uri().path() {
                _ if accepts_events => Some(Duration::MAX),
                "/reports" => Some(secs(120)),
                _ => request.extensions().get().map(|Patience(limit)| *limit),
            }
        };
        let api = TimeoutLayer::new(secs(10)).limit_by(limit);
        let api = api.layer(in_memory(&origin, version));
        let took = async |request| {
            let began = tokio::time::Instant::now();
            let result = api.clone().oneshot(request).await;
            (
                result
                    .map_err(|error| find::<Elapsed>(&*error).unwrap().limit())
                    .err(),
                began.elapsed(),
            )
        };
        assert_eq!(took(get(&origin)).await, (Some(secs(10)), secs(10)));
        let report = request(Method::GET, &origin, "/reports");
        assert_eq!(took(report).await, (Some(secs(120)), secs(120)));
        let mut hurried = get(&origin);
        hurried.extensions_mut().insert(Patience(secs(1)));
        assert_eq!(took(hurried).await, (Some(secs(1)), secs(1)));
        let mut events = request(Method::GET, &origin, "/events");
        events
            .headers_mut()
            .insert(ACCEPT, "text/event-stream".parse().unwrap());
        assert_eq!(took(events).await, (None, secs(3600)));
        assert_eq!(arrivals(&origin, version).len(), 4);
    }
}

/// R16 Ask 25: each progress notification of a tool's server resets the idle limit. The hard cap
/// stays.
#[tokio::test(start_paused = true)]
async fn progress_resets_the_idle_limit_and_not_the_cap() {
    const LINE: &str = "progress\n";
    for version in VERSIONS {
        // The time between two notifications, how long the call takes, and which limit ends it.
        for (every, expected, scope) in [
            (secs(4), secs(36), None),
            (secs(6), secs(5), Some(LimitScope::Idle)),
            (ms(4900), secs(40), Some(LimitScope::Overall)),
        ] {
            let body = LINE.repeat(10);
            let origin =
                Origin::in_memory().then(Reply::status(200).body(body).trickle(LINE.len(), every));
            let client = in_memory::<Full<Bytes>>(&origin, version);
            // Reads the notifications of a call to the end.
            let tool = service_fn(move |request: Request<Full<Bytes>>| {
                let client = client.clone();
                async move {
                    let mut body = client.oneshot(request).await?.into_body();
                    let mut done = 0;
                    while let Some(frame) = body.frame().await {
                        done += frame?.into_data().map_or(0, |data| data.len() as u64);
                        Job::current().progress(Report::bytes(done, None));
                    }
                    Ok::<_, BoxError>(Response::new(done))
                }
            });
            let api = ServiceBuilder::new()
                .layer(JobLayer::new("tool"))
                .layer(TimeoutLayer::new(secs(40)))
                .layer(TimeoutLayer::new(secs(5)).idle())
                .service(tool);
            let began = tokio::time::Instant::now();
            let result = api.oneshot(get(&origin)).await;
            assert_eq!(began.elapsed(), expected, "every {every:?}: {result:?}");
            let ended = result
                .err()
                .map(|error| find::<Elapsed>(&*error).unwrap().scope().clone());
            assert_eq!(ended, scope);
            assert_eq!(arrivals(&origin, version).len(), 1);
        }
    }
}

/// The limit of the attempt that begins.
#[derive(Clone, Copy)]
struct AttemptLimit(Duration);

/// R15 R25 Ask 26: the limit of an attempt grows with its number: 1, 2, 4 and 8 s.
#[tokio::test(start_paused = true)]
async fn the_limit_grows_with_the_attempt() {
    for version in VERSIONS {
        let origin = Origin::in_memory().then(Reply::hang()).repeat_last();
        let retry = RetryLayer::http()
            .base_delay(ms(100))
            .max_delay(ms(100))
            .jitter(Jitter::None)
            .before_attempt(|request: &mut Request<Full<Bytes>>, attempt| {
                let limit = secs(1 << (attempt.number() - 1));
                request.extensions_mut().insert(AttemptLimit(limit));
            });
        let api = ServiceBuilder::new()
            .layer(retry)
            .layer(
                TimeoutLayer::none()
                    .limit_by(|request: &Request<Full<Bytes>>| {
                        request.extensions().get().map(|AttemptLimit(limit)| *limit)
                    })
                    .per_attempt(),
            )
            .service(in_memory(&origin, version));
        let error = api.oneshot(get(&origin)).await.unwrap_err();
        assert_eq!(Rejection::of(&*error), Some(Rejection::TimedOut));
        assert_eq!(error.to_string(), "attempt time limit of 8s expired");
        assert_eq!(
            arrivals(&origin, version),
            [ms(0), ms(1100), ms(3200), ms(7300)]
        );
    }
}

/// R15 R25 Ask 26: the same with the number of the attempt, which the job knows.
#[tokio::test(start_paused = true)]
async fn the_job_knows_the_attempt_of_the_limit() {
    for version in VERSIONS {
        let origin = Origin::in_memory().then(Reply::hang()).repeat_last();
        let api = ServiceBuilder::new()
            .layer(LogLayer::http())
            .layer(
                RetryLayer::http()
                    .base_delay(ms(100))
                    .max_delay(ms(100))
                    .jitter(Jitter::None),
            )
            .layer(
                TimeoutLayer::none()
                    .limit_by(|_: &Request<Full<Bytes>>| {
                        Some(secs(1 << (Job::current().attempt() - 1)))
                    })
                    .per_attempt(),
            )
            .service(in_memory(&origin, version));
        let error = api.oneshot(get(&origin)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "attempt time limit of 8s expired in attempt 4"
        );
        assert_eq!(
            arrivals(&origin, version),
            [ms(0), ms(1100), ms(3200), ms(7300)]
        );
    }
}
