//! Which results fail the job, and what the log says of them.

use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    CircuitBreakerLayer, EventKind, FailureCause, LogLayer, Outcome, RetryLayer, TimeoutLayer,
    retry::Decision,
};
use tower_keep_test::Recorder;
use tower_keep_tests::*;

use super::{Response, answer, failure, get, server, statuses};

/// R43 R81 A status from 500 to 599 fails the job, any other status does not.
#[tokio::test(start_paused = true)]
async fn server_errors_fail_the_job() {
    for status in [
        100, 200, 204, 304, 400, 404, 429, 499, 500, 501, 503, 599, 600, 999,
    ] {
        let recorder = Recorder::new();
        let service = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .service(server().answer(answer(status)).strict());
        let response = service.oneshot(get("http://example.com")).await.unwrap();
        assert_eq!(response.status(), status, "the caller gets it either way");
        let expected = matches!(status, 500..=599).then(|| format!("the server answered {status}"));
        assert_eq!(failure(&recorder), expected);
        let ending = *statuses(&recorder, recorder.job()).last().unwrap();
        assert_eq!(ending.1, status);
    }
}

/// R43 R81 The record of a failed exchange is an ERROR with the status.
#[tokio::test(start_paused = true)]
async fn a_server_error_is_logged_as_an_error() {
    let (lines, _guard) = Lines::listen();
    let service = ServiceBuilder::new()
        .layer(LogLayer::http())
        .service(server().answer(answer(503)).strict());
    service.oneshot(get("http://example.com")).await.unwrap();
    assert_eq!(lines.records().last().unwrap(), "ERROR failed");
    let fields = lines.fields().pop().unwrap();
    for expected in [
        "http.response.status_code=503 ",
        r#"error="the server answered 503""#,
    ] {
        assert!(fields.contains(expected), "{fields}");
    }
}

/// R43 R81 An error of the transport fails the job, without a status.
#[tokio::test(start_paused = true)]
async fn a_transport_error_fails_the_job() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .service(server().error("connection refused").strict());
    let error = service.oneshot(get("http://example.com")).await;
    assert_eq!(error.unwrap_err(), "connection refused");
    assert_eq!(failure(&recorder).as_deref(), Some("connection refused"));
    assert_eq!(
        statuses(&recorder, recorder.job()),
        [("dispatched", 0), ("started", 0), ("failed", 0)]
    );
}

/// R43 R70 A 429 on which a Retry layer inside gave up fails the job: the log leaves it to that
/// layer. Without Retry, it is a success.
#[tokio::test(start_paused = true)]
async fn a_response_that_the_log_ignores_is_judged_inside() {
    let busy = |result: &Result<Response, &'static str>, _: &tower_keep::retry::Attempt<'_>| {
        match result {
            Ok(response) if response.status() == 429 => Decision::Retry,
            _ => Decision::Stop,
        }
    };
    for (statuses, fails) in [
        (&[429, 429][..], true),
        (&[429, 404], false),
        (&[404], false),
        (&[429, 200], false),
    ] {
        let recorder = Recorder::new();
        let mut inner = server();
        for status in statuses {
            inner = inner.answer(answer(*status));
        }
        let service = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(RetryLayer::new().max_retries(1).decide_with(busy))
            .service(inner.strict());
        service.oneshot(get("http://example.com")).await.unwrap();
        assert_eq!(failure(&recorder).is_some(), fails, "{statuses:?}");
    }
}

/// R43 A classifier's `Ignored` leaves the verdict of the layers inside, for every kind of response.
/// `Success` overrules it.
#[tokio::test(start_paused = true)]
async fn ignored_leaves_the_verdict() {
    for (class, fails) in [(Outcome::Ignored, true), (Outcome::Success, false)] {
        let recorder = Recorder::new();
        let service = ServiceBuilder::new()
            .layer(LogLayer::to(recorder.clone()).classify(move |_: &Result<u32, &str>| class))
            .layer(LogLayer::to(|_: &tower_keep::Event| {}).classify(
                |result: &Result<u32, &str>| match result {
                    Ok(500) => Outcome::Failure,
                    _ => Outcome::Success,
                },
            ))
            .service(
                tower_keep_test::Scripted::<u32, u32>::new()
                    .answer(500)
                    .strict(),
            );
        service.oneshot(1).await.unwrap();
        assert_eq!(failure(&recorder).is_some(), fails, "{class:?}");
    }
}

/// R43 `classify` replaces the classification and keeps the fields.
#[tokio::test(start_paused = true)]
async fn classify_keeps_the_fields() {
    let recorder = Recorder::new();
    let never = |_: &Result<Response, &'static str>| Outcome::Success;
    let service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()).classify(never))
        .service(server().answer(answer(500)).strict());
    service.oneshot(get("http://example.com")).await.unwrap();
    assert_eq!(failure(&recorder), None);
    let ending = *statuses(&recorder, recorder.job()).last().unwrap();
    assert_eq!(ending, ("succeeded", 500));
}

/// R43 R76 A response that a layer makes is not the server's: it has no status in the log, and the
/// error names the layer's reason.
#[tokio::test(start_paused = true)]
async fn a_response_of_a_layer_is_not_the_servers() {
    let recorder = Recorder::new();
    let log = LogLayer::http_to(recorder.clone());
    let service = ServiceBuilder::new()
        .layer(log.clone())
        .layer(TimeoutLayer::new(secs(1)).respond_with(|_| answer(504)))
        .service(server().never().strict());
    let response = service.oneshot(get("http://example.com")).await.unwrap();
    assert_eq!(response.status(), 504);
    let names = [
        ("dispatched", 0),
        ("started", 0),
        ("timed_out", 0),
        ("failed", 0),
    ];
    assert_eq!(statuses(&recorder, recorder.job()), names);
    let error = failure(&recorder).unwrap();
    assert!(error.contains("time limit"), "{error}");

    recorder.clear();
    let breaker = CircuitBreakerLayer::new().respond_with(|_| answer(503));
    breaker.handle().force_open();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(breaker)
        .service(server().strict());
    let response = service.oneshot(get("http://example.com")).await.unwrap();
    assert_eq!(response.status(), 503);
    let names = [("dispatched", 0), ("failed", 0)];
    assert_eq!(statuses(&recorder, recorder.job()), names);
    let Some(EventKind::Failed { cause, error }) = recorder.terminal(recorder.job()) else {
        panic!("{:?}", recorder.events())
    };
    assert_eq!(cause, FailureCause::CircuitOpen);
    assert!(error.contains("open"), "{error}");
}
