//! The status of a gRPC call is in the trailers of its response: for the circuit and for the job.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, SizeHint};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, EventKind, JobLayer, LogLayer, Pipeline,
    ProgressLayer, Rejection, RetryLayer, SendThrough, TimeoutLayer,
    circuit_breaker::State,
    http::body::BodyEnd::{Complete, Dropped},
};
use tower_keep_test::{
    Recorder,
    http::{Origin, Reply},
    secs,
};

use super::{
    follow::{end, ended, get},
    follow_circuit::{circuit, in_a_row},
    origin::clients,
};

const MESSAGE: &str = "message";
const GRPC: &str = "application/grpc+proto";

/// One message, then the trailers. The length of the data may be known.
#[derive(Clone, Default)]
struct Message {
    frames: VecDeque<&'static str>,
    trailers: Option<HeaderMap>,
    is_exact: bool,
}

impl Message {
    fn with_status(status: &'static str) -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        Self {
            frames: [MESSAGE].into(),
            trailers: Some(trailers),
            is_exact: false,
        }
    }
}

impl Body for Message {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.frames.pop_front().map(Bytes::from).map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.is_exact {
            true => SizeHint::with_exact(self.frames.iter().map(|data| data.len() as u64).sum()),
            false => SizeHint::default(),
        }
    }
}

/// A gRPC response with these trailers.
fn response(status: &'static str) -> Response<Message> {
    Response::builder()
        .header("content-type", GRPC)
        .body(Message::with_status(status))
        .unwrap()
}

fn answers(
    responses: impl IntoIterator<Item = Response<Message>>,
) -> impl Service<
    Request<String>,
    Response = Response<Message>,
    Error = BoxError,
    Future: Send + 'static,
> + Clone
+ Send
+ 'static {
    let responses: VecDeque<_> = responses.into_iter().collect();
    let responses = std::sync::Arc::new(std::sync::Mutex::new(responses));
    service_fn(move |_: Request<String>| {
        let response = responses.lock().unwrap().pop_front().expect("a response");
        async move { Ok::<_, BoxError>(response) }
    })
}

/// Reads the message and its trailers.
async fn read<B>(response: Response<B>) -> HeaderMap
where
    B: Body<Error: std::fmt::Debug>,
{
    let collected = response.into_body().collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    assert_eq!(collected.to_bytes(), MESSAGE);
    trailers
}

fn failed() -> Response<Message> {
    Response::builder()
        .status(503)
        .body(Message::default())
        .unwrap()
}

/// What the circuit counts after one earlier failure.
const FAILURE: u32 = 2;
const IGNORED: u32 = 1;
const SUCCESS: u32 = 0;

/// Each status, whether the job fails, and what the circuit counts: as in the headers.
const STATUSES: [(&str, bool, u32); 22] = [
    ("0", false, SUCCESS),
    ("1", false, SUCCESS),
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

/// R84 The outermost layer that follows the body fails the job, whichever layer it is. A layer that
/// does not follow the body ends the job at the head, and the circuit counts all the same.
#[tokio::test(start_paused = true)]
async fn each_layer_that_ends_the_job() {
    async fn ends_with<L>(what: &str, layer: L, follows: bool)
    where
        L: Layer<tower::util::BoxCloneService<Request<String>, Response<Boxed>, BoxError>>,
        L::Service: Service<Request<String>, Response: Into<Response<Boxed>>, Error = BoxError>,
    {
        let breaker = CircuitBreakerLayer::http();
        let circuits = breaker.handle();
        let recorder = Recorder::new();
        let inner = ServiceBuilder::new()
            .boxed_clone()
            .map_response(|response: Response<_>| response.map(boxed))
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(CancelLayer::http())
            .layer(TimeoutLayer::http(secs(60)))
            .layer(breaker)
            .layer(TimeoutLayer::http_attempt(secs(10)))
            .service(answers([response("14")]));
        let answer = layer.layer(inner).oneshot(get()).await.unwrap().into();
        let before = recorder.terminal(recorder.job());
        assert_eq!(before.is_some(), !follows, "{what}");
        read(answer).await;
        let ended = recorder.terminal(recorder.job()).unwrap();
        assert_eq!(
            matches!(ended, EventKind::Failed { .. }),
            follows,
            "{what}: {ended:?}"
        );
        assert_eq!(in_a_row(&circuits), 1, "{what}");
    }
    type Boxed = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
    fn boxed<B>(body: B) -> Boxed
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        body.map_err(Into::into).boxed_unsync()
    }
    /// Boxes the body of a layer that follows it.
    macro_rules! boxing {
        ($layer:expr) => {
            ServiceBuilder::new()
                .map_response(|response: Response<_>| response.map(boxed))
                .layer($layer)
        };
    }
    ends_with("job", boxing!(JobLayer::new("call").http()), true).await;
    ends_with("log", boxing!(LogLayer::http()), true).await;
    ends_with("progress", boxing!(ProgressLayer::http()), true).await;
    ends_with("cancel", boxing!(CancelLayer::http()), true).await;
    ends_with("timeout", boxing!(TimeoutLayer::http(secs(60))), true).await;
    ends_with("log", boxing!(LogLayer::new()), false).await;
    ends_with("job", boxing!(JobLayer::new("call")), false).await;
}

