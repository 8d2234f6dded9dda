//! The README's recipes, as they stand there, and that they do what they say.

mod axum_recipe {
    use std::{borrow::Cow, convert::Infallible, fmt::Display, io, time::Duration};

    use axum::{
        Router,
        extract::{MatchedPath, Request},
        http::StatusCode,
        response::{IntoResponse, Response},
        routing::get,
    };
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;
    use tower::ServiceBuilder;
    use tower_keep::{
        CancelLayer, CircuitBreakerLayer, Classify, Job, LogLayer, Outcome, ProgressLayer,
        TimeoutLayer, cancel::CancelHandle,
    };

    fn answer(status: StatusCode, why: impl Display) -> Response {
        (status, why.to_string()).into_response()
    }

    /// What failed, for the log and the circuits alike.
    #[derive(Clone, Copy)]
    struct ServerErrors;

    impl Classify<Response, Infallible> for ServerErrors {
        fn classify(&self, result: &Result<Response, Infallible>) -> Outcome {
            match result {
                Ok(response) if response.status().is_server_error() => Outcome::Failure,
                _ => Outcome::Success,
            }
        }

        fn describe(&self, result: &Result<Response, Infallible>) -> Option<Cow<'static, str>> {
            let response = result.as_ref().ok()?;
            Some(format!("answered {}", response.status()).into())
        }
    }

    /// One circuit for each route, so that a broken route does not take the others down.
    fn route(request: &Request) -> String {
        let path = request.extensions().get::<MatchedPath>();
        path.map_or_else(String::new, |path| path.as_str().to_owned())
    }

    pub(super) async fn report() -> String {
        let job = Job::current();
        tokio::time::sleep(Duration::from_millis(50)).await; // the work
        job.progress(0.5);
        format!("report of job {:?}", job.id())
    }

    /// These routes behind the layers, and a handle that cancels their jobs. Once `stopping` fires, nothing new begins, and
    /// what runs has this long to end.
    pub(super) fn defend(
        routes: Router,
        stopping: CancellationToken,
        within: Duration,
    ) -> (Router, CancelHandle) {
        let cancel = CancelLayer::new()
            .shutdown_on(stopping, within)
            .respond_with(|why| answer(StatusCode::SERVICE_UNAVAILABLE, why));
        let handle = cancel.handle();
        let layers = ServiceBuilder::new()
            .layer(LogLayer::new().classify(ServerErrors))
            .layer(ProgressLayer::new())
            .layer(cancel)
            .layer(
                CircuitBreakerLayer::new()
                    .per_key(route)
                    .classify(ServerErrors)
                    .respond_with(|why| answer(StatusCode::SERVICE_UNAVAILABLE, why)),
            )
            .layer(
                TimeoutLayer::new(Duration::from_secs(30))
                    .respond_with(|why| answer(StatusCode::GATEWAY_TIMEOUT, why)),
            );
        (routes.layer(layers), handle)
    }

    /// Serves until `stopping` fires, and ends when the last job has.
    pub(super) async fn serve(
        listener: TcpListener,
        stopping: CancellationToken,
    ) -> io::Result<()> {
        let routes = Router::new().route("/report", get(report));
        let (app, _) = defend(routes, stopping.clone(), Duration::from_secs(30));
        axum::serve(listener, app)
            .with_graceful_shutdown(stopping.cancelled_owned())
            .await
    }
}

mod bounded_shutdown {
    use std::{future::IntoFuture, io, time::Duration};

    use axum::Router;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    /// Serves until `stopping` fires, and leaves what still streams this long after that.
    pub(super) async fn serve_within(
        listener: TcpListener,
        app: Router,
        stopping: CancellationToken,
        within: Duration,
    ) -> io::Result<()> {
        let server =
            axum::serve(listener, app).with_graceful_shutdown(stopping.clone().cancelled_owned());
        let bound = async {
            stopping.cancelled().await;
            tokio::time::sleep(within).await;
        };
        tokio::select! {
            ended = server.into_future() => ended,
            () = bound => Ok(()),
        }
    }
}

mod dispatch_recipe {
    use std::{num::NonZeroUsize, time::Duration};

    use axum::{
        Router,
        extract::{Path, State},
        http::StatusCode,
        routing::{get, post},
    };
    use tower::{ServiceBuilder, service_fn, util::BoxCloneSyncService};
    use tower_keep::{BoxError, Dispatcher, Job, JobId, RetryLayer, TimeoutLayer};

