//! A server on this machine that misbehaves in the ways real ones do.

use std::{
    collections::HashSet,
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{
        StatusCode, Uri,
        header::{CONTENT_LENGTH, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use futures::stream::{self, Stream, StreamExt};
use tokio::net::{TcpListener, TcpSocket};

const CHUNK: usize = 64 * 1024;
const MIB: usize = 1024 * 1024;

/// The server, which runs as long as the process, and a host that is down.
#[derive(Debug)]
pub(crate) struct Origin {
    up: SocketAddr,
    /// Bound and never listening: its port refuses connections, and nobody else gets it meanwhile.
    down: TcpSocket,
}

impl Origin {
    pub(crate) async fn start() -> io::Result<Self> {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let down = TcpSocket::new_v4()?;
        down.bind(any_port)?;
        let listener = TcpListener::bind(any_port).await?;
        let up = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, routes()).await });
        Ok(Self { up, down })
    }

    pub(crate) fn up(&self) -> SocketAddr {
        self.up
    }

    pub(crate) fn down(&self) -> SocketAddr {
        self.down.local_addr().unwrap_or(self.up)
    }
}

fn routes() -> Router {
    Router::new()
        .route("/hello.txt", get("hello\n"))
        .route("/other/hello.txt", get("another hello\n"))
        .route("/slow-first-byte.txt", get(slow_first_byte))
        .route("/busy.txt", get(busy))
        .route("/busy-retry-after.txt", get(busy_retry_after))
        .route("/cut-once.bin", get(cut_once))
        .route("/stalls-once.bin", get(stalls_once))
        .route("/large-video.bin", get(|| async { paced(12 * MIB) }))
        .route("/large-dump.bin", get(|| async { paced(8 * MIB) }))
        .with_state(Visits::default())
    // Everything else is a 404.
}

/// Which paths were asked for before.
#[derive(Clone, Default)]
struct Visits(Arc<Mutex<HashSet<String>>>);

impl Visits {
    fn is_first(&self, uri: &Uri) -> bool {
        let mut visits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        visits.insert(uri.path().to_owned())
    }
}

async fn slow_first_byte() -> &'static str {
    tokio::time::sleep(Duration::from_millis(1500)).await;
    "at last\n"
}

async fn busy(State(visits): State<Visits>, uri: Uri) -> Response {
    if visits.is_first(&uri) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    "free again\n".into_response()
}

async fn busy_retry_after(State(visits): State<Visits>, uri: Uri) -> Response {
    if visits.is_first(&uri) {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")]).into_response();
    }
    "free again, as promised\n".into_response()
}

/// The connection is gone in the middle of the body.
async fn cut_once(State(visits): State<Visits>, uri: Uri) -> Response {
    if !visits.is_first(&uri) {
        return paced(MIB);
    }
    let cut = Err(io::Error::from(io::ErrorKind::ConnectionReset));
    let body = chunks(MIB / 2).map(Ok).chain(stream::iter([cut]));
    with_length(MIB, Body::from_stream(body))
}

/// The connection stays, and nothing more comes.
async fn stalls_once(State(visits): State<Visits>, uri: Uri) -> Response {
    if !visits.is_first(&uri) {
        return paced(MIB);
    }
    let body = chunks(MIB / 2).chain(stream::pending());
    with_length(MIB, Body::from_stream(body.map(Ok::<_, Infallible>)))
}

fn paced(bytes: usize) -> Response {
    with_length(
        bytes,
        Body::from_stream(chunks(bytes).map(Ok::<_, Infallible>)),
    )
}

fn with_length(bytes: usize, body: Body) -> Response {
    ([(CONTENT_LENGTH, bytes)], body).into_response()
}

/// A body of this length, about 4 MiB a second.
fn chunks(bytes: usize) -> impl Stream<Item = Bytes> + Send + 'static {
    let chunk = Bytes::from(vec![b'.'; CHUNK]);
    stream::iter(0..bytes / CHUNK).then(move |_| {
        let chunk = chunk.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(15)).await;
            chunk
        }
    })
}
