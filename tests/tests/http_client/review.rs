//! Requests that were processed although their errors look otherwise, hints that get lost on the way
//! out, and failures that say nothing about the server.

use std::io;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use hyper_util::{client::legacy, rt::TokioExecutor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CircuitBreakerLayer, GiveUpReason, LogLayer, ReplayLayer, RetryLayer, SendThrough,
    TimeoutLayer,
    http::ErrorKind,
    retry::{GaveUp, Jitter},
};
use tower_keep_test::{
    Recorder, Scripted,
    http::{Origin, Reply},
};
use tower_keep_tests::*;

fn reqwest_client() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .retry(reqwest::retry::never())
        .no_proxy()
}

fn hyper_client(h2: bool) -> legacy::Builder {
    let mut client = legacy::Client::builder(TokioExecutor::new());
    client.http2_only(h2).retry_canceled_requests(false);
    client
}

/// A server that refuses connections.
async fn down() -> io::Result<Origin> {
    let origin = Origin::start().await?;
    origin.refuse()?;
    Ok(origin)
}

/// Answers each call with this status and this header.
fn answering(
    status: u16,
    header: Option<(&'static str, &'static str)>,
) -> Scripted<Request<String>, Response<String>, BoxError> {
    Scripted::always(move |_| {
        let mut response = Response::builder().status(status);
        if let Some((name, value)) = header {
            response = response.header(name, value);
        }
        Ok(response.body(String::new())?)
    })
}

/// R80 A POST is processed, and its answer leads to a server that is down. A client that does not
/// follow redirects shows the answer, so the POST is not repeated.
#[tokio::test]
async fn a_redirect_is_an_answer() -> Result<(), BoxError> {
    let down = down().await?;
    let origin = Origin::start()
        .await?
        .then(Reply::status(303).header("location", down.url("/orders/1")))
        .repeat_last();
    let client = reqwest_client()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let api = RetryLayer::http().base_delay(ms(1)).layer(client.clone());
    let order = client.post(origin.url("/orders")).body("order");
    assert_eq!(order.send_through(&api).await?.status(), 303);
    assert_eq!(origin.received().len(), 1);
    Ok(())
}

/// R80 R81 The body of a request comes from another server, which is down. The error of the connect
/// is that of the body: a part of it has arrived.
#[tokio::test]
async fn a_body_from_a_server_that_is_down() -> Result<(), BoxError> {
    let down = down().await?;
    let origin = Origin::start().await?;
    let (gate, open) = tokio::sync::oneshot::channel::<()>();
    let first = futures::stream::once(async { Ok(Bytes::from_static(b"first")) });
    let other = reqwest_client().build()?;
    let rest = futures::stream::once(async move {
        let _ = open.await;
        other.get(down.url("/")).send().await?.bytes().await
    });
    let chunks = futures::StreamExt::chain(first, rest);
    let opened = async {
        origin.until(|received| !received.is_empty()).await;
        drop(gate);
    };
    let client = reqwest_client().build()?;
    let body = reqwest::Body::wrap_stream(chunks);
    let call = client.post(origin.url("/")).body(body).send();
    let (result, ()) = tokio::join!(call, opened);
    let error = result.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    assert_eq!(ErrorKind::of(&error), ErrorKind::RequestBody, "{error:?}");

    // A real connect.
    let error = client.post(down_url().await?).send().await.unwrap_err();
    assert_eq!(ErrorKind::of(&error), ErrorKind::NeverSent, "{error:?}");
    Ok(())
}

async fn down_url() -> io::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    Ok(format!("http://{}/", listener.local_addr()?))
}

/// R81 A request body that fails says nothing about the server: no circuit counts it, over HTTP/1.1
/// and HTTP/2.
#[tokio::test]
async fn a_failed_upload_opens_no_circuit() -> Result<(), BoxError> {
    for h2 in [false, true] {
        let origin = Origin::start().await?;
        let breaker = CircuitBreakerLayer::http();
        let circuits = breaker.handle();
        let api = breaker.layer(hyper_client(h2).build_http());
        let frames = futures::stream::iter([
            Ok(Frame::data(Bytes::from_static(b"x"))),
            Err(io::Error::other("the disk failed")),
        ]);
        let request = Request::post(origin.url("/")).body(StreamBody::new(frames))?;
        let error = api.oneshot(request).await.unwrap_err();
        let circuit = circuits.get(&origin.authority().parse()?).unwrap();
        let snapshot = circuit.snapshot();
        assert_eq!(snapshot.failures_in_a_row, 0, "h2: {h2}, {error:?}");
    }
    Ok(())
}