    pub(super) type Jobs = Dispatcher<BoxCloneSyncService<String, String, BoxError>>;

    async fn report(of: String) -> Result<String, BoxError> {
        Job::current().progress(0.5);
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok(format!("report of {of}"))
    }

    /// Begins a job that a client's disconnect does not stop, and says which.
    async fn create(
        State(jobs): State<Jobs>,
        of: String,
    ) -> Result<(StatusCode, String), StatusCode> {
        match jobs.try_dispatch(of) {
            Ok(job) => Ok((StatusCode::ACCEPTED, job.id().to_string())),
            Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    async fn status(State(jobs): State<Jobs>, Path(id): Path<u64>) -> Result<String, StatusCode> {
        let job = JobId::from_u64(id).and_then(|id| jobs.find(id));
        let job = job.ok_or(StatusCode::NOT_FOUND)?;
        Ok(match job.report.fraction() {
            Some(fraction) => format!("{}, {:.0} %", job.state, fraction * 100.0),
            None => job.state.to_string(),
        })
    }

    async fn cancel(State(jobs): State<Jobs>, Path(id): Path<u64>) -> StatusCode {
        match JobId::from_u64(id) {
            Some(id) if jobs.cancel_handle().cancel(id) => StatusCode::NO_CONTENT,
            _ => StatusCode::NOT_FOUND,
        }
    }

    /// At most a hundred reports at a time, and what dispatches, shows and cancels them.
    pub(super) fn app() -> (Router, Jobs) {
        let stack = ServiceBuilder::new()
            .layer(RetryLayer::new())
            .layer(TimeoutLayer::new(Duration::from_secs(600)).per_attempt())
            .service(service_fn(report));
        let jobs = Dispatcher::new(BoxCloneSyncService::new(stack))
            .named("report")
            .limit(const { NonZeroUsize::new(100).unwrap() });
        let app = Router::new()
            .route("/reports", post(create))
            .route("/reports/{id}", get(status).delete(cancel))
            .with_state(jobs.clone());
        (app, jobs)
    }
}

mod hyper_recipe {
    use std::{borrow::Cow, convert::Infallible, fmt::Display, io, time::Duration};

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::{Request, Response, StatusCode, body::Incoming};
    use hyper_util::{
        rt::{TokioExecutor, TokioIo},
        server::conn::auto,
        service::TowerToHyperService,
    };
    use tower::{ServiceBuilder, service_fn};
    use tower_keep::{Classify, LogLayer, Outcome, TimeoutLayer};

    fn answer(status: StatusCode, text: impl Display) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(text.to_string()));
        *response.status_mut() = status;
        response
    }

    /// What failed, for the log.
    #[derive(Clone, Copy)]
    struct ServerErrors;

    impl Classify<Response<Full<Bytes>>, Infallible> for ServerErrors {
        fn classify(&self, result: &Result<Response<Full<Bytes>>, Infallible>) -> Outcome {
            match result {
                Ok(response) if response.status().is_server_error() => Outcome::Failure,
                _ => Outcome::Success,
            }
        }

        fn describe(
            &self,
            result: &Result<Response<Full<Bytes>>, Infallible>,
        ) -> Option<Cow<'static, str>> {
            let response = result.as_ref().ok()?;
            Some(format!("answered {}", response.status()).into())
        }
    }

    async fn handle(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(answer(StatusCode::OK, request.uri().path()))
    }

    pub(super) async fn serve(listener: tokio::net::TcpListener) -> io::Result<()> {
        let service = ServiceBuilder::new()
            .layer(LogLayer::new().classify(ServerErrors))
            .layer(
                TimeoutLayer::new(Duration::from_secs(30))
                    .respond_with(|why| answer(StatusCode::GATEWAY_TIMEOUT, why)),
            )
            .service(service_fn(handle));
        loop {
            let (stream, _) = listener.accept().await?;
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await
            });
        }
    }
}

mod reqwest_recipe {
    use bytes::Bytes;
    use http_body_util::BodyExt;
    use reqwest::{
        Client, Method, Request, Response, StatusCode, Url,
        header::{AUTHORIZATION, HeaderValue, RETRY_AFTER},
    };
    use std::{borrow::Cow, time::Duration};
    use tower::{Service, ServiceBuilder};
    use tower_keep::{
        BoxError, CancelLayer, CircuitBreakerLayer, Classify, DedupLayer, LogLayer, Outcome,
        RetryLayer, TimeoutLayer, describe_error,
        retry::{RetryBudget, RetryBudgets},
    };

