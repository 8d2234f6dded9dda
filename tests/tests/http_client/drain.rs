//! The body of a response is read before a retry, so that the retry uses the same connection.
//!
//! The servers are real, the clock is not: it moves only when a test says so.

use std::{
    convert::Infallible,
    future::ready,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc as std_mpsc,
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::{Instant, advance},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_keep::{BoxError, JobLayer, RetryLayer, retry::Jitter};
use tower_keep_tests::servers::Server;

/// The wait before the first retry.
const WAIT: Duration = Duration::from_secs(1);

/// Stops the paused clock, which otherwise moves when no task is ready, although the network may be
/// about to make one ready.
struct StoppedClock(
    #[allow(dead_code, reason = "its drop lets the thread go")] std_mpsc::Sender<()>,
);

impl StoppedClock {
    fn new() -> Self {
        let (hold, held) = std_mpsc::channel::<()>();
        // The clock does not move on its own while a blocking task runs.
        tokio::task::spawn_blocking(move || held.recv());
        Self(hold)
    }
}

/// Lets all tasks run that can, without a step of the clock.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// How the body of a failed response is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Chunked,
    /// With a `Content-Length`.
    Length(u64),
}

/// A body whose parts the test sends.
struct Parts {
    parts: mpsc::UnboundedReceiver<Bytes>,
    framing: Framing,
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.parts.poll_recv(cx);
        part.map(|part| part.map(|part| Ok(Frame::data(part))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Chunked => SizeHint::new(),
            Framing::Length(bytes) => SizeHint::with_exact(bytes),
        }
    }
}

/// A server that answers its first request with 503, and others with 200.
struct Origin {
    server: Server,
    connections: Arc<AtomicUsize>,
    /// Sends the parts of the first body.
    parts: Option<mpsc::UnboundedSender<Bytes>>,
}

impl Origin {
    async fn new(framing: Framing) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let made = Arc::clone(&connections);
        let (send, parts) = mpsc::unbounded_channel();
        let first = Arc::new(std::sync::Mutex::new(Some(Parts { parts, framing })));
        let server = Server::hyper(move || {
            made.fetch_add(1, Ordering::Relaxed);
            let first = Arc::clone(&first);
            service_fn(move |_: Request<Incoming>| {
                let mut response = Response::new(BoxBody::new(Empty::new()));
                if let Some(parts) = first.lock().unwrap().take() {
                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    *response.body_mut() = BoxBody::new(parts);
                }
                ready(Ok::<_, Infallible>(response))
            })
        })
        .await;
        Self {
            server,
            connections,
            parts: Some(send),
        }
    }

    fn send(&self, bytes: usize) {
        let part = Bytes::from(vec![0; bytes]);
        // A client that went away is what some tests want.
        let _ = self.parts.as_ref().unwrap().send(part);
    }

    fn end(&mut self) {
        self.parts = None;
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A response body that tells the test when it is dropped.
struct Watched<B> {
    body: B,
    dropped: Arc<Notify>,
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        self.dropped.notify_one();
    }
}

/// The clients under test.
#[derive(Clone, Copy, Debug)]
enum With {
    HyperUtil,
    Reqwest,
}

const CLIENTS: [With; 2] = [With::HyperUtil, With::Reqwest];

/// A call that was made in a task of its own: the status of its last response.
struct Call {
    status: JoinHandle<Result<StatusCode, BoxError>>,
    /// The body of the failed response was dropped.
    dropped: Arc<Notify>,
    began: Instant,
}

impl Call {
    fn start(origin: &Origin, with: With) -> Self {
        let dropped = Arc::new(Notify::new());
        let began = Instant::now();
        let url = origin.server.url("/");
        let watch = Arc::clone(&dropped);
        let retry = RetryLayer::http().base_delay(WAIT).jitter(Jitter::None);
        let status = match with {
            With::HyperUtil => {
                let client: Client<HttpConnector, Full<Bytes>> =
                    Client::builder(TokioExecutor::new()).build_http();
                let client = client.map_response(move |response: Response<Incoming>| {
                    let dropped = Arc::clone(&watch);
                    response.map(|body| Watched { body, dropped })
                });
                let request = Request::get(url).body(Full::default()).unwrap();
                let client = JobLayer::new("get").layer(retry.layer(client));
                tokio::spawn(async move { Ok(client.oneshot(request).await?.status()) })
            }
            With::Reqwest => {
                let client = reqwest::Client::builder().no_proxy().build().unwrap();
                let request = client.get(url).build().unwrap();
                let client = client.map_response(move |response: reqwest::Response| {
                    let response = Response::<reqwest::Body>::from(response);
                    let dropped = Arc::clone(&watch);
                    let response = response.map(|body| Watched { body, dropped });
                    reqwest::Response::from(response.map(reqwest::Body::wrap))
                });
                let client = JobLayer::new("get").layer(retry.layer(client));
                tokio::spawn(async move { Ok(client.oneshot(request).await?.status()) })
            }
        };
        Self {
            status,
            dropped,
            began,
        }
    }

