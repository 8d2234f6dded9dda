//! When the next attempt begins: asks 5 to 7 and 19.

use http::{HeaderMap, Method, StatusCode};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, EventKind, GiveUpReason, LogLayer, Pipeline, RetryLayer, TimeoutLayer,
    http::{Hint, RetryHint, StandardHints},
    retry::Jitter,
};
use tower_keep_test::{
    Recorder,
    http::{Origin, Reply},
};
use tower_keep_tests::*;

use super::{VERSIONS, arrivals, get, in_memory, request};

fn given_up(recorder: &Recorder) -> Vec<GiveUpReason> {
    let reason = |kind| match kind {
        EventKind::RetryGivenUp { reason, .. } => Some(reason),
        _ => None,
    };
    recorder.kinds().into_iter().filter_map(reason).collect()
}

/// R82 Ask 5: a `Retry-After` above the cap ends the retries at once. No attempt comes earlier than
/// the server asked, and the caller gets the answer with its header.
#[tokio::test(start_paused = true)]
async fn a_long_retry_after_does_not_mean_sooner() {
    for version in VERSIONS {
        let busy = Reply::status(429).header("retry-after", "3600");
        let origin = Origin::in_memory().then(busy).repeat_last();
        let recorder = Recorder::new();
        let (lines, _guard) = Lines::listen();
        let began = tokio::time::Instant::now();
        let api = ServiceBuilder::new()
            .layer(LogLayer::http())
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(RetryLayer::http())
            .service(in_memory(&origin, version));
        let response = api.oneshot(get(&origin)).await.unwrap();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "3600");
        assert_eq!(began.elapsed(), secs(0));
        assert_eq!(arrivals(&origin, version), [secs(0)]);
        assert_eq!(given_up(&recorder), [GiveUpReason::AskedTooLong]);
        let reasons = format!("{:?}", lines.fields());
        assert!(
            reasons.contains("the service asked for too long a wait"),
            "{reasons}"
        );
    }
}

/// R82 Ask 5: up to the cap, no attempt comes earlier than asked, with jitter too.
#[tokio::test(start_paused = true)]
async fn no_attempt_comes_earlier_than_asked() {
    for version in VERSIONS {
        for (header, retry) in [
            ("7", RetryLayer::http()),
            ("60", RetryLayer::http()),
            ("3600", RetryLayer::http().max_requested_delay(secs(3600))),
        ] {
            let origin = Origin::in_memory()
                .then(Reply::status(503).header("retry-after", header))
                .then(Reply::status(200));
            let api = retry.layer(in_memory(&origin, version));
            assert_eq!(api.oneshot(get(&origin)).await.unwrap().status(), 200);
            let asked = secs(header.parse().unwrap());
            let waited = arrivals(&origin, version)[1];
            assert!(
                asked <= waited && waited <= asked + asked / 10,
                "{waited:?}"
            );
        }
    }
}

/// R82 Ask 6: a wait that would pass the deadline is not begun. The caller gets the answer at once.
#[tokio::test(start_paused = true)]
async fn no_wait_passes_the_deadline() {
    for version in VERSIONS {
        let origin = Origin::in_memory().then(
            Reply::status(503)
                .header("retry-after", "30")
                .after(secs(1)),
        );
        let recorder = Recorder::new();
        let api = Pipeline::http_client()
            .log(LogLayer::http_to(recorder.clone()))
            .timeout(TimeoutLayer::new(secs(20)))
            .build()
            .unwrap();
        let began = tokio::time::Instant::now();
        let api = api.layer(in_memory(&origin, version));
        assert_eq!(api.oneshot(get(&origin)).await.unwrap().status(), 503);
        assert_eq!(began.elapsed(), secs(1));
        assert_eq!(given_up(&recorder), [GiveUpReason::Deadline]);
        origin.assert_finished();
    }
}

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// As in the documentation of `RetryHint`.
fn github(status: StatusCode, headers: &HeaderMap) -> Option<Hint> {
    if let Some(hint) = StandardHints.hint(status, headers) {
        return Some(hint);
    }
    let is_limit = status == StatusCode::FORBIDDEN || status == StatusCode::TOO_MANY_REQUESTS;
    let is_used_up = headers.get("x-ratelimit-remaining")? == "0";
    let reset = headers.get("x-ratelimit-reset")?.to_str().ok()?;
    (is_limit && is_used_up).then_some(Hint::at_unix_seconds(reset.parse().ok()?))
}

/// R82 R81 Ask 7: one client waits for GitHub's limits, which come as 403, and repeats lost
/// connections. A missing permission is a 403 too, and is not repeated.
#[tokio::test(start_paused = true)]
async fn githubs_limits_and_lost_connections() {
    for version in VERSIONS {
        let origin = Origin::in_memory()
            .then(Reply::status(403).header("retry-after", "60"))
            .then(Reply::close())
            .then(
                Reply::status(403)
                    .header("date", DATE)
                    .header("x-ratelimit-remaining", "0")
                    .header("x-ratelimit-reset", "784111807"),
            )
            .then(Reply::status(200))
            .then(Reply::status(403).header("x-ratelimit-remaining", "4999"));
        let retry = RetryLayer::http()
            .base_delay(secs(1))
            .jitter(Jitter::None)
            .hints(github);
        let api = retry.layer(in_memory(&origin, version));
        assert_eq!(
            api.clone().oneshot(get(&origin)).await.unwrap().status(),
            200
        );
        let waits = [secs(0), secs(60), secs(62), secs(92)];
        assert_eq!(arrivals(&origin, version), waits);
        assert_eq!(api.oneshot(get(&origin)).await.unwrap().status(), 403);
        origin.assert_finished();
    }
}

/// A `google.rpc.Status` with a `RetryInfo` of 1.5 s, by protobuf's own encoder.
const RETRY_INFO: &str = "CA4SBGJ1c3kaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIK\
                          CggIARCAyrXuAQ";

/// R82 Ask 19: gRPC's `RetryInfo` and `grpc-retry-pushback-ms` are honoured, with fractions of a
/// second. A negative pushback forbids the retry.
#[tokio::test(start_paused = true)]
async fn grpc_says_when() -> Result<(), BoxError> {
    let grpc = |status: &str| {
        Reply::status(200)
            .header("content-type", "application/grpc")
            .header("grpc-status", status)
    };
    for version in VERSIONS {
        let origin = Origin::in_memory()
            .then(grpc("14").header("grpc-retry-pushback-ms", "250"))
            .then(grpc("8").header("grpc-status-details-bin", RETRY_INFO))
            .then(grpc("0"))
            .then(grpc("14").header("grpc-retry-pushback-ms", "-1"))
            // Without a hint there is no telling when the resource is there again.
            .then(grpc("8"));
        let recorder = Recorder::new();
        let api = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(RetryLayer::http().jitter(Jitter::None).retry_every_method())
            .service(in_memory(&origin, version));
        let export = || {
            let mut request = request(Method::POST, &origin, "/Export");
            let value = "application/grpc".parse().unwrap();
            request.headers_mut().insert("content-type", value);
            request
        };
        let response = api.clone().oneshot(export()).await?;
        assert_eq!(response.headers()["grpc-status"], "0");
        assert_eq!(arrivals(&origin, version), [ms(0), ms(250), ms(1750)]);

        let response = api.clone().oneshot(export()).await?;
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(given_up(&recorder), [GiveUpReason::Forbidden]);
        let response = api.oneshot(export()).await?;
        assert_eq!(response.headers()["grpc-status"], "8");
        origin.assert_finished();
    }
    Ok(())
}