    pub(super) type Page = http::Response<Bytes>;

    /// What failed, for the log, the circuits and the retries alike.
    #[derive(Clone, Copy)]
    struct ServerErrors;

    impl Classify<Page, BoxError> for ServerErrors {
        fn classify(&self, result: &Result<Page, BoxError>) -> Outcome {
            match result {
                Ok(page) if page.status().is_server_error() => Outcome::Failure,
                Ok(page) if page.status() == StatusCode::TOO_MANY_REQUESTS => Outcome::Failure,
                Ok(_) => Outcome::Success,
                Err(_) => Outcome::Failure,
            }
        }

        /// The header in seconds; a date is left to the backoff.
        fn retry_after(&self, result: &Result<Page, BoxError>) -> Option<Duration> {
            let seconds = result
                .as_ref()
                .ok()?
                .headers()
                .get(RETRY_AFTER)?
                .to_str()
                .ok()?;
            seconds.parse().ok().map(Duration::from_secs)
        }

        fn describe(&self, result: &Result<Page, BoxError>) -> Option<Cow<'static, str>> {
            Some(match result {
                Ok(page) => format!("the server answered {}", page.status()).into(),
                Err(error) => describe_error(&**error).into(),
            })
        }
    }

    /// Only what may be done twice is tried again: not a POST, which may have placed an order before it failed.
    fn repeat(request: &Request) -> Option<Request> {
        request
            .method()
            .is_idempotent()
            .then(|| request.try_clone())
            .flatten()
    }

    /// One circuit and one retry budget for each, so that a dead host does not speak for the others.
    fn host(request: &Request) -> String {
        request.url().origin().ascii_serialization()
    }

    /// What is asked for, and who asks. If the client uses cookies, they belong here too, as does any other header that the
    /// answer depends on. `None` is never joined.
    fn key(request: &Request) -> Option<(Url, Option<HeaderValue>)> {
        let user = request.headers().get(AUTHORIZATION).cloned();
        (request.method() == Method::GET).then(|| (request.url().clone(), user))
    }

    /// Within the stack, so that the limits cover the body and a response can be shared.
    async fn collect(response: Response) -> Result<Page, reqwest::Error> {
        let (head, body) = http::Response::<reqwest::Body>::from(response).into_parts();
        Ok(http::Response::from_parts(
            head,
            body.collect().await?.to_bytes(),
        ))
    }

    pub(super) fn fetcher(
        client: Client,
    ) -> impl Service<Request, Response = Page, Error = BoxError, Future: Send> + Clone {
        let budgets = RetryBudgets::new(RetryBudget::default());
        ServiceBuilder::new()
            .layer(LogLayer::new().classify(ServerErrors))
            .layer(CancelLayer::new())
            .layer(DedupLayer::new(key).join())
            .layer(
                CircuitBreakerLayer::new()
                    .per_key(host)
                    .classify(ServerErrors),
            )
            .layer(TimeoutLayer::new(Duration::from_secs(60)))
            .layer(
                RetryLayer::for_clients()
                    .classify(ServerErrors)
                    .clone_with(repeat)
                    .budget_by(move |request: &Request| Some(budgets.get(&host(request)))),
            )
            .layer(TimeoutLayer::new(Duration::from_secs(10)).per_attempt())
            .and_then(collect)
            .service(client)
    }
}

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing};
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use tokio::{io::AsyncWriteExt, sync::mpsc, time::Instant};
use tokio_test::{assert_pending, task};
use tokio_util::sync::CancellationToken;
use tower::{ServiceBuilder, ServiceExt, hedge::Hedge, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, EventKind, JobId, LogLayer, RetryLayer,
    cancel::CancelHandle, circuit_breaker::Open, find, progress::JobState,
};
use tower_keep_test::Recorder;

use crate::support::{
    Background, Connection, Count, LONG, SHORT, SOON, Server, all_ended, bounded, delete, ended,
    held, listen, post, reason, refusing, reqwest_client,
};

/// The axum recipe's route.
fn defended(stopping: CancellationToken, within: Duration) -> (Router, CancelHandle) {
    let routes = Router::new().route("/report", routing::get(axum_recipe::report));
    axum_recipe::defend(routes, stopping, within)
}

