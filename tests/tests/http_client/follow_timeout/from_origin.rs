//! Limited bodies of a misbehaving origin, with hyper's clients over HTTP/1.1 and HTTP/2, on a paused
//! clock.

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, LogLayer, TimeoutLayer, find,
    timeout::{Elapsed, LimitScope},
};
use tower_keep_test::{
    Recorder,
    http::{Origin, Reply},
    secs,
};

use super::super::follow::end;

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// Sends a request with this method and upload on a connection of its own.
async fn send(
    origin: &Origin,
    version: Version,
    method: &str,
    upload: &'static [u8],
) -> Result<Response<Incoming>, BoxError> {
    let stream = TokioIo::new(origin.connect()?);
    let request = Request::builder()
        .method(method)
        .uri("http://origin.test/")
        .header("host", "origin.test")
        .body(Full::new(Bytes::from_static(upload)))?;
    Ok(match version {
        Version::HTTP_2 => {
            let (mut client, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            client.send_request(request).await?
        }
        _ => {
            let (mut client, connection) = http1::handshake(stream).await?;
            tokio::spawn(connection);
            client.send_request(request).await?
        }
    })
}

/// Reads one reply under a limit of 60 s, and of 10 s for each attempt, 15 s idle. `pause`: the
/// reader's, before each frame.
async fn read(
    version: Version,
    method: &'static str,
    reply: Reply,
    pause: std::time::Duration,
) -> (Result<usize, BoxError>, Recorder, std::time::Duration) {
    static UPLOAD: [u8; 100_000] = [b'u'; 100_000];
    let upload = if method == "POST" { &UPLOAD[..] } else { &[] };
    let recorder = Recorder::new();
    let origin = std::sync::Arc::new(Origin::in_memory().then(reply));
    let start = Instant::now();
    let service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(TimeoutLayer::http(secs(60)))
        .layer(TimeoutLayer::http_attempt(secs(10)).idle(secs(15)))
        .service(service_fn({
            let origin = std::sync::Arc::clone(&origin);
            move |_: Request<()>| {
                let origin = std::sync::Arc::clone(&origin);
                async move { send(&origin, version, method, upload).await }
            }
        }));
    let request = Request::builder().method(method).uri("http://origin.test/");
    let read = async {
        let response = service.oneshot(request.body(()).unwrap()).await?;
        let mut body = response.into_body();
        let mut bytes = 0;
        loop {
            sleep(pause).await;
            let Some(frame) = body.frame().await else {
                return Ok(bytes);
            };
            bytes += frame?.data_ref().map_or(0, Bytes::len);
        }
    };
    (read.await, recorder, start.elapsed())
}

/// R84 R85 Asks 22 to 24: what an origin does, and what its reader gets, and when.
#[tokio::test(start_paused = true)]
async fn what_the_origin_does() {
    let none = secs(0);
    let page = || Reply::status(200).body(vec![b'x'; 100]);
    for version in VERSIONS {
        for (what, method, reply, pause, expected, at) in [
            ("complete", "GET", page(), none, None, 0),
            ("chunked", "GET", page().chunked(), none, None, 0),
            (
                "trailers",
                "GET",
                page().chunked().trailer("x-sum", "1"),
                none,
                None,
                0,
            ),
            ("late head", "GET", page().after(secs(9)), none, None, 9),
            (
                "later head",
                "GET",
                page().after(secs(11)),
                none,
                Some((LimitScope::Attempt, 10)),
                10,
            ),
            (
                "stalls",
                "GET",
                page().stall_after(40),
                none,
                Some((LimitScope::Idle, 15)),
                15,
            ),
            (
                "stalls at once",
                "GET",
                page().stall_after(0),
                none,
                Some((LimitScope::Idle, 15)),
                15,
            ),
            (
                "stalls, chunked",
                "GET",
                page().chunked().stall_after(40),
                none,
                Some((LimitScope::Idle, 15)),
                15,
            ),
            (
                "pauses",
                "GET",
                page().pause_after(40, secs(14)),
                none,
                None,
                14,
            ),
            (
                "pauses for long",
                "GET",
                page().pause_after(40, secs(16)),
                none,
                Some((LimitScope::Idle, 15)),
                15,
            ),
            (
                "trickles",
                "GET",
                page().trickle(20, secs(14)),
                none,
                None,
                4 * 14,
            ),
            (
                "trickles for long",
                "GET",
                page().trickle(10, secs(14)),
                none,
                Some((LimitScope::Overall, 60)),
                60,
            ),
            ("early response", "POST", page().early(), none, None, 0),
            (
                "early, stalls",
                "POST",
                page().early().stall_after(40),
                none,
                Some((LimitScope::Idle, 15)),
                15,
            ),
            (
                "thinks after the upload",
                "POST",
                page().after(secs(9)),
                none,
                None,
                9,
            ),
            ("empty", "GET", Reply::status(200), none, None, 0),
            ("no content", "GET", Reply::status(204), none, None, 0),
            ("not modified", "GET", Reply::status(304), none, None, 0),
            ("head", "HEAD", page(), none, None, 0),
            ("slow reader", "GET", page(), secs(20), None, 40),
            (
                "slow reader, trickles",
                "GET",
                page().trickle(50, secs(25)),
                secs(20),
                None,
                60,
            ),
        ] {
            let (read, recorder, took) = read(version, method, reply, pause).await;
            let row = format!("{version:?} {what}: {read:?}");
            let limit = read.as_ref().err().map(|error| {
                let why = find::<Elapsed>(&**error).expect(&row);
                (why.scope().clone(), why.limit().as_secs())
            });
            assert_eq!(limit, expected, "{row}");
            // A slow reader may have to poll once more to see the end.
            let more = took.as_secs().checked_sub(at);
            let is_in_time = more == Some(0) || more == Some(pause.as_secs());
            assert!(is_in_time, "{row} took {took:?}");
            let (how, body_end) = end(&recorder).expect(&row);
            match expected {
                None => assert_eq!((&*how, body_end), ("succeeded", "complete"), "{row}"),
                Some((LimitScope::Attempt, _)) => assert_eq!(body_end, "-", "{row}"),
                Some(_) => assert_eq!(body_end, "stalled", "{row}"),
            }
        }
    }
}

/// R84 The expiry ends the transfer: the origin sees its connection or stream end, while the reader
/// still holds the response.
#[tokio::test(start_paused = true)]
async fn the_expiry_ends_the_transfer() {
    for version in VERSIONS {
        let origin = std::sync::Arc::new(
            Origin::in_memory().then(Reply::status(200).body("0123456789").stall_after(4)),
        );
        let inner = std::sync::Arc::clone(&origin);
        let (closed, closes) = tokio::sync::oneshot::channel();
        let closed = std::sync::Mutex::new(Some(closed));
        let service = TimeoutLayer::http(secs(60)).layer(service_fn(move |_: Request<()>| {
            let origin = std::sync::Arc::clone(&inner);
            let closed = closed.lock().unwrap().take().unwrap();
            async move {
                let stream = TokioIo::new(origin.connect()?);
                let request = Request::get("http://origin.test/")
                    .header("host", "origin.test")
                    .body(Full::<Bytes>::default())?;
                if version == Version::HTTP_2 {
                    let (mut client, connection) =
                        http2::handshake(TokioExecutor::new(), stream).await?;
                    tokio::spawn(async move { closed.send(connection.await.is_ok()) });
                    Ok::<_, BoxError>(client.send_request(request).await?)
                } else {
                    let (mut client, connection) = http1::handshake(stream).await?;
                    tokio::spawn(async move { closed.send(connection.await.is_ok()) });
                    Ok(client.send_request(request).await?)
                }
            }
        }));
        let request = Request::get("http://origin.test/").body(()).unwrap();
        let mut body = service.oneshot(request).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        body.frame().await.unwrap().unwrap_err();
        // The client of this connection is gone, and its last body, too.
        let _ = tokio::time::timeout(secs(1), closes)
            .await
            .expect("it is closed");
        drop(body);
    }
}
