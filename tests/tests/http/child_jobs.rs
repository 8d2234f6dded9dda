//! A server's handler whose client has layers of its own: each call is a child of the server's job.

use std::{convert::Infallible, future::Future, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::any,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tower::{ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, DedupLayer, EventKind, FailureCause,
    Job, JobId, LogLayer, Outcome, ProgressLayer, RetryLayer, TimeoutLayer,
    cancel::{CancelHandle, Cancelled},
    find,
};
use tower_keep_test::Recorder;

use crate::support::{
    Connection, Count, Entries, Held, SHORT, Server, all_ended, bounded, cause, ended, get,
    get_with, held, parent, reason, reqwest_client,
};

/// A client with layers, in a box so that it fits into a handler.
type Fetch = BoxCloneSyncService<reqwest::Request, reqwest::Response, BoxError>;

fn server_errors<E>(result: &Result<reqwest::Response, E>) -> Outcome {
    match result {
        Ok(response) if !response.status().is_server_error() => Outcome::Success,
        _ => Outcome::Failure,
    }
}

/// All layers but the dedup, as the calls here may be alike; `limit` is for each attempt.
fn fetcher(limit: Duration) -> (Fetch, Recorder, CancelHandle) {
    let seen = Recorder::new();
    let cancel = CancelLayer::new();
    let handle = cancel.handle();
    let fetch = ServiceBuilder::new()
        .layer(LogLayer::to(seen.clone()))
        .layer(ProgressLayer::new())
        .layer(cancel)
        .layer(CircuitBreakerLayer::new())
        .layer(TimeoutLayer::new(Duration::from_secs(30)))
        .layer(
            RetryLayer::new()
                .max_retries(2)
                .base_delay(Duration::from_millis(1))
                .classify(server_errors::<BoxError>)
                .clone_with(reqwest::Request::try_clone),
        )
        .layer(TimeoutLayer::per_attempt(limit))
        .service(reqwest_client());
    (BoxCloneSyncService::new(fetch), seen, handle)
}

/// A client with nothing but a log: no Cancel layer of its own.
fn plain_fetcher() -> (Fetch, Recorder) {
    let seen = Recorder::new();
    let fetch = ServiceBuilder::new()
        .layer(LogLayer::to(seen.clone()))
        .map_err(BoxError::from)
        .service(reqwest_client());
    (BoxCloneSyncService::new(fetch), seen)
}

async fn fetch(client: &Fetch, url: &str) -> Result<String, BoxError> {
    let request = reqwest::Request::new(reqwest::Method::GET, url.parse()?);
    let response = client.clone().oneshot(request).await?;
    Ok(response.error_for_status()?.text().await?)
}

fn reply(result: Result<String, BoxError>) -> Response {
    match result {
        Ok(text) => text.into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

struct Keep {
    seen: Recorder,
    cancel: CancelHandle,
}

/// A server with Log and Cancel in front of one handler.
async fn serve<H, F>(handler: H) -> (Server, Keep)
where
    H: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let seen = Recorder::new();
    let cancel = CancelLayer::new().respond_with(|why: Cancelled| {
        (StatusCode::SERVICE_UNAVAILABLE, why.to_string()).into_response()
    });
    let keep = Keep {
        seen: seen.clone(),
        cancel: cancel.handle(),
    };
    let app = Router::new()
        .route("/", any(handler))
        .layer((LogLayer::to(seen), cancel));
    (Server::axum(app).await, keep)
}

/// A server that answers when the test lets it.
async fn upstream() -> (Server, Held, Entries) {
    let (held, entries) = held();
    let app = Router::new().route("/", held.route());
    (Server::axum(app).await, held, entries)
}

/// A server that answers at once.
async fn ready_upstream() -> Server {
    let (server, held, _) = upstream().await;
    held.gate.open();
    server
}

/// Each call of the handler's client is exactly one child, however many layers and attempts it takes.
#[tokio::test]
async fn each_client_call_is_one_child() {
    bounded(async {
        let requests = Count::default();
        let flaky = Server::axum(Router::new().route("/", requests.fails_first(2))).await;
        let (client, fetched, _) = fetcher(Duration::from_secs(30));
        let url = flaky.url("/");
        let (server, keep) = serve(move || {
            let (client, url) = (client.clone(), url.clone());
            async move {
                let first = fetch(&client, &url).await.unwrap();
                let second = fetch(&client, &url).await.unwrap();
                format!("{first} {second}").into_response()
            }
        })
        .await;
        let answer = Connection::open(&server).await.get("/").await;
        assert_eq!(answer.text, "3 4");

        let job = keep.seen.job();
        assert_eq!(ended(&keep.seen, job).await, EventKind::Succeeded);
        // The parent's observers see the parent only.
        keep.seen
            .assert_names(["dispatched", "started", "succeeded"]);
        let endings = all_ended(&fetched, 2).await;
        assert_eq!(endings, [const { EventKind::Succeeded }; 2]);
        assert_eq!(fetched.count("retrying"), 2);
        for child in fetched.jobs() {
            assert_ne!(child, job);
            assert_eq!(parent(&fetched, child), Some(job));
        }
    })
    .await;
}

/// Calls that run at once in one handler, joined or selected, are children of the same job; requests of other clients
/// have children of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_calls_are_children_of_their_own_request() {
    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let (client, fetched, _) = fetcher(Duration::from_secs(30));
        let url = upstream.url("/");
        let (server, keep) = serve(move || {
            let (client, url) = (client.clone(), url.clone());
            async move {
                let (one, two) = tokio::join!(fetch(&client, &url), fetch(&client, &url));
                assert!(one.is_ok() && two.is_ok());
                Job::current().id().unwrap().to_string().into_response()
            }
        })
        .await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(Connection::open(&server).await.spawn(get("/")));
        }
        for _ in 0..8 {
            entries.recv().await;
        }
        held.gate.open();
        let mut jobs = Vec::new();
        for client in clients {
            jobs.push(client.await.unwrap().text);
        }
        all_ended(&keep.seen, 4).await;
        all_ended(&fetched, 8).await;
        for job in keep.seen.jobs() {
            assert!(jobs.contains(&job.to_string()));
            let children = fetched
                .jobs()
                .into_iter()
                .filter(|child| parent(&fetched, *child) == Some(job))
                .count();
            assert_eq!(children, 2);
        }
    })
    .await;
}