/// What is written to tracing on this thread from now on, as text.
fn records() -> (impl Fn() -> String, impl Sized) {
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Written {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .finish();
    // With one subscriber in the program, tracing decides on a call site by the thread that is there first, which may
    // be that of a test without any.
    let second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let guard = tracing::subscriber::set_default(subscriber);
    let read = move || String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    (read, (guard, second))
}

/// How many of the log's records have this text.
fn count(records: &str, text: &str) -> usize {
    records
        .lines()
        .filter(|line| line.contains("tower_keep::log") && line.contains(text))
        .count()
}

/// The axum recipe: a route that fails is turned away, the others go on, and the log says what failed.
#[tokio::test]
async fn axum_with_a_broken_route() {
    bounded(async {
        let (records, _guard) = records();
        let broken = || async { StatusCode::INTERNAL_SERVER_ERROR };
        let routes = Router::new()
            .route("/broken/{id}", routing::get(broken))
            .route("/report", routing::get(axum_recipe::report));
        let (app, _) = axum_recipe::defend(routes, CancellationToken::new(), LONG);
        let server = Server::axum(app).await;
        let mut connection = Connection::open(&server).await;
        let mut statuses = Vec::new();
        for id in 0..8 {
            statuses.push(
                connection
                    .get(&format!("/broken/{id}"))
                    .await
                    .status
                    .as_u16(),
            );
        }
        assert_eq!(statuses, [500, 500, 500, 500, 500, 500, 503, 503]);
        assert_eq!(connection.get("/report").await.status, StatusCode::OK);
        assert_eq!(
            connection.get("/unknown").await.status,
            StatusCode::NOT_FOUND
        );
        // A response may arrive before the server's task has ended its job.
        while count(&records(), "succeeded") < 2 {
            tokio::task::yield_now().await;
        }
        let records = records();
        assert_eq!(count(&records, "ERROR"), 6, "{records}");
        // Once more where the circuit opens: its cause.
        assert_eq!(
            count(&records, "answered 500 Internal Server Error"),
            7,
            "{records}"
        );
        assert_eq!(count(&records, "rejected"), 2, "{records}");
        assert_eq!(count(&records, "succeeded"), 2, "{records}");
    })
    .await;
}

/// The reqwest recipe: a POST is sent once, whatever comes back, and the log calls it failed.
#[tokio::test]
async fn reqwest_posts_once() {
    bounded(async {
        let (records, _guard) = records();
        let orders = Count::default();
        let placed = orders.clone();
        let order = move || async move {
            placed.next();
            StatusCode::BAD_GATEWAY
        };
        let server = Server::axum(Router::new().route("/orders", routing::any(order))).await;
        let fetch = reqwest_recipe::fetcher(reqwest_client());
        let url: reqwest::Url = server.url("/orders").parse().unwrap();
        let mut post = reqwest::Request::new(reqwest::Method::POST, url.clone());
        *post.body_mut() = Some("one".into());
        let answer = fetch.clone().oneshot(post).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(orders.get(), 1);
        let written = records();
        assert_eq!(count(&written, "succeeded"), 0, "{written}");
        assert_eq!(
            count(&written, "the server answered 502 Bad Gateway"),
            1,
            "{written}"
        );

        // A PUT may be repeated, and the log says what came of each attempt.
        let put = reqwest::Request::new(reqwest::Method::PUT, url);
        fetch.oneshot(put).await.unwrap();
        assert_eq!(orders.get(), 5);
        let written = records();
        assert_eq!(count(&written, "retry scheduled"), 3, "{written}");
        assert_eq!(
            count(&written, "the server answered 502 Bad Gateway"),
            5,
            "{written}"
        );
    })
    .await;
}

/// The reqwest recipe: a dead host's circuit opens, those of others do not, and the log has the cause.
#[tokio::test]
async fn reqwest_with_a_dead_host() {
    bounded(async {
        let (records, _guard) = records();
        let (_port, dead) = refusing();
        let alive =
            Server::axum(Router::new().route("/", routing::get(|| async { "alive" }))).await;
        let fetch = reqwest_recipe::fetcher(reqwest_client());
        let get = |url: String| {
            let request = reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap());
            fetch.clone().oneshot(request)
        };
        for _ in 0..7 {
            get(format!("http://{dead}/?token=secret"))
                .await
                .unwrap_err();
        }
        let error = get(format!("http://{dead}/")).await.unwrap_err();
        assert!(find::<Open>(&*error).is_some(), "{error}");
        assert_eq!(get(alive.url("/")).await.unwrap().body(), "alive");
        let records = records();
        assert!(count(&records, "Connection refused") > 6, "{records}");
        assert!(!records.contains("secret"), "{records}");
        // The budget is the host's own: three retries and no more.
        assert_eq!(count(&records, "retry scheduled"), 3, "{records}");
        assert_eq!(count(&records, "rejected"), 2, "{records}");
    })
    .await;
}

