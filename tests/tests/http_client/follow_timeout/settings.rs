//! The settings of a limit that includes the body.

use std::time::Duration;

use http::{Request, Response};
use tokio::time::{Instant, sleep};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, Job, LogLayer, Pipeline, TimeoutLayer, pipeline::Identity, timeout::Elapsed,
};
use tower_keep_test::{Recorder, secs};

use super::{super::follow::end, Timed, body_of, elapsed, get, read, server};

#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("too slow")]
    TooSlow(#[source] Elapsed),
    #[error(transparent)]
    Other(#[from] BoxError),
}

/// R84 The limit of the request counts for its body, too; without one, that of the layer.
#[tokio::test(start_paused = true)]
async fn a_limit_from_the_request() {
    let of = |request: &Request<String>| {
        let limit = request.headers().get("x-limit")?.to_str().ok()?;
        Some(match limit {
            "none" => Duration::MAX,
            limit => secs(limit.parse().ok()?),
        })
    };
    for (asked, expected) in [
        (None, Some(60)),
        (Some("20"), Some(20)),
        (Some("none"), None),
    ] {
        let mut request = get();
        if let Some(asked) = asked {
            request
                .headers_mut()
                .insert("x-limit", asked.parse().unwrap());
        }
        let start = Instant::now();
        let late = || Timed::new([(1000, "page")]);
        let service = ServiceBuilder::new()
            .layer(TimeoutLayer::http(secs(60)).limit_by(of))
            .service(server(secs(5), late));
        let read = read(service.oneshot(request).await.unwrap().into_body()).await;
        let limit = expected.map(secs);
        assert_eq!(
            read.as_ref().err().map(|error| elapsed(error).limit()),
            limit
        );
        assert_eq!(start.elapsed(), limit.unwrap_or(secs(1000)));
    }
    // For an attempt, the request's limit is also the default of the idle limit.
    for (idle, expected) in [(None, 20), (Some(secs(7)), 7)] {
        let mut request = get();
        request
            .headers_mut()
            .insert("x-limit", "20".parse().unwrap());
        let limit = TimeoutLayer::http_attempt(secs(60)).limit_by(of);
        let limit = match idle {
            None => limit,
            Some(idle) => limit.idle(idle),
        };
        let service = ServiceBuilder::new()
            .layer(limit)
            .service(server(secs(5), || Timed::new([]).hangs()));
        let error = read(service.oneshot(request).await.unwrap().into_body()).await;
        assert_eq!(elapsed(&error.unwrap_err()).limit(), secs(expected));
    }
}

/// R84 The name of the limit is in the error, whichever part of the response is late.
#[tokio::test(start_paused = true)]
async fn a_named_limit() {
    let hangs = || Timed::new([]).hangs();
    let overall = TimeoutLayer::http(secs(60)).named("origin");
    let error = read(body_of(overall, server(secs(0), hangs)).await)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "overall time limit \"origin\" of 60s expired"
    );
    let attempt = TimeoutLayer::http_attempt(secs(10)).named("origin");
    let error = read(body_of(attempt, server(secs(0), hangs)).await)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "idle time limit \"origin\" of 10s expired"
    );
}

/// R84 Your own error or response replaces the error before the head. The body has the typed error.
#[tokio::test(start_paused = true)]
async fn your_own_error_or_response() {
    let fails = || TimeoutLayer::http(secs(60)).fail_with(AppError::TooSlow);
    let late = ServiceBuilder::new()
        .layer(fails())
        .service(server(secs(61), || Timed::new([])));
    let error = late.oneshot(get()).await.map(drop).unwrap_err();
    assert!(matches!(error, AppError::TooSlow(_)), "{error}");
    let stalls = ServiceBuilder::new()
        .layer(fails())
        .service(server(secs(1), || Timed::new([]).hangs()));
    let body = stalls.oneshot(get()).await.unwrap().into_body();
    elapsed(&read(body).await.unwrap_err());

    // The response of the layer is not the server's: its body has no limit, and the job is over.
    let recorder = Recorder::new();
    let responds = || {
        TimeoutLayer::http(secs(60)).respond_with(|_| {
            let body = Timed::new([(1000, "too slow")]);
            Response::builder().status(504).body(body).unwrap()
        })
    };
    let late = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(responds())
        .service(server(secs(61), || Timed::new([])));
    let response = late.oneshot(get()).await.unwrap();
    assert_eq!(response.status(), 504);
    assert!(end(&recorder).unwrap().0.contains("time limit"));
    assert_eq!(read(response.into_body()).await.unwrap(), "too slow");
    let stalls = ServiceBuilder::new()
        .layer(responds())
        .service(server(secs(1), || Timed::new([]).hangs()));
    let body = stalls.oneshot(get()).await.unwrap().into_body();
    elapsed(&read(body).await.unwrap_err());
}

