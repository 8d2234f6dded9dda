//! What each status in the trailers counts as, and which trailers count.

use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    CircuitBreakerLayer, EventKind, LogLayer, Rejection,
    circuit_breaker::State,
    http::body::BodyEnd::{Complete, Dropped},
};
use tower_keep_test::Recorder;

use super::{
    super::{
        follow::{end, ended, get},
        follow_circuit::{circuit, in_a_row},
    },
    GRPC, Message, answers, failed, read, response,
};

/// What the circuit counts after one earlier failure.
const FAILURE: u32 = 2;
const IGNORED: u32 = 1;
const SUCCESS: u32 = 0;

/// Each status, whether the job fails, and what the circuit counts: as in the headers.
const STATUSES: [(&str, bool, u32); 22] = [
    ("0", false, SUCCESS),
    ("1", true, FAILURE),
    ("2", true, FAILURE),
    ("3", false, SUCCESS),
    ("4", true, FAILURE),
    ("5", false, SUCCESS),
    ("6", false, SUCCESS),
    ("7", false, SUCCESS),
    ("8", false, IGNORED),
    ("9", false, SUCCESS),
    ("10", false, SUCCESS),
    ("11", false, SUCCESS),
    ("12", true, SUCCESS),
    ("13", true, FAILURE),
    ("14", true, FAILURE),
    ("15", true, FAILURE),
    ("16", false, SUCCESS),
    // What cannot be read is an unknown failure.
    ("17", true, FAILURE),
    ("256", true, FAILURE),
    ("+1", true, FAILURE),
    ("", true, FAILURE),
    ("ok", true, FAILURE),
];

/// R84 The status in the trailers counts as the same status in the headers: for the circuit, and
/// for the job. The reader gets the message and the trailers.
#[tokio::test(start_paused = true)]
async fn the_status_in_the_trailers_counts_as_in_the_headers() {
    for (status, fails, counts) in STATUSES {
        for in_trailers in [true, false] {
            let recorder = Recorder::new();
            let breaker = CircuitBreakerLayer::http();
            let circuits = breaker.handle();
            let answer = match in_trailers {
                true => response(status),
                false => Response::builder()
                    .header("content-type", GRPC)
                    .header("grpc-status", status)
                    .body(Message::default())
                    .unwrap(),
            };
            let mut service = breaker.layer(answers([failed(), answer]));
            drop(service.ready().await.unwrap().call(get()).await.unwrap());
            assert_eq!(in_a_row(&circuits), 1);
            let service = LogLayer::http_to(recorder.clone()).layer(service);
            let answer = service.oneshot(get()).await.unwrap();
            let row = format!("{status:?}, in trailers: {in_trailers}");
            if in_trailers {
                // The head says nothing yet.
                assert_eq!((ended(&recorder), in_a_row(&circuits)), (None, 1), "{row}");
                assert_eq!(read(answer).await["grpc-status"], status);
            }
            assert_eq!(in_a_row(&circuits), counts, "{row}");
            let (how, body) = ended(&recorder).unwrap();
            assert_eq!(body, Some(Complete), "{row}");
            assert_eq!(matches!(how, EventKind::Failed { .. }), fails, "{row}");
        }
    }
    let recorder = Recorder::new();
    let service = LogLayer::http_to(recorder.clone()).layer(answers([response("14")]));
    read(service.oneshot(get()).await.unwrap()).await;
    let text = "the server answered with gRPC status 14 (unavailable)".to_owned();
    assert_eq!(end(&recorder), Some((text, "complete")));
}

