//! Servers on the loopback interface, connections to them, and handlers that a test controls.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    middleware::{self, Next},
    routing::{MethodRouter, any},
};
use http::{Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tower_keep::{BoxError, CancelReason, EventKind, Job, JobId};
use tower_keep_test::{Gate, Recorder};

mod connections;

pub use self::connections::*;

/// The limit for what never answers.
pub const SHORT: Duration = Duration::from_millis(50);

/// The limit for what does answer.
pub const LONG: Duration = Duration::from_secs(30);

/// The delay before a retry that a test waits for.
pub const SOON: Duration = Duration::from_millis(1);

/// No test takes longer: a bug is a failure, not a hang.
pub async fn bounded<F: Future>(test: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), test)
        .await
        .expect("the test hangs")
}

/// A task that ends with its owner.
#[derive(Debug)]
pub struct Background(JoinHandle<()>);

impl Background {
    /// Spawns the task.
    pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A server on an ephemeral port of the loopback interface, gone when it is dropped.
#[derive(Debug)]
pub struct Server {
    /// The address at which it listens.
    pub addr: SocketAddr,
    _task: Background,
}

/// A listener on an ephemeral port of the loopback interface.
pub async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// A port that is taken, and refuses as long as nobody listens.
pub fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

impl Server {
    /// `axum::serve`.
    pub async fn axum(app: Router) -> Self {
        let (listener, addr) = listen().await;
        Self {
            addr,
            _task: Background::spawn(async move { axum::serve(listener, app).await.unwrap() }),
        }
    }

    /// hyper's own loop, for HTTP/1 and HTTP/2. A service is made for each connection.
    pub async fn hyper<M, S, B>(make: M) -> Self
    where
        M: Fn() -> S + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let (listener, addr) = listen().await;
        let accept = async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(make());
                connections.spawn(async move {
                    // How it ends is the client's to see.
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        };
        Self {
            addr,
            _task: Background::spawn(accept),
        }
    }

    /// Accepts connections, reads what comes, and never says a word.
    pub async fn silent() -> Self {
        let (listener, addr) = listen().await;
        let accept = async move {
            let mut held = Vec::new();
            loop {
                held.push(listener.accept().await.unwrap());
            }
        };
        Self {
            addr,
            _task: Background::spawn(accept),
        }
    }

    /// The URL of this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

/// Work that says when it begins, and waits until the test lets it go.
#[derive(Clone, Debug)]
pub struct Held {
    entered: mpsc::UnboundedSender<Option<JobId>>,
    /// Lets the work go on.
    pub gate: Gate,
    /// Fires when one such work is over or dropped.
    pub left: CancellationToken,
}

/// The jobs that entered.
#[derive(Debug)]
pub struct Entries(mpsc::UnboundedReceiver<Option<JobId>>);

impl Entries {
    /// The next one, in its job.
    pub async fn job(&mut self) -> JobId {
        self.recv().await.expect("the work runs in a job")
    }

    /// The next one, with its job if there is one.
    pub async fn recv(&mut self) -> Option<JobId> {
        self.0.recv().await.expect("the work is still there")
    }

    /// Whether none has entered since.
    pub fn is_empty(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// Work that a test holds back, and the jobs that enter it.
pub fn held() -> (Held, Entries) {
    let (entered, entries) = mpsc::unbounded_channel();
    let held = Held {
        entered,
        gate: Gate::new(),
        left: CancellationToken::new(),
    };
    (held, Entries(entries))
}

impl Held {
    /// Does the work: waits for the gate, then returns the number of the job.
    pub async fn run(&self) -> String {
        let _left = self.left.clone().drop_guard();
        let job = Job::current().id();
        let _ = self.entered.send(job);
        self.gate.opened().await;
        format!("{}", job.map_or(0, JobId::get))
    }

    /// A route of axum with this work.
    pub fn route(&self) -> MethodRouter {
        let held = self.clone();
        any(move || async move { held.run().await })
    }
}

/// The app, and a token that fires when the server drops a call.
pub fn tells_when_dropped(app: Router) -> (Router, CancellationToken) {
    let gone = CancellationToken::new();
    let dropped = gone.clone();
    let app = app.layer(middleware::from_fn(move |request, next: Next| {
        let guard = dropped.clone().drop_guard();
        async move {
            let _guard = guard;
            next.run(request).await
        }
    }));
    (app, gone)
}

/// Counts the calls, from 1.
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<AtomicUsize>);

impl Count {
    /// Counts a call.
    pub fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How many calls there were.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// A route that fails this often with 503, then answers with the number of calls.
    pub fn fails_first(&self, failures: usize) -> MethodRouter {
        let count = self.clone();
        any(move || async move {
            let calls = count.next();
            let status = if calls <= failures {
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::OK
            };
            (status, calls.to_string())
        })
    }
}

/// Waits for this job's ending.
pub async fn ended(seen: &Recorder, job: JobId) -> EventKind {
    seen.until(|seen| seen.terminal(job).is_some()).await;
    seen.terminal(job).unwrap()
}

/// Waits until this many jobs have ended and says how, in the order in which the jobs began.
pub async fn all_ended(seen: &Recorder, jobs: usize) -> Vec<EventKind> {
    let ended = |seen: &Recorder| {
        seen.kinds()
            .iter()
            .filter(|kind| kind.is_terminal())
            .count()
    };
    seen.until(|seen| ended(seen) >= jobs).await;
    seen.assert_one_terminal_each();
    let all: Vec<_> = seen
        .jobs()
        .into_iter()
        .filter_map(|job| seen.terminal(job))
        .collect();
    assert_eq!(all.len(), jobs, "{seen}");
    all
}

/// The reason of a cancellation.
#[track_caller]
pub fn reason(kind: EventKind) -> CancelReason {
    match kind {
        EventKind::Cancelled { reason, .. } => reason,
        other => panic!("not cancelled: {other:?}"),
    }
}

/// The cause of a failure.
#[track_caller]
pub fn cause(kind: EventKind) -> tower_keep::FailureCause {
    match kind {
        EventKind::Failed { cause, .. } => cause,
        other => panic!("not failed: {other:?}"),
    }
}

/// The parent of a job.
#[track_caller]
pub fn parent(seen: &Recorder, job: JobId) -> Option<JobId> {
    let events = seen.events_of(job);
    let parent = events.first().expect("the job was seen").parent;
    assert!(events.iter().all(|event| event.parent == parent), "{seen}");
    parent
}

/// A copy of the request, if it is idempotent.
pub fn repeat(request: &reqwest::Request) -> Option<reqwest::Request> {
    let idempotent = request.method().is_idempotent();
    idempotent.then(|| request.try_clone()).flatten()
}

/// A reqwest client that talks to the loopback interface only and pools no connection.
pub fn reqwest_client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .retry(reqwest::retry::never())
        .build()
        .unwrap()
}