/// R84 In a pipeline nothing is retried for the trailers, and the job has one end.
#[tokio::test(start_paused = true)]
async fn a_pipeline_retries_nothing() {
    let recorder = Recorder::new();
    let breaker = CircuitBreakerLayer::http();
    let circuits = breaker.handle();
    let client = Pipeline::http_client()
        .log(LogLayer::http_to(recorder.clone()))
        .circuit_breaker(breaker)
        .build()
        .unwrap()
        .layer(answers([response("14"), response("0")]));
    read(client.clone().oneshot(get()).await.unwrap()).await;
    let events = ["dispatched", "started", "attempt_ended", "failed"];
    assert_eq!(recorder.names(), events);
    assert_eq!(in_a_row(&circuits), 1);
    read(client.oneshot(get()).await.unwrap()).await;
    assert_eq!(in_a_row(&circuits), 0);
    recorder.assert_one_terminal_each();
}

/// R84 A circuit inside the retry counts the trailers once, too.
#[tokio::test(start_paused = true)]
async fn inside_a_retry() {
    let recorder = Recorder::new();
    let breaker = CircuitBreakerLayer::http();
    let circuits = breaker.handle();
    let client = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(RetryLayer::http())
        .layer(breaker)
        .service(answers([failed(), response("15")]));
    read(client.oneshot(get()).await.unwrap()).await;
    assert_eq!(in_a_row(&circuits), 2);
    assert!(end(&recorder).unwrap().0.contains("15 (data loss)"));
}

/// R84 The same from a server, with each client and version.
#[tokio::test]
async fn from_an_origin() -> Result<(), BoxError> {
    let reply = |status: &str| {
        let reply = Reply::status(200).header("content-type", GRPC);
        reply.body(MESSAGE).trailer("grpc-status", status)
    };
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for client in ["hyper", "reqwest"] {
            for (status, failures) in [("14", 1), ("0", 0)] {
                let row = format!("{client} {version:?} {status}");
                let origin = Origin::start().await?.then(reply(status));
                let recorder = Recorder::new();
                let breaker = CircuitBreakerLayer::http();
                let circuits = breaker.handle();
                let api = Pipeline::http_client()
                    .log(LogLayer::http_to(recorder.clone()))
                    .circuit_breaker(breaker)
                    .build()?;
                if client == "hyper" {
                    let request = Request::get(origin.url("/")).body(Full::default())?;
                    let api = api.layer(clients::hyper(version));
                    let trailers = read(api.oneshot(request).await?).await;
                    assert_eq!(trailers["grpc-status"], status, "{row}");
                } else {
                    let client = clients::reqwest(version);
                    let api = api.layer(client.clone());
                    let response = client.get(origin.url("/")).send_through(&api).await?;
                    assert_eq!(response.bytes().await?, MESSAGE, "{row}");
                }
                let (how, body) = ended(&recorder).unwrap();
                assert_eq!(body, Some(Complete), "{row}");
                assert_eq!(
                    matches!(how, EventKind::Failed { .. }),
                    failures == 1,
                    "{row}: {how:?}"
                );
                let [(_, circuit)] = &circuits.circuits()[..] else {
                    panic!("one circuit")
                };
                assert_eq!(circuit.snapshot().failures_in_a_row, failures, "{row}");
            }
        }
    }
    Ok(())
}
