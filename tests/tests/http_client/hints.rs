//! Retries come back when the server asks: no earlier, and not at all if it forbids that.

use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    Dispatcher, GiveUpReason, Pipeline, RetryLayer, TimeoutLayer,
    http::{Hint, RetryHint, StandardHints},
    retry::{Attempt, Decision, Jitter},
};
use tower_keep_test::Scripted;
use tower_keep_tests::*;

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const IN_A_MINUTE: &str = "Sun, 06 Nov 1994 08:50:37 GMT";
/// A `google.rpc.Status` with a `RetryInfo` of 1.5 s, by protobuf's own encoder.
const RETRY_INFO: &str = "CA4SBGJ1c3kaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIK\
                          CggIARCAyrXuAQ";

type Fields = [(&'static str, &'static str)];
type Origin = Scripted<u32, Response<()>, BoxError>;

fn response(status: u16, fields: &Fields) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in fields {
        let value = value.parse().unwrap();
        response.headers_mut().append(*name, value);
    }
    response
}

/// Fails once with this response, then succeeds.
fn origin(status: u16, fields: &Fields) -> Origin {
    let failure = response(status, fields);
    Scripted::new().answer(failure).answer(response(200, &[]))
}

/// A policy that follows a hint. Without one, it repeats after a 503.
fn follow(
    hints: impl RetryHint + Clone,
) -> impl Fn(&Result<Response<()>, BoxError>, &Attempt<'_>) -> Decision + Clone {
    move |result, _| {
        let Ok(response) = result else {
            return Decision::Stop;
        };
        let (status, headers) = (response.status(), response.headers());
        if status.is_success() {
            return Decision::Stop;
        }
        match hints.hint(status, headers) {
            Some(hint) => hint
                .delay(headers)
                .map_or(Decision::Never, Decision::RetryAfter),
            None if status == StatusCode::SERVICE_UNAVAILABLE => Decision::Retry,
            None => Decision::Stop,
        }
    }
}