/// The server that is called, though in this very process, begins a job of its own: a job goes no further than its
/// tasks.
#[tokio::test]
async fn the_called_server_has_a_job_of_its_own() {
    bounded(async {
        let (upstream, upstream_keep) = serve(|| async { "well".into_response() }).await;
        let (client, fetched, _) = fetcher(Duration::from_secs(30));
        let url = upstream.url("/");
        let (server, keep) = serve(move || {
            let (client, url) = (client.clone(), url.clone());
            async move { reply(fetch(&client, &url).await) }
        })
        .await;
        assert_eq!(Connection::open(&server).await.get("/").await.text, "well");
        all_ended(&keep.seen, 1).await;
        all_ended(&upstream_keep.seen, 1).await;
        assert_eq!(parent(&upstream_keep.seen, upstream_keep.seen.job()), None);
        assert_eq!(parent(&fetched, fetched.job()), Some(keep.seen.job()));
    })
    .await;
}

/// Cancelling the server's job cancels the calls its handler is making, and the server they went to sees them leave.
#[tokio::test]
async fn cancelling_the_parent_cancels_its_children() {
    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let (client, fetched, handle) = fetcher(Duration::from_secs(30));
        let url = upstream.url("/");
        let (server, keep) = serve(move || {
            let (client, url) = (client.clone(), url.clone());
            async move {
                let (one, two) = tokio::join!(fetch(&client, &url), fetch(&client, &url));
                reply(one.and(two))
            }
        })
        .await;
        let client = Connection::open(&server).await.spawn(get("/"));
        entries.recv().await;
        entries.recv().await;
        let job = keep.seen.job();
        assert_eq!(handle.running(), fetched.jobs());

        assert!(keep.cancel.cancel(job));
        assert_eq!(
            client.await.unwrap().status,
            StatusCode::SERVICE_UNAVAILABLE
        );
        held.left.cancelled().await;
        assert_eq!(
            reason(ended(&keep.seen, job).await),
            CancelReason::Requested
        );
        for (child, end) in fetched.jobs().into_iter().zip(all_ended(&fetched, 2).await) {
            assert_eq!(parent(&fetched, child), Some(job));
            assert_eq!(reason(end), CancelReason::Requested);
        }
        assert!(handle.running().is_empty());
    })
    .await;
}

