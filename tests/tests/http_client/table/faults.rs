//! Errors of real clients: what kind each fault is, and who is sent again.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    LogLayer, RetryLayer, TimeoutLayer,
    http::ErrorKind::{self, BodyStalled, BodyTruncated, NeverSent, Permanent, PossiblyProcessed},
    retry::Jitter,
};
use tower_keep_test::{
    Recorder,
    http::{ErrorCode, Origin, Reply},
};
use tower_keep_tests::{
    ms,
    servers::{LONG, SHORT},
};

type Body = Full<Bytes>;

/// A client without resends of its own.
#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "a test has few of them")]
enum Client {
    Reqwest(reqwest::Client),
    Hyper(Box<legacy::Client<HttpConnector, Body>>),
}

const H1: bool = false;
const H2: bool = true;

impl Client {
    fn reqwest(h2: bool, limit: Duration) -> Self {
        let client = reqwest::Client::builder()
            .retry(reqwest::retry::never())
            .timeout(limit)
            .no_proxy();
        let client = match h2 {
            true => client.http2_prior_knowledge(),
            false => client.http1_only(),
        };
        Self::Reqwest(client.build().unwrap())
    }

    fn hyper(h2: bool) -> Self {
        let mut client = legacy::Client::builder(TokioExecutor::new());
        client.http2_only(h2).retry_canceled_requests(false);
        Self::Hyper(Box::new(client.build_http()))
    }

    /// The whole response, or the error of the client as it is.
    async fn send(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        match self {
            Self::Reqwest(client) => {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let request = Request::from_parts(parts, body);
                let response = client.execute(request.try_into()?).await?;
                let status = response.status();
                let mut whole = Response::new(Full::new(response.bytes().await?));
                *whole.status_mut() = status;
                Ok(whole)
            }
            Self::Hyper(client) => {
                let (parts, body) = client.request(request).await?.into_parts();
                let body = body.collect().await?.to_bytes();
                Ok(Response::from_parts(parts, Full::new(body)))
            }
        }
    }
}

/// What happened in the attempts of one call.
struct Call {
    /// The kind of each attempt's error, with its text.
    attempts: Vec<(ErrorKind, String)>,
    result: Result<(), BoxError>,
    /// All events, as text.
    events: String,
}

impl Call {
    /// Calls through a retry of at most two retries, with a limit for each attempt.
    async fn of(client: &Client, method: &Method, url: &str, limit: Duration) -> Self {
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let recorder = Recorder::new();
        let client = client.clone();
        let limited = TimeoutLayer::new(limit)
            .per_attempt()
            .layer(service_fn(move |request| client.clone().send(request)));
        let seen = Arc::clone(&attempts);
        let noted = service_fn(move |request: Request<Body>| {
            let (call, seen) = (limited.clone().oneshot(request), Arc::clone(&seen));
            async move {
                let result = call.await;
                if let Err(error) = &result {
                    let attempt = (ErrorKind::of(&**error), format!("{error:?}"));
                    seen.lock().unwrap().push(attempt);
                }
                result
            }
        });
        let stack = ServiceBuilder::new()
            .layer(LogLayer::http_to(recorder.clone()))
            .layer(
                RetryLayer::http()
                    .max_retries(2)
                    .base_delay(ms(1))
                    .jitter(Jitter::None),
            )
            .service(noted);
        let request = Request::builder().method(method).uri(url);
        let result = stack.oneshot(request.body("body".into()).unwrap()).await;
        let attempts = std::mem::take(&mut *attempts.lock().unwrap());
        Self {
            attempts,
            result: result.map(drop),
            events: format!("{:?}", recorder.events()),
        }
    }