/// What a server says, and how long a retry waits. The backoff of these retries is 1 s.
fn table() -> [(&'static Fields, Duration); 12] {
    [
        (&[("retry-after", "7")], secs(7)),
        (&[("retry-after", IN_A_MINUTE), ("date", DATE)], secs(60)),
        (
            &[
                ("retry-after", "Sunday, 06-Nov-94 08:50:37 GMT"),
                ("date", DATE),
            ],
            secs(60),
        ),
        (
            &[("retry-after", "Sun Nov  6 08:50:37 1994"), ("date", DATE)],
            secs(60),
        ),
        (&[("retry-after", "5"), ("retry-after", "9")], secs(9)),
        (&[("grpc-retry-pushback-ms", "2500")], ms(2500)),
        (&[("grpc-status-details-bin", RETRY_INFO)], ms(1500)),
        // No time at all, a date in the past, and what is not valid: the backoff.
        (&[("retry-after", "0")], secs(1)),
        (&[("retry-after", DATE), ("date", IN_A_MINUTE)], secs(1)),
        (&[("retry-after", DATE)], secs(1)),
        (&[("retry-after", "1.5")], secs(1)),
        (&[("retry-after", "soon")], secs(1)),
    ]
}

/// R82 R68 Every form of a hint is waited for to the moment, by the layer alone and in a stack.
#[tokio::test(start_paused = true)]
async fn a_retry_waits_as_the_server_asks() {
    for (fields, expected) in table() {
        let retry = RetryLayer::new().decide_with(follow(StandardHints));

        let inner = origin(503, fields);
        let calls = inner.calls();
        let done = retry.layer(inner.strict()).oneshot(0).await.unwrap();
        assert_eq!(done.status(), StatusCode::OK);
        assert_eq!(calls.gaps(), [expected], "alone, {fields:?}");

        let inner = origin(503, fields);
        let calls = inner.calls();
        let stack = ServiceBuilder::new()
            .layer(quiet())
            .layer(TimeoutLayer::new(secs(100)))
            .layer(retry)
            .layer(TimeoutLayer::new(secs(10)).per_attempt())
            .service(inner.strict());
        stack.clone().oneshot(0).await.unwrap();
        assert_eq!(calls.gaps(), [expected], "in a stack, {fields:?}");
    }
}

/// R82 R68 The same in the pipeline, and under a dispatcher.
#[tokio::test(start_paused = true)]
async fn a_pipeline_waits_as_the_server_asks() {
    for (fields, expected) in table() {
        let inner = origin(503, fields);
        let calls = inner.calls();
        // By default a call may take no longer than the longest wait here.
        let pipeline = Pipeline::new()
            .timeout(TimeoutLayer::new(secs(100)))
            .retry(RetryLayer::new().decide_with(follow(StandardHints)))
            .build()
            .unwrap();
        let jobs = Dispatcher::new(pipeline.layer(inner));
        jobs.dispatch(0).await.unwrap();
        assert_eq!(calls.gaps(), [expected], "{fields:?}");
    }
}

/// R82 R68 Jitter only lengthens, by at most 10 %.
#[tokio::test(start_paused = true)]
async fn jitter_never_comes_earlier() {
    for _ in 0..50 {
        let inner = origin(503, &[("retry-after", IN_A_MINUTE), ("date", DATE)]);
        let calls = inner.calls();
        let retry = RetryLayer::new()
            .jitter(Jitter::Full)
            .decide_with(follow(StandardHints));
        retry.layer(inner.strict()).oneshot(0).await.unwrap();
        let gap = calls.gaps()[0];
        assert!(secs(60) <= gap && gap <= secs(66), "{gap:?}");
    }
}

/// R82 R68 A server that asks for a long wait, or for more than any clock has, is not called again.
/// The caller gets its response at once.
#[tokio::test(start_paused = true)]
async fn a_long_wait_is_given_up() {
    let long: [&Fields; 5] = [
        &[("retry-after", "61")],
        &[("retry-after", "99999999999999999999999999")],
        &[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")],
        &[("grpc-retry-pushback-ms", "60001")],
        &[("retry-after", "5"), ("retry-after", "3600")],
    ];
    for fields in long {
        let (log, recorder) = recording();
        let inner = origin(503, fields);
        let calls = inner.calls();
        let stack = ServiceBuilder::new()
            .layer(log)
            .layer(RetryLayer::new().decide_with(follow(StandardHints)))
            .service(inner);
        let before = tokio::time::Instant::now();
        let last = stack.oneshot(0).await.unwrap();
        assert_eq!(last.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(calls.count(), 1, "{fields:?}");
        assert_eq!(given_up(&recorder), [(1, GiveUpReason::AskedTooLong)]);
    }
}

/// R82 A server that forbids a repetition is not called again, not even by an outer retry.
#[tokio::test(start_paused = true)]
async fn a_pushback_forbids_a_repetition() {
    for pushback in ["-1", "never", "", "1.5"] {
        let fields = [("grpc-retry-pushback-ms", pushback), ("retry-after", "1")];
        let inner = origin(503, &fields);
        let calls = inner.calls();
        let retry = RetryLayer::new().decide_with(follow(StandardHints));
        let stack = ServiceBuilder::new()
            .layer(retry.clone())
            .layer(retry)
            .service(inner);
        let last = stack.oneshot(0).await.unwrap();
        assert_eq!(last.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(calls.count(), 1, "{pushback:?}");
    }
}

/// GitHub's limits, as in the docs of `RetryHint`.
#[derive(Clone)]
struct GitHub;

impl RetryHint for GitHub {
    fn hint(&self, status: StatusCode, headers: &HeaderMap) -> Option<Hint> {
        if let Some(hint) = StandardHints.hint(status, headers) {
            return Some(hint);
        }
        let is_limit = [StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS].contains(&status);
        let is_used_up = headers.get("x-ratelimit-remaining")? == "0";
        let reset = headers
            .get("x-ratelimit-reset")?
            .to_str()
            .ok()?
            .parse()
            .ok()?;
        (is_limit && is_used_up).then(|| Hint::at_unix_seconds(reset))
    }
}

/// R82 A user's own hint repeats what its server calls a limit, and nothing else.
#[tokio::test(start_paused = true)]
async fn a_hint_for_one_server() {
    let used_up = ("x-ratelimit-remaining", "0");
    let left = ("x-ratelimit-remaining", "4999");
    let (date, reset) = (("date", DATE), ("x-ratelimit-reset", "784111807"));
    let table: [(u16, &Fields, Option<Duration>); 8] = [
        (403, &[date, used_up, reset], Some(secs(30))),
        (429, &[date, used_up, reset], Some(secs(30))),
        (403, &[("retry-after", "20")], Some(secs(20))),
        // A missing permission, and others.
        (403, &[date, left, reset], None),
        (403, &[], None),
        (404, &[date, used_up, reset], None),
        // The last time of the clock, and no time.
        (
            403,
            &[used_up, ("x-ratelimit-reset", "18446744073709551615")],
            None,
        ),
        (403, &[used_up, ("x-ratelimit-reset", "tomorrow")], None),
    ];
    for (status, fields, expected) in table {
        let inner = origin(status, fields);
        let calls = inner.calls();
        let retry = RetryLayer::new().decide_with(follow(GitHub));
        let last = retry.layer(inner).oneshot(0).await.unwrap();
        let gaps: Vec<_> = expected.into_iter().collect();
        assert_eq!(calls.gaps(), gaps, "{status}, {fields:?}");
        let status = if gaps.is_empty() { status } else { 200 };
        assert_eq!(last.status(), status, "{fields:?}");
    }
}

/// R82 A date without a server's clock is measured against ours, which the paused clock drives.
#[tokio::test(start_paused = true)]
async fn a_date_without_a_servers_clock() {
    // A day passes first: the time of day must follow.
    tokio::time::advance(secs(86_400)).await;
    let now = tower_keep::event::wall_time(tokio::time::Instant::now());
    let hint = move |_: StatusCode, _: &HeaderMap| Some(Hint::At(now + secs(30)));
    let inner = origin(503, &[]);
    let calls = inner.calls();
    let retry = RetryLayer::new().decide_with(follow(hint));
    retry.layer(inner.strict()).oneshot(0).await.unwrap();
    assert_eq!(calls.gaps(), [secs(30)]);
}
