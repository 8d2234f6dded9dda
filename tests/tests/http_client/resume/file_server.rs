//! A server of one large file on a socket, over HTTP/1.1 and HTTP/2, that cuts its responses.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;

/// The unit of the content. Each block begins with its number, so that no two are equal.
const BLOCK: u64 = 64 * 1024;

/// The content of a file: seeded, and made block by block.
#[derive(Clone)]
pub(super) struct Content {
    noise: Bytes,
    pub(super) length: u64,
}

impl Content {
    pub(super) fn new(length: u64, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        Self {
            noise: std::iter::repeat_with(|| rng.u8(..))
                .take(BLOCK as usize)
                .collect(),
            length,
        }
    }

    /// The bytes from this position to the end of its block, or of the file.
    fn from(&self, position: u64) -> Bytes {
        let (number, offset) = (position / BLOCK, position % BLOCK);
        let end = (self.length - number * BLOCK).min(BLOCK);
        let mut block = BytesMut::from(&self.noise[..end as usize]);
        let head = block.len().min(8);
        block[..head].copy_from_slice(&number.to_le_bytes()[..head]);
        block.split_off(offset as usize).freeze()
    }
}

/// Checks each byte of a download.
pub(super) struct Checker {
    content: Content,
    pub(super) read: u64,
}

impl Checker {
    pub(super) fn new(content: Content) -> Self {
        Self { content, read: 0 }
    }

    #[track_caller]
    pub(super) fn check(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let expected = self.content.from(self.read);
            let (now, later) = data.split_at(data.len().min(expected.len()));
            assert!(
                now == &expected[..now.len()],
                "other bytes at {}",
                self.read
            );
            self.read += now.len() as u64;
            data = later;
        }
    }
}

/// What the server does with range requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ranges {
    Serves,
    /// The file has changed: another entity tag, and the whole.
    Changed,
    /// The range begins one byte earlier.
    Wrong,
    /// The whole, with the same entity tag.
    Ignores,
    Unsatisfiable,
    /// All responses are labelled as encoded.
    Encoded,
}

struct Shared {
    content: Content,
    ranges: Ranges,
    /// Positions at which a response is cut, in order.
    cuts: Mutex<Vec<u64>>,
    sent: AtomicU64,
    requests: AtomicUsize,
}

/// The server, which stops when it is dropped.
pub(super) struct FileServer {
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl FileServer {
    pub(super) async fn start(content: Content, mut cuts: Vec<u64>, ranges: Ranges) -> Self {
        cuts.sort_unstable();
        let shared = Arc::new(Shared {
            content,
            ranges,
            cuts: Mutex::new(cuts),
            sent: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&serving);
                connections.spawn(async move {
                    let service = tower::service_fn(move |request: Request<Incoming>| {
                        let response = answer(&shared, &request);
                        async { Ok::<_, Infallible>(response) }
                    });
                    let server = Builder::new(TokioExecutor::new());
                    let service = TowerToHyperService::new(service);
                    // A cut ends the connection with an error.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            shared,
            address,
            task,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/file", self.address)
    }

    /// How many bytes of bodies it sent.
    pub(super) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    pub(super) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(shared: &Arc<Shared>, request: &Request<Incoming>) -> Response<CutBody> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let length = shared.content.length;
    let range = request.headers().get("range").map(|range| {
        assert_eq!(request.headers()["if-range"], "\"v1\"");
        let range = range.to_str().unwrap().strip_prefix("bytes=").unwrap();
        range.strip_suffix('-').unwrap().parse::<u64>().unwrap()
    });
    let mut response = Response::builder().header("etag", "\"v1\"");
    let from = match (range, shared.ranges) {
        (None, Ranges::Encoded) => {
            response = response.header("content-encoding", "gzip");
            0
        }
        (Some(_), Ranges::Changed) => {
            response = Response::builder().header("etag", "\"v2\"");
            0
        }
        (Some(_), Ranges::Unsatisfiable) => {
            response = response
                .status(416)
                .header("content-range", format!("bytes */{length}"));
            length
        }
        (None, _) | (_, Ranges::Ignores) => 0,
        (Some(from), ranges) => {
            let from = from - u64::from(ranges == Ranges::Wrong);
            let range = format!("bytes {from}-{}/{length}", length - 1);
            response = response.status(206).header("content-range", range);
            from
        }
    };
    let mut cuts = shared.cuts.lock().unwrap();
    let cut = match cuts.iter().position(|cut| *cut > from) {
        Some(index) => cuts.remove(index),
        None => u64::MAX,
    };
    let body = CutBody {
        shared: Arc::clone(shared),
        next: from,
        cut,
    };
    response.body(body).unwrap()
}

/// The file from a position on, up to a cut.
struct CutBody {
    shared: Arc<Shared>,
    next: u64,
    cut: u64,
}

impl Body for CutBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.next == self.shared.content.length {
            return Poll::Ready(None);
        }
        if self.next >= self.cut {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
        }
        let mut data = self.shared.content.from(self.next);
        let left = usize::try_from(self.cut - self.next).unwrap_or(usize::MAX);
        data.truncate(left);
        self.next += data.len() as u64;
        self.shared
            .sent
            .fetch_add(data.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.shared.content.length - self.next)
    }
}