    /// Each error is of one of these kinds. It was repeated if its kind and the method allow it: RFC
    /// 9110, 9.2.2, and for what was never sent RFC 9113, 8.7.
    #[track_caller]
    fn assert_kinds(&self, expected: &[ErrorKind], method: &Method, row: &str) {
        let attempts = &self.attempts;
        assert!(self.result.is_err(), "{row}: {attempts:?}");
        assert!(!attempts.is_empty(), "{row}");
        for (number, (kind, _)) in attempts.iter().enumerate() {
            assert!(expected.contains(kind), "{row}: {attempts:#?}");
            let may_repeat = match kind {
                NeverSent => true,
                Permanent => false,
                _ => method != Method::POST,
            };
            let is_repeated = number + 1 < attempts.len();
            assert_eq!(
                is_repeated,
                may_repeat && number < 2,
                "{row}: {attempts:#?}"
            );
        }
        assert!(!self.events.contains("hunter2"), "{row}: {}", self.events);
    }
}

/// A fault of an origin, and what kind its error is, over HTTP/1.1 and over HTTP/2.
type Row = (
    &'static str,
    Reply,
    &'static [ErrorKind],
    &'static [ErrorKind],
);

/// The request has arrived in each of them.
fn replies() -> Vec<Row> {
    const PROCESSED: &[ErrorKind] = &[PossiblyProcessed];
    const UNPROCESSED: &[ErrorKind] = &[NeverSent];
    /// RFC 9112, 8.
    const CUT: &[ErrorKind] = &[BodyTruncated];
    let body = || Reply::status(200).body("0123456789");
    let rst = Reply::rst_stream;
    vec![
        ("close", Reply::close(), PROCESSED, PROCESSED),
        (
            "in the head",
            Reply::status(200).close_after_head_bytes(5),
            PROCESSED,
            PROCESSED,
        ),
        ("reset", Reply::reset(), PROCESSED, PROCESSED),
        ("garbage", Reply::garbage(), PROCESSED, PROCESSED),
        ("cut", body().truncate_after(4), CUT, CUT),
        ("closed in the body", body().close_after(4), CUT, CUT),
        ("reset in the body", body().reset_after(4), CUT, CUT),
        // The answer has begun, so the request was processed, whatever the server says then.
        (
            "refused in the body",
            body().rst_stream_after(4, ErrorCode::REFUSED_STREAM),
            CUT,
            CUT,
        ),
        (
            "stalled",
            body().stall_after(4),
            &[BodyStalled, PossiblyProcessed],
            &[BodyStalled, PossiblyProcessed],
        ),
        ("hang", Reply::hang(), PROCESSED, PROCESSED),
        // RFC 9113, 8.7: REFUSED_STREAM, and a GOAWAY below the stream. HTTP/1.1 has neither.
        ("refused", Reply::refused_stream(), PROCESSED, UNPROCESSED),
        (
            "go away",
            Reply::go_away(ErrorCode::NO_ERROR),
            PROCESSED,
            UNPROCESSED,
        ),
        (
            "go away, processed",
            Reply::go_away_processed(ErrorCode::NO_ERROR),
            PROCESSED,
            PROCESSED,
        ),
        // The last stream is not known after an error of the connection.
        (
            "go away, error",
            Reply::go_away(ErrorCode::ENHANCE_YOUR_CALM),
            PROCESSED,
            PROCESSED,
        ),
        (
            "go away, error, processed",
            Reply::go_away_processed(ErrorCode::INTERNAL_ERROR),
            PROCESSED,
            PROCESSED,
        ),
        (
            "rst, no error",
            rst(ErrorCode::NO_ERROR),
            PROCESSED,
            PROCESSED,
        ),
        (
            "rst, protocol",
            rst(ErrorCode::PROTOCOL_ERROR),
            PROCESSED,
            PROCESSED,
        ),
        (
            "rst, internal",
            rst(ErrorCode::INTERNAL_ERROR),
            PROCESSED,
            PROCESSED,
        ),
        ("rst, cancel", rst(ErrorCode::CANCEL), PROCESSED, PROCESSED),
        (
            "rst, calm",
            rst(ErrorCode::ENHANCE_YOUR_CALM),
            PROCESSED,
            PROCESSED,
        ),
        (
            "rst, 1.1",
            rst(ErrorCode::HTTP_1_1_REQUIRED),
            PROCESSED,
            PROCESSED,
        ),
        ("rst, unknown", rst(ErrorCode(99)), PROCESSED, PROCESSED),
    ]
}