/// R84 It is one failure: it opens the circuit, with the status as the cause, and the next call is
/// rejected.
#[tokio::test(start_paused = true)]
async fn failed_calls_open_the_circuit() {
    let breaker = CircuitBreakerLayer::http().failure_threshold(2);
    let circuits = breaker.handle();
    let service = breaker.layer(answers((0..3).map(|_| response("13"))));
    for failures in 1..=3 {
        let answer = service.clone().oneshot(get()).await.unwrap();
        assert_eq!(circuit(&circuits).state(), State::Closed);
        read(answer).await;
        if failures < 3 {
            assert_eq!(in_a_row(&circuits), failures);
        }
    }
    assert_eq!(circuit(&circuits).state(), State::Open);
    let cause = circuit(&circuits).snapshot().cause.unwrap();
    assert_eq!(
        &*cause,
        "the server answered with gRPC status 13 (internal)"
    );
    let error = service.oneshot(get()).await.map(drop).unwrap_err();
    assert!(matches!(
        Rejection::of(&*error),
        Some(Rejection::CircuitOpen)
    ));
}

/// R84 Other trailers change nothing: of another content type, of another HTTP status, without a
/// status, or after a status in the headers.
#[tokio::test(start_paused = true)]
async fn other_trailers_change_nothing() {
    let other = |change: fn(&mut Response<Message>)| {
        let mut response = response("14");
        change(&mut response);
        response
    };
    for (what, answer) in [
        (
            "another content type",
            other(|response| {
                let json = "application/json".parse().unwrap();
                response.headers_mut().insert("content-type", json);
            }),
        ),
        (
            "no content type",
            other(|response| response.headers_mut().clear()),
        ),
        (
            "another HTTP status",
            other(|response| *response.status_mut() = http::StatusCode::NOT_FOUND),
        ),
        (
            "no status",
            other(|response| {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-message", "14".parse().unwrap());
                response.body_mut().trailers = Some(trailers);
            }),
        ),
        (
            "no trailers",
            other(|response| response.body_mut().trailers = None),
        ),
        (
            "a status in the headers",
            other(|response| drop(response.headers_mut().insert("grpc-status", 0.into()))),
        ),
    ] {
        let recorder = Recorder::new();
        let breaker = CircuitBreakerLayer::http();
        let circuits = breaker.handle();
        let service = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(breaker)
            .service(answers([answer]));
        read(service.oneshot(get()).await.unwrap()).await;
        let ends = (EventKind::Succeeded, Some(Complete));
        assert_eq!(ended(&recorder), Some(ends), "{what}");
        assert_eq!(in_a_row(&circuits), 0, "{what}");
    }
}

/// R84 A declared length is the length of the messages: the call ends with the trailers after them.
#[tokio::test(start_paused = true)]
async fn a_known_length_does_not_end_the_call() {
    for (declared, is_exact, has_message) in [
        (true, false, true),
        (false, true, true),
        (true, true, true),
        (true, true, false),
    ] {
        let recorder = Recorder::new();
        let mut answer = response("14");
        let message = answer.body_mut();
        message.is_exact = is_exact;
        if !has_message {
            message.frames.clear();
        }
        let length = message.frames.iter().map(|data| data.len()).sum::<usize>();
        if declared {
            (answer.headers_mut()).insert("content-length", length.into());
        }
        let service = LogLayer::http_to(recorder.clone()).layer(answers([answer]));
        let mut body = service.oneshot(get()).await.unwrap().into_body();
        if has_message {
            assert!(body.frame().await.unwrap().unwrap().is_data());
        }
        assert_eq!(ended(&recorder), None, "{declared} {is_exact}");
        assert!(body.frame().await.unwrap().unwrap().is_trailers());
        assert!(end(&recorder).unwrap().0.contains("gRPC status 14"));
    }
}

/// R84 A reader that drops the response before its trailers does not know their status.
#[tokio::test(start_paused = true)]
async fn a_dropped_response_has_no_status() {
    let recorder = Recorder::new();
    let breaker = CircuitBreakerLayer::http();
    let circuits = breaker.handle();
    let service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(breaker)
        .service(answers([response("14")]));
    let mut body = service.oneshot(get()).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    drop(body);
    let ends = (EventKind::Succeeded, Some(Dropped));
    assert_eq!(ended(&recorder), Some(ends));
    assert_eq!(in_a_row(&circuits), 0);
}