/// The same where the client's stack has no Cancel layer: its call is dropped with the handler.
#[tokio::test]
async fn a_child_without_a_cancel_layer_is_cancelled_too() {
    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let (client, fetched) = plain_fetcher();
        let url = upstream.url("/");
        let (server, keep) = serve(move || {
            let (client, url) = (client.clone(), url.clone());
            async move { reply(fetch(&client, &url).await) }
        })
        .await;
        let client = Connection::open(&server).await.spawn(get("/"));
        entries.recv().await;
        keep.cancel.cancel(keep.seen.job());
        client.await.unwrap();
        held.left.cancelled().await;
        let endings = all_ended(&fetched, 1).await;
        assert_eq!(reason(endings[0].clone()), CancelReason::Requested);
    })
    .await;
}

/// A client that disconnects from the server takes the handler's own calls with it.
#[tokio::test]
async fn a_disconnect_cancels_the_children() {
    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let (client, fetched, _) = fetcher(Duration::from_secs(30));
        let url = upstream.url("/");
        let (server, keep) = serve(move || {
            let (client, url) = (client.clone(), url.clone());
            async move { reply(fetch(&client, &url).await) }
        })
        .await;
        let client = Connection::open(&server).await.spawn(get("/"));
        entries.recv().await;
        client.abort();
        held.left.cancelled().await;
        let job = keep.seen.job();
        assert_eq!(
            reason(ended(&keep.seen, job).await),
            CancelReason::CallerGone
        );
        let endings = all_ended(&fetched, 1).await;
        assert_eq!(reason(endings[0].clone()), CancelReason::CallerGone);
        assert_eq!(parent(&fetched, fetched.job()), Some(job));
    })
    .await;
}

/// Cancelling a child leaves its parent alone, which can answer for it.
#[tokio::test]
async fn cancelling_a_child_leaves_its_parent() {
    bounded(async {
        let (upstream, _held, mut entries) = upstream().await;
        let (client, fetched, handle) = fetcher(Duration::from_secs(30));
        let url = upstream.url("/");
        let (server, keep) = serve(move || {
            let (client, url) = (client.clone(), url.clone());
            async move {
                let error = fetch(&client, &url).await.unwrap_err();
                assert!(!Job::current().is_cancelled());
                find::<Cancelled>(&*error)
                    .unwrap()
                    .to_string()
                    .into_response()
            }
        })
        .await;
        let client = Connection::open(&server).await.spawn(get("/"));
        entries.recv().await;
        assert!(handle.cancel(fetched.job()));
        assert_eq!(client.await.unwrap().text, "job cancelled: requested");
        assert_eq!(all_ended(&keep.seen, 1).await, [EventKind::Succeeded]);
        let endings = all_ended(&fetched, 1).await;
        assert_eq!(reason(endings[0].clone()), CancelReason::Requested);
    })
    .await;
}

