//! A gRPC server that keeps the deadline that it is sent: its answer comes just before the limit.

use std::time::Duration;

use http::{
    HeaderValue, Request, Response,
    header::{self, CONTENT_TYPE},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    AttemptOutcome, BoxError, CircuitBreakerLayer, EventKind, FailureCause, GiveUpReason, LogLayer,
    Pipeline, RetryLayer, SendDeadlineLayer, TimeoutLayer, retry::Jitter,
};
use tower_keep_test::{Recorder, ms, secs};
use tower_keep_tests::quiet;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// `deadline exceeded` of most servers, `cancelled` of tonic.
const STATUSES: [&str; 2] = ["4", "1"];

fn call() -> Request<String> {
    let call = Request::post("http://server.test/service/Method").header(CONTENT_TYPE, GRPC);
    call.body(String::new()).unwrap()
}

/// Hangs until a millisecond before the deadline, and answers with this status.
fn hanging(
    status: &'static str,
) -> impl Service<Request<String>, Response = Response<String>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    service_fn(move |call: Request<String>| async move {
        let deadline = call.headers()["grpc-timeout"].to_str()?;
        let micros = deadline.strip_suffix('u').ok_or("another unit")?.parse()?;
        tokio::time::sleep(Duration::from_micros(micros) - ms(1)).await;
        let response = Response::builder().header(CONTENT_TYPE, GRPC);
        let response = response.header("grpc-status", status);
        Ok::<_, BoxError>(
            response
                .header(header::CONTENT_LENGTH, 0)
                .body(String::new())?,
        )
    })
}

fn attempts(recorder: &Recorder) -> Vec<AttemptOutcome> {
    let kinds = recorder.kinds_of(recorder.job()).into_iter();
    kinds
        .filter_map(|kind| match kind {
            EventKind::AttemptEnded { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect()
}

/// R89 R81 The answer at the deadline is as the limit of the attempt: it is retried, each attempt and
/// the job fail, and the circuit counts it.
#[tokio::test(start_paused = true)]
async fn the_answer_at_the_deadline_is_the_limit() {
    for status in STATUSES {
        let recorder = Recorder::new();
        let breaker = CircuitBreakerLayer::http();
        let circuits = breaker.handle();
        let client = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(breaker)
            .layer(TimeoutLayer::http(secs(60)))
            .layer(RetryLayer::http().retry_every_method())
            .layer(TimeoutLayer::http_attempt(secs(2)))
            .layer(SendDeadlineLayer::new())
            .service(hanging(status));
        let response = client.oneshot(call()).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], status);
        drop(response);

        let failed = AttemptOutcome::Failed(FailureCause::Error);
        assert_eq!(attempts(&recorder), [failed; 4], "{status}");
        let ending = recorder.terminal(recorder.job()).unwrap();
        assert!(matches!(ending, EventKind::Failed { .. }), "{ending:?}");
        let circuit = circuits.get(&"server.test:80".parse().unwrap()).unwrap();
        assert_eq!(circuit.snapshot().failures_in_a_row, 1, "{status}");
    }
}

/// R89 R81 A server that hangs opens the circuit of the pipeline too, as without a deadline.
#[tokio::test(start_paused = true)]
async fn a_hanging_server_opens_the_circuit() {
    for status in STATUSES {
        let stack = Pipeline::http_client()
            .log(quiet())
            .retry(RetryLayer::http().retry_every_method())
            .attempt_timeout(TimeoutLayer::http_attempt(secs(2)))
            .build()
            .unwrap();
        let client = stack.layer(SendDeadlineLayer::new().layer(hanging(status)));
        for call_number in 1..=7 {
            let result = client.clone().oneshot(call()).await;
            assert_eq!(result.is_err(), call_number == 7, "{status} {call_number}");
        }
    }
}

/// R89 R81 If the deadline is that of the whole call, no time is left for a retry. A call that may
/// not be repeated is sent once.
#[tokio::test(start_paused = true)]
async fn no_retry_after_the_overall_deadline() {
    let retry = RetryLayer::http().jitter(Jitter::None);
    for status in STATUSES {
        for (retry, expected) in [
            (
                retry.clone().retry_every_method(),
                &[GiveUpReason::Deadline][..],
            ),
            (retry.clone(), &[]),
        ] {
            let recorder = Recorder::new();
            let client = ServiceBuilder::new()
                .layer(LogLayer::http_to(recorder.clone()))
                .layer(TimeoutLayer::http(secs(2)))
                .layer(retry)
                .layer(SendDeadlineLayer::new())
                .service(hanging(status));
            let response = client.oneshot(call()).await.unwrap();
            assert_eq!(response.headers()["grpc-status"], status);
            drop(response);
            assert_eq!(attempts(&recorder).len(), 1, "{status}");
            let kinds = recorder.kinds_of(recorder.job()).into_iter();
            let reasons = kinds.filter_map(|kind| match kind {
                EventKind::RetryGivenUp { reason, .. } => Some(reason),
                _ => None,
            });
            assert_eq!(reasons.collect::<Vec<_>>(), expected, "{status}");
        }
    }
}