/// The clients, for attempts of at most this time. reqwest's own limit comes first.
fn clients(h2: bool, limit: Duration) -> [(&'static str, Client); 2] {
    let limit = limit.mul_f64(0.8);
    [
        ("reqwest", Client::reqwest(h2, limit)),
        ("hyper-util", Client::hyper(h2)),
    ]
}

fn limit_of(fault: &str) -> Duration {
    match fault {
        "stalled" | "hang" | "hangs" => SHORT,
        _ => LONG,
    }
}

async fn each_reply(h2: bool) -> Result<(), BoxError> {
    for (name, reply, h1_kinds, h2_kinds) in replies() {
        for (client_name, client) in clients(h2, limit_of(name)) {
            for method in [Method::GET, Method::PUT, Method::POST] {
                let row = format!("{name}, h2: {h2}, {client_name}, {method}");
                let origin = Origin::start().await?.then(reply.clone()).repeat_last();
                let url = origin.url("/p?token=hunter2");
                let call = Call::of(&client, &method, &url, limit_of(name)).await;
                let kinds = if h2 { h2_kinds } else { h1_kinds };
                call.assert_kinds(kinds, &method, &row);
                let received = origin.received();
                assert!(!received.is_empty(), "{row}");
                // A client may notice a lost connection before it sends.
                assert!(received.len() <= call.attempts.len(), "{row}");
                if method == Method::POST {
                    let processed = received.iter().filter(|request| request.processed);
                    assert!(processed.count() <= 1, "{row}: {received:?}");
                }
            }
        }
    }
    Ok(())
}

/// R80 R81 Each fault of an answer, over HTTP/1.1.
#[tokio::test]
async fn each_fault_over_http1() -> Result<(), BoxError> {
    each_reply(H1).await
}

/// R80 R81 Each fault of an answer, over HTTP/2.
#[tokio::test]
async fn each_fault_over_http2() -> Result<(), BoxError> {
    each_reply(H2).await
}

/// R80 R81 Nothing was sent: each method is repeated. If the server accepts and closes at once, only
/// the client knows whether it had begun to send.
#[tokio::test]
async fn each_fault_of_a_connection() -> Result<(), BoxError> {
    type Fault = fn(&Origin);
    const UNSENT: &[ErrorKind] = &[NeverSent];
    const EITHER: &[ErrorKind] = &[NeverSent, PossiblyProcessed];
    let faults: [(&str, Fault, &[ErrorKind]); 4] = [
        ("refused", |origin| origin.refuse().unwrap(), UNSENT),
        ("closed", |origin| origin.close_on_connect(), EITHER),
        ("reset", |origin| origin.reset_on_connect(), EITHER),
        (
            "hangs",
            |origin| origin.hang_on_connect(),
            &[PossiblyProcessed],
        ),
    ];
    for h2 in [H1, H2] {
        for (name, fault, kinds) in faults {
            for (client_name, client) in clients(h2, limit_of(name)) {
                for method in [Method::GET, Method::POST] {
                    let row = format!("{name}, h2: {h2}, {client_name}, {method}");
                    let origin = Origin::start().await?;
                    fault(&origin);
                    let url = origin.url("/p?token=hunter2");
                    let call = Call::of(&client, &method, &url, limit_of(name)).await;
                    call.assert_kinds(kinds, &method, &row);
                    assert!(origin.received().is_empty(), "{row}");
                }
            }
        }
        for (client_name, client) in clients(h2, LONG) {
            for method in [Method::GET, Method::POST] {
                let row = format!("DNS, h2: {h2}, {client_name}, {method}");
                let url = "http://does-not-exist.invalid/p?token=hunter2";
                Call::of(&client, &method, url, LONG)
                    .await
                    .assert_kinds(UNSENT, &method, &row);
            }
        }
    }
    Ok(())
}

/// R80 R81 The server closes an idle connection while the client sends on it. RFC 9112, 9.3.1: only
/// idempotent methods are repeated, unless the client knows that it sent nothing.
#[tokio::test]
async fn the_race_of_a_kept_connection() -> Result<(), BoxError> {
    for h2 in [H1, H2] {
        for (client_name, client) in clients(h2, LONG) {
            for method in [Method::GET, Method::POST] {
                for how in ["on reuse", "idle"] {
                    let row = format!("{how}, h2: {h2}, {client_name}, {method}");
                    let reply = Reply::status(200);
                    let reply = match how {
                        "idle" => reply.close_idle_after(Duration::ZERO),
                        _ => reply.close_on_reuse(),
                    };
                    let origin = Origin::start().await?.then(reply);
                    let origin = origin.then(Reply::status(200)).repeat_last();
                    let url = origin.url("/p?token=hunter2");
                    let first = client.clone().send(Request::get(&url).body("".into())?);
                    assert_eq!(first.await?.status(), 200, "{row}");
                    let call = Call::of(&client, &method, &url, LONG).await;
                    let may_repeat = match call.attempts.first() {
                        None => true,
                        Some((NeverSent, _)) => true,
                        Some((PossiblyProcessed, _)) => method == Method::GET,
                        other => panic!("{row}: {other:?}"),
                    };
                    assert_eq!(
                        call.result.is_ok(),
                        may_repeat,
                        "{row}: {:?}",
                        call.attempts
                    );
                    let received = origin.received();
                    let again = received.iter().skip(1);
                    let posts = again.filter(|request| request.method == Method::POST);
                    assert!(posts.count() <= 1, "{row}: {received:?}");
                }
            }
        }
    }
    Ok(())
}

/// R81 A request that can never succeed is not repeated: a scheme that the client does not speak, a
/// URL without a host, a loop of redirects.
#[tokio::test]
async fn what_is_wrong_in_itself_is_not_repeated() -> Result<(), BoxError> {
    for method in [Method::GET, Method::POST] {
        let client = Client::reqwest(H1, LONG);
        for url in ["ftp://api.example/p?token=hunter2", "/p?token=hunter2"] {
            let call = Call::of(&client, &method, url, LONG).await;
            call.assert_kinds(&[Permanent], &method, &format!("reqwest, {method} {url}"));
        }
        let call = Call::of(&Client::hyper(H1), &method, "/p?token=hunter2", LONG).await;
        call.assert_kinds(&[Permanent], &method, &format!("hyper-util, {method}"));

        let origin = Origin::start().await?;
        let url = origin.url("/p?token=hunter2");
        let origin = origin
            .then(Reply::status(307).header("location", &url))
            .repeat_last();
        let call = Call::of(&client, &method, &url, LONG).await;
        call.assert_kinds(&[Permanent], &method, &format!("redirects, {method}"));
        assert_eq!(call.attempts.len(), 1);
        // Ten redirects are followed.
        assert_eq!(origin.received().len(), 11);
    }
    Ok(())
}

/// R80 R81 A success after a fault: the repeated request gets it.
#[tokio::test]
async fn a_repeated_request_succeeds() -> Result<(), BoxError> {
    for h2 in [H1, H2] {
        for (name, reply, h1_kinds, h2_kinds) in replies() {
            for (client_name, client) in clients(h2, limit_of(name)) {
                for method in [Method::GET, Method::POST] {
                    let row = format!("{name}, h2: {h2}, {client_name}, {method}");
                    let origin = Origin::start().await?.then(reply.clone());
                    let origin = origin.then(Reply::status(200).body("page")).repeat_last();
                    let call = Call::of(&client, &method, &origin.url("/p"), limit_of(name)).await;
                    let is_unsent = (if h2 { h2_kinds } else { h1_kinds }) == [NeverSent];
                    let is_repeated = is_unsent || method == Method::GET;
                    let attempts = &call.attempts;
                    assert_eq!(call.result.is_ok(), is_repeated, "{row}: {attempts:?}");
                    let received = origin.received().len();
                    // A slow machine may exceed a short limit again.
                    let expected = if is_repeated { 2..=3 } else { 1..=1 };
                    assert!(expected.contains(&received), "{row}: {received}");
                }
            }
        }
    }
    Ok(())
}