/// R84 A grace period is for the work before the head. The body is dropped at the limit.
#[tokio::test(start_paused = true)]
async fn a_grace_period_ends_with_the_head() {
    let limit = || TimeoutLayer::http(secs(60)).grace(secs(5));
    let recorder = Recorder::new();
    let start = Instant::now();
    let service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(limit())
        .service(service_fn(|_: Request<String>| async {
            Job::current().cancelled().await;
            sleep(secs(2)).await;
            Ok::<_, BoxError>(Response::new(Timed::new([])))
        }));
    elapsed(&service.oneshot(get()).await.map(drop).unwrap_err());
    assert_eq!(start.elapsed(), secs(62));
    let start = Instant::now();
    let body = body_of(limit(), server(secs(1), || Timed::new([]).hangs())).await;
    elapsed(&read(body).await.unwrap_err());
    assert_eq!(start.elapsed(), secs(60));
}

/// R84 `Debug` shows the limits.
#[test]
fn debug_shows_the_limits() {
    let overall = format!("{:?}", TimeoutLayer::http(secs(60)));
    assert!(
        overall.contains("limit: Some(60s)") && overall.contains("UntilEnd"),
        "{overall}"
    );
    let attempt = TimeoutLayer::http_attempt(secs(10)).idle(secs(15));
    let attempt = format!("{attempt:?}");
    assert!(attempt.contains("limit: Some(10s)"), "{attempt}");
    assert!(attempt.contains("idle: Some(15s)"), "{attempt}");
}

/// R84 A pipeline takes both limits, checks them against each other, and keeps them in their slots.
#[test]
fn a_pipeline_checks_the_limits() {
    let client = || Pipeline::http_client();
    client()
        .timeout(TimeoutLayer::http(secs(600)))
        .attempt_timeout(TimeoutLayer::http_attempt(secs(30)).idle(secs(60)))
        .build()
        .unwrap();
    let longer = client().attempt_timeout(TimeoutLayer::http_attempt(secs(61)));
    let error = longer.build().unwrap_err();
    assert_eq!(error.settings(), ("attempt_timeout", "timeout"));
    // A wait of the body never expires if the whole response has less time.
    let idle = |limit| TimeoutLayer::http_attempt(secs(10)).idle(limit);
    let longer = client().attempt_timeout(idle(secs(61)));
    let error = longer.build().unwrap_err();
    assert_eq!(error.settings(), ("attempt_timeout.idle", "timeout"));
    assert_eq!(
        error.to_string(),
        "attempt_timeout.idle (61s) is longer than timeout (60s) and could never expire: set \
         attempt_timeout.idle to at most 60s, or timeout to at least 61s"
    );
    let fits = |timeout: TimeoutLayer<_, _, _, _>, limit| {
        client()
            .timeout(timeout)
            .attempt_timeout(idle(limit))
            .build()
            .is_ok()
    };
    assert!(fits(TimeoutLayer::http(secs(60)), secs(60)));
    // Without a limit there is nothing to compare.
    assert!(fits(TimeoutLayer::http(secs(60)), Duration::MAX));
    assert!(fits(TimeoutLayer::http(Duration::MAX), secs(61)));
    // The name of the overall limit and a grace period change nothing.
    assert!(!fits(
        TimeoutLayer::http(secs(60)).named("all").grace(secs(5)),
        secs(61)
    ));
    // The layer's own limit is checked, not that of a request.
    let by = |_: &Request<String>| Some(secs(600));
    let asked = client().timeout(TimeoutLayer::http(secs(60)).limit_by(by));
    let error = asked.attempt_timeout(idle(secs(61))).build().unwrap_err();
    assert_eq!(error.settings(), ("attempt_timeout.idle", "timeout"));
    // An overall limit of the head, and an empty slot, leave the body to the idle limit.
    let head_only = client().timeout(TimeoutLayer::new(secs(60)));
    assert!(head_only.attempt_timeout(idle(secs(61))).build().is_ok());
    let empty = client().timeout(Identity::new());
    assert!(empty.attempt_timeout(idle(secs(61))).build().is_ok());
    let swapped = client().attempt_timeout(TimeoutLayer::http(secs(10)));
    assert_eq!(
        swapped.build().unwrap_err().settings(),
        ("attempt_timeout", "timeout")
    );
    let swapped = client().timeout(TimeoutLayer::http_attempt(secs(10)));
    assert_eq!(
        swapped.build().unwrap_err().settings(),
        ("timeout", "attempt_timeout")
    );
    let waits = client()
        .timeout(TimeoutLayer::http(secs(1)))
        .attempt_timeout(TimeoutLayer::none().per_attempt());
    let waits = waits.retry(tower_keep::RetryLayer::http().base_delay(secs(5)));
    assert_eq!(waits.build().unwrap_err().settings(), ("retry", "timeout"));
}