/// Work that a handler spawns belongs to its job where it is given the scope: its calls are children, which end with
/// the job; without the scope it belongs to none.
#[tokio::test]
async fn spawned_work_in_the_jobs_scope() {
    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let (client, fetched, _) = fetcher(Duration::from_secs(30));
        let url = upstream.url("/");
        let (results, mut came) = mpsc::unbounded_channel();
        let (server, keep) = serve(move || {
            let (client, url, results) = (client.clone(), url.clone(), results.clone());
            async move {
                let scoped = {
                    let (client, url, results) = (client.clone(), url.clone(), results.clone());
                    Job::current().scope(async move {
                        let job = Job::current().id();
                        let result = fetch(&client, &url).await;
                        results.send((job, result)).unwrap();
                    })
                };
                tokio::spawn(scoped);
                tokio::spawn(async move {
                    let job = Job::current().id();
                    let result = fetch(&client, &url).await;
                    results.send((job, result)).unwrap();
                });
                std::future::pending().await
            }
        })
        .await;
        let client = Connection::open(&server).await.spawn(get("/"));
        entries.recv().await;
        entries.recv().await;
        let job = keep.seen.job();
        let mut parents: Vec<_> = fetched
            .jobs()
            .into_iter()
            .map(|child| parent(&fetched, child))
            .collect();
        parents.sort_unstable();
        assert_eq!(parents, [None, Some(job)]);

        keep.cancel.cancel(job);
        assert_eq!(
            client.await.unwrap().status,
            StatusCode::SERVICE_UNAVAILABLE
        );
        let (of, result) = came.recv().await.unwrap();
        assert_eq!(of, Some(job));
        let error = result.unwrap_err();
        assert_eq!(
            find::<Cancelled>(&*error).unwrap().reason(),
            &CancelReason::Requested
        );
        // What belongs to no job is told of nothing.
        held.gate.open();
        let (of, result) = came.recv().await.unwrap();
        assert_eq!((of, result.is_ok()), (None, true));
    })
    .await;
}

/// A spawned task that outlives its handler's answer: the job has ended well, its calls are still its children, and
/// run.
#[tokio::test]
async fn spawned_work_after_the_answer() {
    bounded(async {
        let upstream = ready_upstream().await;
        let (client, fetched, _) = fetcher(Duration::from_secs(30));
        let url = upstream.url("/");
        let (results, mut came) = mpsc::unbounded_channel();
        let answered = CancellationToken::new();
        let go = answered.clone();
        let (server, keep) = serve(move || {
            let (client, url, results) = (client.clone(), url.clone(), results.clone());
            let go = go.clone();
            async move {
                tokio::spawn(Job::current().scope(async move {
                    go.cancelled().await;
                    results.send(fetch(&client, &url).await).unwrap();
                }));
                "accepted".into_response()
            }
        })
        .await;
        let answer = Connection::open(&server).await.get("/").await;
        assert_eq!(answer.text, "accepted");
        let job = keep.seen.job();
        assert_eq!(ended(&keep.seen, job).await, EventKind::Succeeded);
        answered.cancel();
        came.recv().await.unwrap().unwrap();
        assert_eq!(all_ended(&fetched, 1).await, [EventKind::Succeeded]);
        assert_eq!(parent(&fetched, fetched.job()), Some(job));
        keep.seen.assert_one_terminal_each();
    })
    .await;
}

/// A retry in front of the handler makes its calls again: a child for each attempt, of one and the same parent. The
/// attempt that ran into its limit takes its child with it.
#[tokio::test]
async fn each_attempt_of_the_server_has_its_own_child() {
    const AGAIN: &str = "x-again";

    fn repeat(request: &Request) -> Option<Request> {
        let mut again = Request::new(Body::empty());
        again.headers_mut().insert(AGAIN, HeaderValue::from(1));
        *again.uri_mut() = request.uri().clone();
        Some(again)
    }

    bounded(async {
        let silent = Server::silent().await;
        let upstream = ready_upstream().await;
        let (client, fetched) = plain_fetcher();
        let urls = [silent.url("/"), upstream.url("/")];
        let seen = Recorder::new();
        let handler = move |headers: HeaderMap| async move {
            let attempt = usize::from(headers.contains_key(AGAIN));
            reply(fetch(&client, &urls[attempt]).await)
        };
        let limit = |request: &Request| (!request.headers().contains_key(AGAIN)).then_some(SHORT);
        let app = Router::new().route("/", any(handler)).layer((
            LogLayer::to(seen.clone()),
            RetryLayer::new()
                .base_delay(Duration::from_millis(1))
                .clone_with(repeat),
            TimeoutLayer::per_attempt_by(limit)
                .respond_with(|_| StatusCode::GATEWAY_TIMEOUT.into_response()),
        ));
        let server = Server::axum(app).await;
        let answer = Connection::open(&server).await.get("/").await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "0"));
        let job = seen.job();
        seen.assert_names([
            "dispatched",
            "started",
            "timed_out",
            "retry_scheduled",
            "retrying",
            "succeeded",
        ]);
        let endings = all_ended(&fetched, 2).await;
        assert_eq!(reason(endings[0].clone()), CancelReason::CallerGone);
        assert_eq!(endings[1], EventKind::Succeeded);
        for child in fetched.jobs() {
            assert_eq!(parent(&fetched, child), Some(job));
        }
    })
    .await;
}