/// R80 A key without characters is none.
#[tokio::test(start_paused = true)]
async fn a_blank_key_is_no_key() {
    for (key, expected) in [
        ("", 1),
        (" ", 1),
        ("\t", 1),
        ("\"\"", 1),
        ("\" \"", 1),
        ("\"7\"", 4),
        ("7", 4),
    ] {
        let client = answering(503, None);
        let calls = client.calls();
        let request = Request::post("http://api.example/")
            .header("idempotency-key", key)
            .body(String::new())
            .unwrap();
        let api = RetryLayer::http().layer(client);
        api.oneshot(request).await.unwrap();
        assert_eq!(calls.count(), expected, "{key:?}");
    }
}

/// R82 An inner retry gives up on an answer with a hint, and its hook makes an error of it, in which
/// the hint is lost. An outer retry does not come back earlier than the server asked.
#[tokio::test(start_paused = true)]
async fn a_lost_hint_is_not_ignored() {
    type Outcome = Result<Response<String>, BoxError>;
    for (after, inner, expected) in [
        // Longer than the inner retry waits.
        ("300", RetryLayer::http(), 1),
        // The last attempt of the inner retry.
        ("2", RetryLayer::http().max_retries(1), 2),
    ] {
        let client = answering(503, Some(("retry-after", after)));
        let calls = client.calls();
        let api = ServiceBuilder::new()
            .layer(RetryLayer::http())
            .layer(inner.on_give_up(|outcome: Outcome, why| {
                Err(match outcome {
                    Ok(_) => why.into(),
                    Err(error) => why.caused_by(error).into(),
                })
            }))
            .service(client);
        let request = Request::get("http://api.example/").body(String::new());
        api.oneshot(request.unwrap()).await.unwrap_err();
        assert_eq!(calls.count(), expected, "{after:?}");
    }
}

/// R81 The circuit counts a call on which an inner retry gave up, also if its error does not say
/// what failed. An outer retry goes on after a failure that it knows.
#[tokio::test(start_paused = true)]
async fn giving_up_is_a_failure() {
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    for (error, attempts) in [
        (GaveUp::new(GiveUpReason::Exhausted, 4), 1),
        (
            GaveUp::new(GiveUpReason::Exhausted, 4).caused_by(refused()),
            2,
        ),
        (
            GaveUp::new(GiveUpReason::AskedTooLong, 1).caused_by(refused()),
            1,
        ),
    ] {
        let text = format!("{error:?}");
        let breaker = CircuitBreakerLayer::http();
        let circuits = breaker.handle();
        let client = Scripted::<Request<String>, Response<String>, BoxError>::new()
            .error(error.into())
            .answer(Response::new(String::new()));
        let calls = client.calls();
        let api = ServiceBuilder::new()
            .layer(RetryLayer::http())
            .layer(breaker)
            .service(client);
        let request = Request::get("http://api.example/").body(String::new());
        let result = api.oneshot(request.unwrap()).await;
        assert_eq!(result.is_ok(), attempts == 2, "{text}");
        assert_eq!(calls.count(), attempts, "{text}");
        let circuit = circuits.get(&"api.example:80".parse().unwrap()).unwrap();
        let failures = circuit.snapshot().failures_in_a_row;
        assert_eq!(failures, 2 - attempts as u32, "{text}");
    }
}