/// The axum recipe answers, and its handle works.
#[tokio::test]
async fn axum() {
    bounded(async {
        let (app, handle) = defended(CancellationToken::new(), LONG);
        let server = Server::axum(app).await;
        let mut connection = Connection::open(&server).await;
        assert_eq!(connection.get("/report").await.status, StatusCode::OK);
        handle.shutdown_now();
        let answer = connection.get("/report").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    })
    .await;
}

/// Once the axum recipe's token fires, nothing new begins, and what runs has its time to end, but no more.
#[tokio::test(start_paused = true)]
async fn axum_while_it_stops() {
    for (within, then) in [
        (LONG, StatusCode::OK),
        (Duration::ZERO, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let stopping = CancellationToken::new();
        let (app, _) = defended(stopping.clone(), within);
        let call = || {
            let request = http::Request::get("/report").body(Body::empty());
            app.clone().oneshot(request.unwrap())
        };
        let mut running = task::spawn(call());
        assert_pending!(running.poll());
        stopping.cancel();
        let refused = call().await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(running.await.unwrap().status(), then, "within {within:?}");
    }
}

/// The axum recipe stops when its token fires.
#[tokio::test]
async fn axum_until_it_stops() {
    bounded(async {
        let (listener, addr) = listen().await;
        let stopping = CancellationToken::new();
        let server = tokio::spawn(axum_recipe::serve(listener, stopping.clone()));
        let answer = Connection::to(addr).await.get("/report").await;
        assert_eq!(answer.status, StatusCode::OK);
        stopping.cancel();
        server.await.unwrap().unwrap();
    })
    .await;
}

/// An app whose response streams what the sender sends.
fn streaming() -> (Router, mpsc::UnboundedSender<&'static str>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let handler = move || async move {
        let receiver = receiver.lock().unwrap().take().expect("one client comes");
        let parts = futures::stream::unfold(receiver, |mut parts| async {
            let part = parts.recv().await?;
            Some((Ok::<_, Infallible>(part), parts))
        });
        Body::from_stream(parts)
    };
    (Router::new().route("/", routing::get(handler)), sender)
}

/// A graceful shutdown waits for a response that streams; with a bound it does not.
#[tokio::test]
async fn axum_while_a_response_streams() {
    bounded(async {
        for within in [LONG, SHORT] {
            let (app, parts) = streaming();
            let (listener, addr) = listen().await;
            let stopping = CancellationToken::new();
            let server = bounded_shutdown::serve_within(listener, app, stopping.clone(), within);
            let server = tokio::spawn(server);
            let request = reqwest_client().get(format!("http://{addr}/"));
            let mut response = request.send().await.unwrap();
            parts.send("first").unwrap();
            assert_eq!(response.chunk().await.unwrap().unwrap(), "first");
            stopping.cancel();
            if within == SHORT {
                // The bound ends it, though the stream is open.
                server.await.unwrap().unwrap();
                assert!(!parts.is_closed());
                continue;
            }
            // The server has seen the token: it refuses connections.
            while tokio::net::TcpStream::connect(addr).await.is_ok() {
                tokio::time::sleep(SOON).await;
            }
            parts.send("second").unwrap();
            assert_eq!(response.chunk().await.unwrap().unwrap(), "second");
            assert!(!server.is_finished(), "a response streams");
            drop(parts);
            assert_eq!(response.chunk().await.unwrap(), None);
            server.await.unwrap().unwrap();
        }
    })
    .await;
}