/// The server's overall limit ends its job as timed out, and its children as cancelled.
#[tokio::test]
async fn the_parents_limit_cancels_its_children() {
    bounded(async {
        let silent = Server::silent().await;
        let (client, fetched, _) = fetcher(Duration::from_secs(30));
        let url = silent.url("/");
        let seen = Recorder::new();
        let handler = move || async move {
            assert!(Job::current().remaining().unwrap() <= SHORT);
            reply(fetch(&client, &url).await)
        };
        let app = Router::new().route("/", any(handler)).layer((
            LogLayer::to(seen.clone()),
            TimeoutLayer::new(SHORT).respond_with(|_| StatusCode::GATEWAY_TIMEOUT.into_response()),
        ));
        let server = Server::axum(app).await;
        let answer = Connection::open(&server).await.get("/").await;
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
        let endings = all_ended(&seen, 1).await;
        assert_eq!(cause(endings[0].clone()), FailureCause::TimedOut);
        let endings = all_ended(&fetched, 1).await;
        assert_eq!(reason(endings[0].clone()), CancelReason::TimedOut);
        assert_eq!(parent(&fetched, fetched.job()), Some(seen.job()));
    })
    .await;
}

/// Under a grace period the child is cancelled first, and the handler cleans up: the parent was not dropped.
#[tokio::test]
async fn a_graceful_cancellation_lets_the_handler_clean_up() {
    bounded(async {
        let (upstream, _held, mut entries) = upstream().await;
        let (client, fetched, _) = fetcher(Duration::from_secs(30));
        let url = upstream.url("/");
        let seen = Recorder::new();
        let cleaned = CancellationToken::new();
        let done = cleaned.clone();
        let handler = move || async move {
            let result = fetch(&client, &url).await;
            assert!(find::<Cancelled>(&**result.as_ref().unwrap_err()).is_some());
            tokio::task::yield_now().await;
            done.cancel();
            reply(result)
        };
        let cancel = CancelLayer::new()
            .grace(Duration::from_secs(30))
            .respond_with(|_| StatusCode::SERVICE_UNAVAILABLE.into_response());
        let handle = cancel.handle();
        let app = Router::new()
            .route("/", any(handler))
            .layer((LogLayer::to(seen.clone()), cancel));
        let server = Server::axum(app).await;
        let client = Connection::open(&server).await.spawn(get("/"));
        entries.recv().await;
        handle.cancel(seen.job());
        assert_eq!(
            client.await.unwrap().status,
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert!(cleaned.is_cancelled());
        let endings = all_ended(&seen, 1).await;
        assert_eq!(
            endings,
            [EventKind::Cancelled {
                reason: CancelReason::Requested,
                dropped: false
            }]
        );
        let endings = all_ended(&fetched, 1).await;
        assert_eq!(reason(endings[0].clone()), CancelReason::Requested);
    })
    .await;
}

/// Where requests join one execution its calls are children of the first request's job, and go on for the others when
/// the first client leaves; when the last leaves they are cancelled.
#[tokio::test]
async fn the_children_of_a_joined_execution() {
    async fn collect(response: Response) -> Result<(StatusCode, Bytes), Infallible> {
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await;
        Ok((head.status, body.unwrap_or_default()))
    }

    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let (client, fetched, _) = fetcher(Duration::from_secs(30));
        let url = upstream.url("/");
        let seen = Recorder::new();
        let handler = move || async move { reply(fetch(&client, &url).await) };
        let app = Router::new().route("/", any(handler)).layer(
            ServiceBuilder::new()
                .layer(LogLayer::to(seen.clone()))
                .layer(CancelLayer::new().respond_with(|why: Cancelled| {
                    (
                        StatusCode::SERVICE_UNAVAILABLE,
                        Bytes::from(why.to_string()),
                    )
                }))
                .layer(
                    DedupLayer::new(|request: &Request| request.headers().get("k").cloned())
                        .join()
                        .respond_with(|_| (StatusCode::CONFLICT, Bytes::new())),
                )
                .and_then(collect),
        );
        let server = Server::axum(app).await;
        let request = || get_with("/", "k", "a");

        // The first leaves, the second has its answer.
        let first = Connection::open(&server).await.spawn(request());
        entries.recv().await;
        let second = Connection::open(&server).await.spawn(request());
        seen.until(|seen| seen.count("duplicate") == 1).await;
        let leader = seen.jobs()[0];
        first.abort();
        assert_eq!(reason(ended(&seen, leader).await), CancelReason::CallerGone);
        assert!(!held.left.is_cancelled());
        assert!(fetched.terminal(fetched.job()).is_none(), "{fetched}");
        held.gate.open();
        assert_eq!(second.await.unwrap().text, "0");
        assert_eq!(all_ended(&fetched, 1).await, [EventKind::Succeeded]);
        assert_eq!(parent(&fetched, fetched.job()), Some(leader));
        all_ended(&seen, 2).await;
    })
    .await;
}