/// R75 RFC 9113, 6.8: the debug data of a GOAWAY may be secret. No event shows it.
#[tokio::test]
async fn debug_data_is_not_shown() -> Result<(), BoxError> {
    const DEBUG: &[u8] = b"at https://10.0.0.1/ token hunter2";
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut received = [0; 1024];
            let _ = socket.read(&mut received).await;
            // SETTINGS, then GOAWAY with ENHANCE_YOUR_CALM.
            let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
            frames.extend([0, 0, 8 + DEBUG.len() as u8, 7, 0, 0, 0, 0, 0]);
            frames.extend([0, 0, 0, 0, 0, 0, 0, 11]);
            frames.extend(DEBUG);
            let _ = socket.write_all(&frames).await;
            while let Ok(1..) = socket.read(&mut received).await {}
        }
    });
    let recorder = Recorder::new();
    let api = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(CircuitBreakerLayer::http().failure_threshold(1))
        .layer(RetryLayer::http().base_delay(ms(1)))
        .layer(TimeoutLayer::new(secs(5)).per_attempt())
        .service(hyper_client(true).build_http::<Full<Bytes>>());
    // The second failure opens the circuit.
    for _ in 0..2 {
        let request = Request::get(&url).body(Full::default())?;
        let error = api.clone().oneshot(request).await.unwrap_err();
        assert!(format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    assert_eq!(recorder.count("circuit_opened"), 1);
    for event in recorder.events() {
        assert!(!format!("{event:?}").contains("hunter2"), "{event:?}");
    }
    let events = format!("{:?}", recorder.events());
    assert!(
        events.contains("connection error: detected excessive load"),
        "{events}"
    );
    Ok(())
}

/// R83 The server rejects an upload early, and the upload goes on during the wait: it must not exceed
/// the cap there. The next attempt sends all of it, and then the rest.
#[tokio::test]
async fn an_upload_stops_before_it_is_repeated() -> Result<(), BoxError> {
    const PARTS: usize = 20;
    const PART: usize = 8192;
    let body = || {
        let frames = futures::stream::unfold(0, |n| async move {
            if n > 0 {
                tokio::time::sleep(ms(10)).await;
            }
            let frame = Frame::data(Bytes::from(vec![7; PART]));
            (n < PARTS).then_some((Ok::<_, io::Error>(frame), n + 1))
        });
        StreamBody::new(Box::pin(frames))
    };
    let retry = || {
        let retry = RetryLayer::http().jitter(Jitter::None);
        retry.base_delay(ms(500)).max_delay(ms(500))
    };
    let origin = async || {
        let origin = Origin::start().await?;
        let origin = origin.then(Reply::status(503).early());
        Ok::<_, BoxError>(origin.then(Reply::status(200)))
    };
    for h2 in [false, true] {
        let origin = origin().await?;
        let api = ServiceBuilder::new()
            .layer(ReplayLayer::new())
            .layer(retry())
            .service(hyper_client(h2).build_http());
        let request = Request::put(origin.url("/")).body(body())?;
        let response = api.oneshot(request).await?;
        assert_eq!(response.status(), 200, "h2: {h2}");
        let received = origin.received();
        assert_eq!(received.last().unwrap().body.len(), PARTS * PART);
    }
    for h2 in [false, true] {
        let origin = origin().await?;
        let client = match h2 {
            true => reqwest_client().http2_prior_knowledge().build()?,
            false => reqwest_client().build()?,
        };
        let api = retry().layer(client.clone());
        let body = reqwest::Body::wrap(body());
        let upload = client.put(origin.url("/")).body(body);
        assert_eq!(upload.send_through(&api).await?.status(), 200, "h2: {h2}");
        let received = origin.received();
        assert_eq!(received.last().unwrap().body.len(), PARTS * PART);
    }
    Ok(())
}

/// R83 Two layers with different caps: the retry inside asks the nearer one.
#[tokio::test]
async fn the_nearest_record_counts() -> Result<(), BoxError> {
    for h2 in [false, true] {
        let origin = Origin::start().await?.then(Reply::status(503));
        let origin = origin.then(Reply::status(200));
        let api = ServiceBuilder::new()
            .layer(ReplayLayer::new().max_body(1000))
            .layer(ReplayLayer::new())
            .layer(RetryLayer::http().base_delay(ms(1)))
            .service(hyper_client(h2).build_http());
        let body = Full::new(Bytes::from(vec![7; 10_000]));
        let request = Request::put(origin.url("/")).body(body)?;
        assert_eq!(api.oneshot(request).await?.status(), 200, "h2: {h2}");
        for received in origin.received() {
            assert_eq!(received.body.len(), 10_000, "h2: {h2}");
        }
    }
    Ok(())
}