/// On HTTP/1 a client that leaves in the middle of its upload does not drop a handler that does not read it; where the
/// upload was read, the client's leaving ends the job.
#[tokio::test]
async fn axum_with_an_unread_upload() {
    // More than the server and the sockets take in without a reader.
    const LENGTH: usize = 64 << 20;

    bounded(async {
        let (held, mut entries) = held();
        let seen = Recorder::new();
        let (unread, read) = (held.clone(), held.clone());
        let app = Router::new()
            .route(
                "/unread",
                routing::post(move |upload: Body| async move {
                    let answer = unread.run().await;
                    drop(upload);
                    answer
                }),
            )
            .route(
                "/read",
                routing::post(move |_: axum::body::Bytes| async move { read.run().await }),
            )
            .layer(LogLayer::to(seen.clone()));
        let server = Server::axum(app).await;
        let upload = async |path: &str, length: usize| {
            let mut stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
            let head =
                format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(b"12345").await.unwrap();
            stream
        };
        let left = upload("/unread", LENGTH).await;
        let unread = entries.job().await;
        drop(left);

        let whole = upload("/read", 5).await;
        let read = entries.job().await;
        drop(whole);
        assert_eq!(reason(ended(&seen, read).await), CancelReason::CallerGone);
        assert!(seen.terminal(unread).is_none(), "{seen}");
        held.gate.open();
        ended(&seen, unread).await;
    })
    .await;
}

/// tower's own bulkhead, rate limit, hedge and fallback, where the README puts them.
#[tokio::test(start_paused = true)]
async fn towers_own() {
    #[derive(Clone)]
    struct Always;

    impl tower::hedge::Policy<u32> for Always {
        fn clone_request(&self, request: &u32) -> Option<u32> {
            Some(*request)
        }

        fn can_retry(&self, _: &u32) -> bool {
            true
        }
    }

    async fn or_zero(result: Result<u32, BoxError>) -> Result<u32, BoxError> {
        result.or_else(|_| Ok(0))
    }

    let seen = Recorder::new();
    let hangs = Arc::new(AtomicBool::new(false));
    let next = Arc::clone(&hangs);
    let inner = service_fn(move |wait: u32| {
        // One call hangs for an hour, all others take as many seconds as they say.
        let hangs = next.swap(false, Ordering::Relaxed);
        let seconds = if hangs { 3600 } else { wait };
        async move {
            tokio::time::sleep(Duration::from_secs(seconds.into())).await;
            if wait == 7 {
                return Err(BoxError::from("seven"));
            }
            Ok(wait)
        }
    });
    let stack = ServiceBuilder::new()
        .layer(LogLayer::to(seen.clone()))
        .layer(CancelLayer::new())
        .then(or_zero)
        .load_shed()
        .concurrency_limit(1)
        .layer(RetryLayer::new().max_retries(0))
        .buffer(10)
        .service(Hedge::new_with_mock_latencies(
            inner,
            Always,
            3,
            0.9,
            Duration::from_secs(3600),
            &[1_000; 10],
        ));
    let began = Instant::now();
    hangs.store(true, Ordering::Relaxed);
    assert_eq!(stack.clone().oneshot(1).await.unwrap(), 1);
    // It is hedged after one second, and the second call takes another.
    assert_eq!(began.elapsed().as_secs(), 2);
    assert!(!hangs.load(Ordering::Relaxed));

    let mut running = task::spawn(stack.clone().oneshot(2));
    assert_pending!(running.poll());
    assert_eq!(
        stack.clone().oneshot(2).await.unwrap(),
        0,
        "no place is free"
    );
    assert_eq!(running.await.unwrap(), 2);
    assert_eq!(stack.oneshot(7).await.unwrap(), 0, "it failed");
    assert_eq!(
        all_ended(&seen, 4).await,
        [const { EventKind::Succeeded }; 4]
    );
}

/// The dispatching recipe: a client that leaves stops nothing, and others see and cancel the job by its id.
#[tokio::test]
async fn dispatching() {
    bounded(async {
        let (app, jobs) = dispatch_recipe::app();
        let server = Server::axum(app).await;
        let mut connection = Connection::open(&server).await;
        let answer = connection.send(post("/reports")).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        let id = answer.text;
        drop(connection);

        let mut connection = Connection::open(&server).await;
        let path = format!("/reports/{id}");
        let status = loop {
            let answer = connection.get(&path).await;
            assert_eq!(answer.status, StatusCode::OK);
            if !answer.text.starts_with("waiting") && !answer.text.ends_with(" 0 %") {
                break answer.text;
            }
            tokio::time::sleep(SOON).await;
        };
        assert_eq!(status, "running, 50 %");
        let mut watch = jobs.progress_handle().watch(id_of(&id)).expect("it runs");

        let answer = connection.send(delete(&path)).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        let state = JobState::Cancelled(CancelReason::Requested);
        assert_eq!(watch.ended().await.state, state);
        let answer = connection.get(&path).await;
        assert_eq!(answer.text, "cancelled: requested, 50 %");
        for id in [&*id, "0", "999999999"] {
            let answer = connection.send(delete(&format!("/reports/{id}"))).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
        }
        let answer = connection.get("/reports/999999999").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);

        jobs.cancel_handle().shutdown_now();
        let answer = connection.send(post("/reports")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    })
    .await;
}