/// As above, but everybody leaves: the call is given up.
#[tokio::test]
async fn a_joined_execution_that_all_leave() {
    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let (client, fetched, _) = fetcher(Duration::from_secs(30));
        let url = upstream.url("/");
        let seen = Recorder::new();
        let handler = move || async move { reply(fetch(&client, &url).await) };
        let app = Router::new().route("/", any(handler)).layer(
            ServiceBuilder::new()
                .layer(LogLayer::to(seen.clone()))
                .layer(
                    DedupLayer::new(|request: &Request| Some(request.uri().path().to_owned()))
                        .join()
                        .respond_with(|_| (StatusCode::CONFLICT, Bytes::new())),
                )
                .and_then(|response: Response| async {
                    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
                    Ok::<_, Infallible>((StatusCode::OK, body.unwrap_or_default()))
                }),
        );
        let server = Server::axum(app).await;
        let first = Connection::open(&server).await.spawn(get("/"));
        entries.recv().await;
        let second = Connection::open(&server).await.spawn(get("/"));
        seen.until(|seen| seen.count("duplicate") == 1).await;
        first.abort();
        second.abort();
        held.left.cancelled().await;
        for end in all_ended(&seen, 2).await {
            assert_eq!(reason(end), CancelReason::CallerGone);
        }
        let endings = all_ended(&fetched, 1).await;
        assert!(
            matches!(endings[0], EventKind::Cancelled { .. }),
            "{fetched}"
        );
    })
    .await;
}

/// A detached server job keeps its children when the client is gone.
#[tokio::test]
async fn the_children_of_a_detached_job() {
    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let (client, fetched, _) = fetcher(Duration::from_secs(30));
        let url = upstream.url("/");
        let seen = Recorder::new();
        let gone = CancellationToken::new();
        let dropped = gone.clone();
        let handler = move || async move { reply(fetch(&client, &url).await) };
        let app = Router::new()
            .route("/", any(handler))
            .layer((
                LogLayer::to(seen.clone()),
                CancelLayer::new()
                    .respond_with(|_| StatusCode::SERVICE_UNAVAILABLE.into_response())
                    .detached(),
            ))
            .layer(middleware::from_fn(move |request, next: Next| {
                // Fires when the server drops the call.
                let guard = dropped.clone().drop_guard();
                async move {
                    let _guard = guard;
                    next.run(request).await
                }
            }));
        let server = Server::axum(app).await;
        let client = Connection::open(&server).await.spawn(get("/"));
        entries.recv().await;
        client.abort();
        gone.cancelled().await;
        assert!(!held.left.is_cancelled());
        held.gate.open();
        assert_eq!(all_ended(&seen, 1).await, [EventKind::Succeeded]);
        assert_eq!(all_ended(&fetched, 1).await, [EventKind::Succeeded]);
        assert_eq!(parent(&fetched, fetched.job()), Some(seen.job()));
    })
    .await;
}

