//! What a circuit counts and what the log says, for each status, each gRPC status and each error.

use std::io;

use tower::{BoxError, Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    AttemptOutcome, CircuitBreakerLayer, EventKind, FailureCause, GiveUpReason, LogLayer, Outcome,
    RetryLayer, TimeoutLayer,
    retry::{Decision, GaveUp, Jitter},
};
use tower_keep_test::{Recorder, Scripted};
use tower_keep_tests::*;

use super::{CHOICES, Fields, METHODS, is_retried, moments::Server, request, response};

type Request = http::Request<String>;
type Response = http::Response<String>;

/// The only fields of a response that carry a gRPC status, without a body.
fn grpc(status: &'static str) -> &'static Fields {
    let fields = [
        ("content-type", "application/grpc+proto"),
        ("grpc-status", status),
    ];
    Box::leak(Box::new(fields))
}

/// The gRPC status: its name, what a circuit counts, whether the job fails, whether an idempotent
/// request is repeated without a hint.
///
/// Server failures are those of "Status codes and their use in gRPC" that the server or its library
/// causes. `resource exhausted` may be the client's own quota.
const GRPC: [(&str, &str, Outcome, bool, bool); 26] = {
    use Outcome::{Failure, Ignored, Success};
    [
        ("0", "", Success, false, false),
        // The caller has not cancelled it, or it would not get the answer.
        ("1", "1 (cancelled)", Failure, true, true),
        ("2", "2 (unknown)", Failure, true, false),
        ("3", "", Success, false, false),
        ("4", "4 (deadline exceeded)", Failure, true, true),
        ("5", "", Success, false, false),
        ("6", "", Success, false, false),
        ("7", "", Success, false, false),
        ("8", "8 (resource exhausted)", Ignored, false, false),
        ("9", "", Success, false, false),
        ("10", "", Success, false, false),
        ("11", "", Success, false, false),
        // The server is healthy: it lacks the method.
        ("12", "12 (unimplemented)", Success, true, false),
        ("13", "13 (internal)", Failure, true, false),
        ("14", "14 (unavailable)", Failure, true, true),
        ("15", "15 (data loss)", Failure, true, false),
        ("16", "", Success, false, false),
        // What is no status is an unknown failure: gRPC over HTTP2, "Status = 1*DIGIT".
        ("17", "2 (unknown)", Failure, true, false),
        ("256", "2 (unknown)", Failure, true, false),
        ("99999999999999999999", "2 (unknown)", Failure, true, false),
        ("", "2 (unknown)", Failure, true, false),
        ("-1", "2 (unknown)", Failure, true, false),
        ("+14", "2 (unknown)", Failure, true, false),
        ("+0", "2 (unknown)", Failure, true, false),
        ("1 4", "2 (unknown)", Failure, true, false),
        ("unavailable", "2 (unknown)", Failure, true, false),
    ]
};

/// What a circuit counts of this result, after a failure: a success ends the row of failures, and a
/// circuit with nothing to remember is forgotten.
async fn counted(result: Result<Response, BoxError>) -> Outcome {
    let breaker = CircuitBreakerLayer::http();
    let circuits = breaker.handle();
    let server = "api.example:80".parse().unwrap();
    let in_a_row = || {
        let circuit = circuits.get(&server)?;
        Some(circuit.snapshot().failures_in_a_row)
    };
    let inner = Scripted::<Request, Response, BoxError>::new().error("broken".into());
    let inner = match result {
        Ok(response) => inner.answer(response),
        Err(error) => inner.error(error),
    };
    let service = breaker.layer(inner);
    let _ = service.clone().oneshot(request("GET")).await;
    assert_eq!(in_a_row(), Some(1));
    let _ = service.oneshot(request("GET")).await;
    match in_a_row() {
        None | Some(0) => Outcome::Success,
        Some(1) => Outcome::Ignored,
        Some(2) => Outcome::Failure,
        other => panic!("{other:?}"),
    }
}

/// The text of the failed job; `None` if it succeeded.
#[track_caller]
fn ending(recorder: &Recorder) -> Option<String> {
    recorder.assert_one_terminal_each();
    match recorder.terminal(recorder.job()).unwrap() {
        EventKind::Succeeded => None,
        EventKind::Failed { error, cause } => {
            assert_eq!(cause, FailureCause::Error);
            Some(error.to_string())
        }
        other => panic!("{other:?}"),
    }
}

fn outcomes(recorder: &Recorder) -> Vec<AttemptOutcome> {
    let kinds = recorder.kinds_of(recorder.job()).into_iter();
    kinds
        .filter_map(|kind| match kind {
            EventKind::AttemptEnded { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect()
}

const FAILED: AttemptOutcome = AttemptOutcome::Failed(FailureCause::Error);

/// R81 What the circuit counts of each status: 5xx but 501 and 505 (RFC 9110, 15.6), nothing of 429
/// (RFC 6585, 4), all others as a success.
#[tokio::test(start_paused = true)]
async fn a_circuit_counts_each_status() {
    for status in 100..600 {
        let expected = match status {
            501 | 505 => Outcome::Success,
            500..=599 => Outcome::Failure,
            429 => Outcome::Ignored,
            _ => Outcome::Success,
        };
        let answer = response(status, &[]);
        assert_eq!(counted(Ok(answer)).await, expected, "{status}");
        // Not a gRPC call: the header means nothing.
        let answer = response(status, &[("grpc-status", "14")]);
        assert_eq!(counted(Ok(answer)).await, expected, "{status}");
    }
    for (code, _, expected, ..) in GRPC {
        let answer = response(200, grpc(code));
        assert_eq!(counted(Ok(answer)).await, expected, "gRPC {code:?}");
        // An error of HTTP comes first.
        let answer = response(503, grpc(code));
        assert_eq!(counted(Ok(answer)).await, Outcome::Failure, "{code:?}");
    }
}

/// R81 What the circuit counts of each error.
#[tokio::test(start_paused = true)]
async fn a_circuit_counts_each_error() {
    let io = |kind| BoxError::from(io::Error::from(kind));
    let client = reqwest::Client::new();
    let invalid = client.get("/relative").build().unwrap_err();
    let gave_up = |reason, cause: BoxError| GaveUp::new(reason, 4).caused_by(cause);
    let invalid_again = client.get("/relative").build().unwrap_err();
    let table: Vec<(BoxError, Outcome)> = vec![
        (io(io::ErrorKind::ConnectionRefused), Outcome::Failure),
        (io(io::ErrorKind::ConnectionReset), Outcome::Failure),
        (io(io::ErrorKind::UnexpectedEof), Outcome::Failure),
        ("unknown".into(), Outcome::Failure),
        // It says nothing about the server.
        (invalid.into(), Outcome::Ignored),
        // The cause decides.
        (
            gave_up(
                GiveUpReason::Exhausted,
                io(io::ErrorKind::ConnectionRefused),
            )
            .into(),
            Outcome::Failure,
        ),
        (
            gave_up(GiveUpReason::NotRetryable, invalid_again.into()).into(),
            Outcome::Ignored,
        ),
    ];
    for (error, expected) in table {
        let text = format!("{error:?}");
        assert_eq!(counted(Err(error)).await, expected, "{text}");
    }
    // The limit of an attempt.
    let breaker = CircuitBreakerLayer::http();
    let circuits = breaker.handle();
    let stack = ServiceBuilder::new()
        .layer(breaker)
        .layer(TimeoutLayer::new(secs(1)).per_attempt())
        .service(Scripted::<Request, Response, BoxError>::new().never());
    stack.oneshot(request("GET")).await.unwrap_err();
    let circuit = circuits.get(&"api.example:80".parse().unwrap()).unwrap();
    assert_eq!(circuit.snapshot().failures_in_a_row, 1);
}

/// R81 R43 How the job ends in the log of a client without other layers: it fails with 5xx (RFC 9110,
/// 15.6) and with a gRPC status of a failed server. The text has the status.
#[tokio::test(start_paused = true)]
async fn the_log_says_how_each_status_ends_the_job() {
    let logged = async |status, fields: &'static Fields| {
        let recorder = Recorder::new();
        let log = LogLayer::http_to(recorder.clone());
        let service = log.layer(Server::new(status, fields));
        service.oneshot(request("GET")).await.unwrap();
        ending(&recorder)
    };
    for status in 100..600 {
        let expected = (status >= 500).then(|| format!("the server answered {status}"));
        assert_eq!(logged(status, &[]).await, expected);
    }
    for (code, name, _, fails, _) in GRPC {
        let expected = fails.then(|| format!("the server answered with gRPC status {name}"));
        assert_eq!(logged(200, grpc(code)).await, expected, "{code:?}");
    }
}

/// R81 R43 R70 An attempt that got a failure ends as failed, and so does its job, whether the request
/// may be repeated or not: in the log of a client, and in a log that leaves all to Retry.
#[tokio::test(start_paused = true)]
async fn no_failure_is_called_a_success() {
    let logged = async |log: bool, method, choice, status, fields: &'static Fields| {
        let recorder = Recorder::new();
        let server = Server::new(status, fields);
        let retry = RetryLayer::http().jitter(Jitter::None);
        let request = <Request as super::moments::Exchange>::request(method, choice);
        match log {
            true => {
                let stack = ServiceBuilder::new().layer(LogLayer::http_to(recorder.clone()));
                (stack.layer(retry).service(server).oneshot(request).await).map(drop)
            }
            false => {
                let stack = ServiceBuilder::new().layer(LogLayer::to(recorder.clone()));
                (stack.layer(retry).service(server).oneshot(request).await).map(drop)
            }
        }
        .unwrap();
        (outcomes(&recorder), ending(&recorder))
    };
    let check = async |status, fields, fails: bool, retried: bool, text: String| {
        for method in METHODS {
            for choice in &CHOICES[..6] {
                let row = format!("{status} {fields:?} {method:?} {choice:?}");
                let is_repeated = retried && choice.1.unwrap_or(method.1);
                let outcome = match fails {
                    true => FAILED,
                    false => AttemptOutcome::Succeeded,
                };
                let attempts = vec![outcome; if is_repeated { 4 } else { 1 }];
                let text = fails.then(|| text.clone());
                for log in [true, false] {
                    let seen = logged(log, method.0, choice.0, status, fields).await;
                    assert_eq!(seen, (attempts.clone(), text.clone()), "{row}");
                }
            }
        }
    };
    for status in [100, 101, 200, 204, 301, 304, 400, 404, 409, 413, 421, 499] {
        check(status, &[], false, false, String::new()).await;
    }
    for status in [408, 425, 429, 500, 501, 502, 503, 504, 505, 599] {
        let text = format!("the server answered {status}");
        check(status, &[], true, is_retried(status), text).await;
    }
    for (code, name, _, fails, retried) in GRPC {
        let text = format!("the server answered with gRPC status {name}");
        // A used-up quota is a failure of the attempt.
        check(200, grpc(code), fails || code == "8", retried, text).await;
    }
}

/// R81 R82 A server that forbids a repetition has failed all the same. Nobody repeats the request.
#[tokio::test(start_paused = true)]
async fn a_forbidden_repetition_is_a_failure() {
    for method in ["GET", "POST"] {
        for status in [503, 429] {
            let recorder = Recorder::new();
            let server = Server::new(status, &[("grpc-retry-pushback-ms", "-1")]);
            let calls = server.clone();
            let outer = RetryLayer::new()
                .decide_with(|_: &Result<Response, BoxError>, _: &_| Decision::Retry);
            let stack = ServiceBuilder::new()
                .layer(LogLayer::http_to(recorder.clone()))
                .layer(outer)
                .layer(RetryLayer::http())
                .service(server);
            stack.oneshot(request(method)).await.unwrap();
            assert_eq!(calls.moments().len(), 1, "{method} {status}");
            assert_eq!(outcomes(&recorder), [FAILED], "{method} {status}");
            let text = format!("the server answered {status}");
            assert_eq!(ending(&recorder), Some(text), "{method}");
            assert_eq!(given_up(&recorder), [(1, GiveUpReason::Forbidden)]);
        }
    }
}

/// R81 R70 A hint of the user makes a failure of its status, whether the request may be repeated or
/// not. Without its answer the status is a success.
#[tokio::test(start_paused = true)]
async fn a_hint_of_the_user_makes_failures() {
    let hint = |status: http::StatusCode, headers: &http::HeaderMap| {
        let is_limit = status == 403 && headers.contains_key("retry-after");
        is_limit.then_some(tower_keep::http::Hint::Wait(secs(7)))
    };
    for (method, fields, attempts, fails) in [
        ("GET", &[("retry-after", "7")][..], 4, true),
        ("POST", &[("retry-after", "7")], 1, true),
        ("GET", &[], 1, false),
        ("POST", &[], 1, false),
    ] {
        let recorder = Recorder::new();
        let stack = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(RetryLayer::http().hints(hint))
            .service(Server::new(403, fields));
        stack.oneshot(request(method)).await.unwrap();
        let outcome = if fails {
            FAILED
        } else {
            AttemptOutcome::Succeeded
        };
        assert_eq!(outcomes(&recorder), vec![outcome; attempts], "{method}");
        assert_eq!(ending(&recorder).is_some(), fails, "{method}");
    }
}

/// R70 R81 The hook on giving up sees a failure that is not repeated, and can replace it.
#[tokio::test(start_paused = true)]
async fn the_hook_sees_a_failure_that_is_not_repeated() {
    for (status, seen) in [(503, true), (500, true), (404, false), (200, false)] {
        let retry =
            RetryLayer::http().on_give_up(|outcome: Result<Response, BoxError>, why: GaveUp| {
                assert!(outcome.is_ok());
                assert_eq!(
                    (why.reason(), why.attempts()),
                    (GiveUpReason::NotRetryable, 1)
                );
                Err(why.into())
            });
        let result = retry
            .layer(Server::new(status, &[]))
            .oneshot(request("POST"))
            .await;
        assert_eq!(result.is_err(), seen, "{status}");
    }
}

/// R81 R76 A response that a limit made is not the server's: no text says that the server answered.
#[tokio::test(start_paused = true)]
async fn a_response_of_a_limit_is_not_the_servers() {
    for (method, attempts) in [("GET", 4), ("POST", 1)] {
        let recorder = Recorder::new();
        let limit = TimeoutLayer::new(secs(1)).per_attempt();
        let inner =
            tower::service_fn(|_: Request| std::future::pending::<Result<Response, BoxError>>());
        let stack = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(CircuitBreakerLayer::http())
            .layer(RetryLayer::http())
            .layer(limit.respond_with(|_| response(504, &[])))
            .service(inner);
        stack.oneshot(request(method)).await.unwrap();
        let timed_out = AttemptOutcome::Failed(FailureCause::TimedOut);
        assert_eq!(outcomes(&recorder), vec![timed_out; attempts], "{method}");
        let events = format!("{:?}", recorder.kinds());
        assert!(
            !events.contains("the server answered"),
            "{method}: {events}"
        );
    }
}