fn id_of(text: &str) -> JobId {
    JobId::from_u64(text.parse().unwrap()).unwrap()
}

/// The hyper recipe answers.
#[tokio::test]
async fn hyper() {
    bounded(async {
        let (listener, addr) = listen().await;
        let _server = Background::spawn(async move {
            hyper_recipe::serve(listener).await.unwrap();
        });
        let answer = Connection::to(addr).await.get("/path").await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "/path"));
    })
    .await;
}

/// The reqwest recipe gets a response, also where two callers share it.
#[tokio::test]
async fn reqwest() {
    bounded(async {
        let (app, _) = defended(CancellationToken::new(), LONG);
        let server = Server::axum(app).await;
        let fetch = reqwest_recipe::fetcher(reqwest_client());
        let url = server.url("/report");
        let request = || reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap());
        let (one, two) = tokio::join!(
            fetch.clone().oneshot(request()),
            fetch.clone().oneshot(request()),
        );
        assert_eq!(one.unwrap().body(), two.unwrap().body());
    })
    .await;
}

/// Two users who ask the reqwest recipe for the same page at the same time get a page each.
#[tokio::test]
async fn reqwest_by_two_users() {
    bounded(async {
        let page = |headers: HeaderMap| async move {
            let user = headers.get(AUTHORIZATION);
            format!("page of {:?}", user.expect("somebody asks"))
        };
        let server = Server::axum(Router::new().route("/page", routing::get(page))).await;
        let fetch = reqwest_recipe::fetcher(reqwest_client());
        let url = server.url("/page");
        let page_of = |user: &str| {
            let mut request = reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap());
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, user.parse().unwrap());
            fetch.clone().oneshot(request)
        };
        let (one, other) = tokio::join!(page_of("Basic one"), page_of("Basic other"));
        assert_eq!(one.unwrap().body(), "page of \"Basic one\"");
        assert_eq!(other.unwrap().body(), "page of \"Basic other\"");
    })
    .await;
}

/// The recipes are the README's, but for what they import and how they are laid out.
#[test]
fn as_they_stand_in_the_readme() {
    let readme = include_str!("../../../README.md");
    let here = include_str!("recipes.rs");
    for (heading, module) in [
        ("In front of an axum handler", "axum_recipe"),
        ("Jobs that outlive their callers", "dispatch_recipe"),
        ("In front of a hyper service", "hyper_recipe"),
        ("Behind a reqwest client", "reqwest_recipe"),
    ] {
        let there = between(readme, &format!("\n## {heading}\n"), "\n## ");
        let there = between(there, "\n```rust\n", "\n```\n");
        let here = between(here, &format!("\nmod {module} {{\n"), "\n}\n");
        assert_eq!(bare(here), bare(there), "{heading}");
    }
    let there = between(readme, "put a bound on the graceful shutdown:\n", "\n## ");
    let there = between(there, "\n```rust\n", "\n```\n");
    let here = between(here, "\nmod bounded_shutdown {\n", "\n}\n");
    assert_eq!(bare(here), bare(there));
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, text) = text.split_once(begin).expect(begin);
    let (text, _) = text.split_once(end).expect(end);
    text
}

/// The code without imports, line breaks, space, and what a module or rustfmt has to add.
fn bare(code: &str) -> String {
    let mut bare = String::new();
    let mut imports = false;
    for line in code.lines() {
        let line = line.trim();
        imports |= line.starts_with("use ");
        if !imports {
            let line = line.trim_start_matches("///");
            let line = line.trim_start_matches("pub(super) ");
            bare.extend(line.chars().filter(|c| !c.is_whitespace()));
        }
        imports &= !line.ends_with(';');
    }
    [",)", ",}", ",]"]
        .iter()
        .fold(bare, |bare, pair| bare.replace(pair, &pair[1..]))
}