/// hyper's own server and client, without axum and reqwest: the same parent, the same cancellation.
#[tokio::test]
async fn a_hyper_client_in_a_hyper_server() {
    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let fetched = Recorder::new();
        let inner: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(fetched.clone()))
            .layer(CancelLayer::new())
            .layer(RetryLayer::new())
            .service(inner);
        let seen = Recorder::new();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let layers = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(cancel);
        let url = upstream.url("/");
        let server = Server::hyper(move || {
            let (client, url) = (client.clone(), url.clone());
            layers.service(service_fn(move |_: http::Request<Incoming>| {
                let (client, url) = (client.clone(), url.clone());
                async move {
                    let request = http::Request::get(url).body(Full::default())?;
                    let response = client.oneshot(request).await?;
                    let body = response.into_body().collect().await?.to_bytes();
                    Ok::<_, BoxError>(http::Response::new(Full::new(body)))
                }
            }))
        })
        .await;

        let mut connection = Connection::open(&server).await;
        let first = tokio::spawn(async move { connection.try_send(get("/")).await });
        entries.recv().await;
        let job = seen.job();
        handle.cancel(job);
        let error = first.await.unwrap().unwrap_err();
        assert!(error.is_incomplete_message(), "{error:?}");
        held.left.cancelled().await;
        let endings = all_ended(&fetched, 1).await;
        assert_eq!(reason(endings[0].clone()), CancelReason::Requested);
        assert_eq!(parent(&fetched, fetched.job()), Some(job));

        held.gate.open();
        assert_eq!(Connection::open(&server).await.get("/").await.text, "0");
        assert_eq!(all_ended(&fetched, 2).await[1], EventKind::Succeeded);
    })
    .await;
}