    /// The wait ends, and with it the call: with a good response, and no later than the wait.
    async fn ends(self) {
        settle().await;
        assert!(!self.status.is_finished(), "the wait is not over");
        advance(WAIT).await;
        assert_eq!(self.status.await.unwrap().unwrap(), StatusCode::OK);
        assert_eq!(self.began.elapsed(), WAIT);
    }
}

/// R80 A small body that comes during the wait is read, and the retry uses the same connection.
#[tokio::test(start_paused = true)]
async fn the_retry_uses_the_same_connection() {
    let _clock = StoppedClock::new();
    for with in CLIENTS {
        for framing in [Framing::Chunked, Framing::Length(3_000)] {
            let mut origin = Origin::new(framing).await;
            let call = Call::start(&origin, with);
            // The head arrives first, and the body in parts.
            for _ in 0..3 {
                settle().await;
                origin.send(1_000);
            }
            settle().await;
            origin.end();
            call.dropped.notified().await;
            call.ends().await;
            assert_eq!(origin.connections(), 1, "{with:?} {framing:?}");
        }
    }
}

/// R80 A body that is known to be large is not read, and not waited for.
#[tokio::test(start_paused = true)]
async fn a_large_body_is_not_read() {
    let _clock = StoppedClock::new();
    for with in CLIENTS {
        let origin = Origin::new(Framing::Length(64 * 1024 + 1)).await;
        let call = Call::start(&origin, with);
        // Not a byte of it was sent.
        call.dropped.notified().await;
        call.ends().await;
        assert_eq!(origin.connections(), 2, "{with:?}");
    }
}

/// R80 A body without an end is read up to the limit, and not waited for.
#[tokio::test(start_paused = true)]
async fn an_endless_body_is_read_up_to_the_limit() {
    let _clock = StoppedClock::new();
    for with in CLIENTS {
        let origin = Origin::new(Framing::Chunked).await;
        let call = Call::start(&origin, with);
        let mut sent = 0;
        let dropped = Arc::clone(&call.dropped);
        let mut dropped = pin!(dropped.notified());
        while futures::poll!(dropped.as_mut()).is_pending() {
            assert!(sent < 1_000, "{with:?} reads all of it");
            origin.send(1_024);
            sent += 1;
            settle().await;
        }
        assert!(sent > 64, "{with:?} read {sent} KiB");
        call.ends().await;
        assert_eq!(origin.connections(), 2, "{with:?}");
    }
}

/// R80 A body that stalls does not delay the retry.
#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_not_waited_for() {
    let _clock = StoppedClock::new();
    for with in CLIENTS {
        for framing in [Framing::Chunked, Framing::Length(1_000)] {
            let origin = Origin::new(framing).await;
            let call = Call::start(&origin, with);
            settle().await;
            origin.send(10);
            call.ends().await;
            assert_eq!(origin.connections(), 2, "{with:?} {framing:?}");
        }
    }
}

/// R80 A body whose connection breaks does not fail the call.
#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_does_not_fail_the_call() {
    let _clock = StoppedClock::new();
    for with in CLIENTS {
        let mut origin = Origin::new(Framing::Length(1_000)).await;
        let call = Call::start(&origin, with);
        settle().await;
        origin.send(10);
        settle().await;
        // The server closes the connection: the body is shorter than its length.
        origin.end();
        call.dropped.notified().await;
        call.ends().await;
        assert_eq!(origin.connections(), 2, "{with:?}");
    }
}

/// R80 The last response reaches the caller with its body, also if it is a failure.
#[tokio::test(start_paused = true)]
async fn the_last_body_is_the_callers() {
    let _clock = StoppedClock::new();
    let mut origin = Origin::new(Framing::Chunked).await;
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(origin.server.url("/"))
        .body(Full::default())
        .unwrap();
    let service = RetryLayer::http().max_retries(0).layer(client);
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    origin.send(10);
    origin.end();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), 10);
}