/// One client for the whole server: its circuit, opened by one request's calls, turns away another's, whose job is
/// told by the error.
#[tokio::test]
async fn a_shared_client_shares_its_circuit() {
    async fn call(client: Fetch, url: String) -> Result<String, BoxError> {
        fetch(&client, &url).await
    }

    bounded(async {
        let requests = Count::default();
        let upstream = Server::axum(Router::new().route("/", requests.fails_first(99))).await;
        let (client, fetched, _) = fetcher(Duration::from_secs(30));
        // The circuit of `fetcher` counts errors only; here it is around what `error_for_status` makes of a 503.
        let circuit = CircuitBreakerLayer::new()
            .name("upstream")
            .failure_threshold(1);
        let handle = circuit.handle();
        let url = upstream.url("/");
        let guarded = ServiceBuilder::new()
            .layer(circuit)
            // An `async fn`: with an `async` block of this error type the compiler cannot see, at present, that the
            // handler's future is `Send` (as with every layer whose bound is `Into<BoxError>`, tower's own too).
            .service(service_fn(move |()| call(client.clone(), url.clone())));
        let (server, keep) = serve(move || {
            let guarded = guarded.clone();
            async move { reply(guarded.oneshot(()).await) }
        })
        .await;
        for _ in 0..2 {
            let answer = Connection::open(&server).await.get("/").await;
            assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        }
        assert_eq!(requests.get(), 6);
        assert!(handle.time_until_probe().is_some());
        let answer = Connection::open(&server).await.get("/").await;
        assert!(
            answer.text.contains(r#"circuit "upstream" is open"#),
            "{}",
            answer.text
        );
        assert_eq!(requests.get(), 6);
        all_ended(&keep.seen, 3).await;
        all_ended(&fetched, 2).await;
        let parents: Vec<Option<JobId>> = fetched
            .jobs()
            .into_iter()
            .map(|child| parent(&fetched, child))
            .collect();
        let jobs = keep.seen.jobs();
        assert_eq!(parents, [Some(jobs[0]), Some(jobs[1])]);
    })
    .await;
}

/// Tasks of a `JoinSet` in the job's scope: each call is a child, and dropping the handler stops all of them.
#[tokio::test]
async fn a_join_set_in_the_jobs_scope() {
    bounded(async {
        let (upstream, _held, mut entries) = upstream().await;
        let (client, fetched, handle) = fetcher(Duration::from_secs(30));
        let url = upstream.url("/");
        let (server, keep) = serve(move || {
            let (client, url) = (client.clone(), url.clone());
            async move {
                let mut calls = JoinSet::new();
                for _ in 0..3 {
                    let (client, url) = (client.clone(), url.clone());
                    calls.spawn(Job::current().scope(async move { fetch(&client, &url).await }));
                }
                reply(calls.join_next().await.unwrap().unwrap())
            }
        })
        .await;
        let client = Connection::open(&server).await.spawn(get("/"));
        for _ in 0..3 {
            entries.recv().await;
        }
        assert_eq!(handle.running().len(), 3);
        client.abort();
        let job = keep.seen.job();
        assert_eq!(
            reason(ended(&keep.seen, job).await),
            CancelReason::CallerGone
        );
        for (child, end) in fetched.jobs().into_iter().zip(all_ended(&fetched, 3).await) {
            assert_eq!(parent(&fetched, child), Some(job));
            assert!(matches!(end, EventKind::Cancelled { .. }), "{fetched}");
        }
        assert!(handle.running().is_empty());
    })
    .await;
}

/// One Progress layer and one Cancel layer for the server and for its client, so that one view shows all and one handle
/// cancels all: the client's call is a child all the same, and the parent's attempts are its own.
#[tokio::test]
async fn a_layer_shared_by_server_and_client() {
    bounded(async {
        let requests = Count::default();
        let flaky = Server::axum(Router::new().route("/", requests.fails_first(2))).await;
        let progress = ProgressLayer::new();
        let mut events = progress.handle().subscribe();
        let cancel = CancelLayer::new();
        let (seen, fetched) = (Recorder::new(), Recorder::new());
        let client = ServiceBuilder::new()
            .layer(progress.clone())
            .layer(cancel.clone())
            .layer(LogLayer::to(fetched.clone()))
            .layer(
                RetryLayer::new()
                    .base_delay(Duration::from_millis(1))
                    .classify(server_errors::<reqwest::Error>)
                    .clone_with(reqwest::Request::try_clone),
            )
            .service(reqwest_client());
        let url = flaky.url("/");
        let handler = move || async move {
            let request = reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap());
            let response = client.oneshot(request).await.unwrap();
            let attempt = Job::current().attempt();
            format!("{} {attempt}", response.text().await.unwrap())
        };
        let app = Router::new().route("/", any(handler)).layer((
            LogLayer::to(seen.clone()),
            progress,
            cancel.respond_with(|_| StatusCode::SERVICE_UNAVAILABLE.into_response()),
        ));
        let server = Server::axum(app).await;
        let answer = Connection::open(&server).await.get("/").await;
        assert_eq!(all_ended(&seen, 1).await, [EventKind::Succeeded]);
        seen.assert_names(["dispatched", "started", "succeeded"]);
        assert_eq!(all_ended(&fetched, 1).await, [EventKind::Succeeded]);
        assert_eq!(parent(&fetched, fetched.job()), Some(seen.job()));
        assert_eq!(answer.text, "3 1");
        let mut jobs = Vec::new();
        while let Some(Ok(event)) = events.try_recv() {
            if event.kind == EventKind::Dispatched {
                jobs.push(event.job);
            }
        }
        assert_eq!(jobs, [seen.job(), fetched.job()]);
    })
    .await;
}

/// A stack that calls itself, as a handler that asks its own server's service: each call in it is a child.
#[tokio::test]
async fn a_stack_that_calls_itself() {
    bounded(async {
        let seen = Recorder::new();
        // The limit is outermost, so that it takes over the job that the log begins.
        let layers = ServiceBuilder::new()
            .layer(TimeoutLayer::new(Duration::from_secs(30)).respond_with(|_| 0))
            .layer(LogLayer::to(seen.clone()));
        let again = layers.clone();
        let service = layers.service(service_fn(move |depth: u32| {
            let again = again.clone();
            async move {
                match depth {
                    0 => Ok::<_, Infallible>(0),
                    _ => {
                        let inner = again.service(service_fn(|depth: u32| async move {
                            Ok::<_, Infallible>(depth)
                        }));
                        inner.oneshot(depth).await
                    }
                }
            }
        }));
        assert_eq!(service.oneshot(1).await, Ok(1));
        seen.assert_one_terminal_each();
        let jobs = seen.jobs();
        assert_eq!(jobs.len(), 2, "{seen}");
        assert_eq!(parent(&seen, jobs[1]), Some(jobs[0]));
    })
    .await;
}
