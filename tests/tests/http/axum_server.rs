//! An axum server with the layers in front of its handlers.

use std::{convert::Infallible, future::pending, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    error_handling::HandleErrorLayer,
    extract::{Path, Request},
    handler::Handler,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use futures::{StreamExt, stream};
use http::{Method, StatusCode};
use tokio_util::sync::CancellationToken;
use tower::{
    ServiceBuilder,
    limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer},
    load_shed::{LoadShedLayer, error::Overloaded},
    util::BoxCloneSyncService,
};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, DedupLayer, EventKind, FailureCause,
    Job, JobId, LogLayer, Outcome, ProgressLayer, RetryLayer, TimeoutLayer,
    cancel::{CancelHandle, Cancelled},
    circuit_breaker::{CircuitBreakerHandle, Open, State},
    dedup::Duplicate,
    find,
    progress::{JobState, ProgressHandle},
    timeout::Elapsed,
};
use tower_keep_test::Recorder;

use crate::support::{
    self, Connection, Count, Entries, Held, Multiplexed, SHORT, Server, all_ended, bounded, cause,
    ended, get_with, held, listen, parent, reason,
};

/// What the test keeps of a server's layers.
struct Keep {
    seen: Recorder,
    progress: ProgressHandle,
    cancel: CancelHandle,
    circuit: CircuitBreakerHandle,
}

fn server_errors(result: &Result<Response, Infallible>) -> Outcome {
    match result {
        Ok(response) if response.status().is_server_error() => Outcome::Failure,
        _ => Outcome::Success,
    }
}

/// Another GET request like this one; axum's body can be streamed once only.
fn repeat_get(request: &Request) -> Option<Request> {
    (request.method() == Method::GET).then(|| {
        let mut again = Request::new(Body::empty());
        *again.uri_mut() = request.uri().clone();
        *again.version_mut() = request.version();
        *again.headers_mut() = request.headers().clone();
        // Here axum keeps what its extractors read, such as the path's parameters.
        *again.extensions_mut() = request.extensions().clone();
        again
    })
}

fn answer(status: StatusCode, why: impl std::fmt::Display) -> Response {
    (status, why.to_string()).into_response()
}

fn dedup_key(request: &Request) -> Option<String> {
    let key = request.headers().get("idempotency-key")?;
    key.to_str().ok().map(str::to_owned)
}

/// The time limit that a request brings along, in milliseconds.
fn patience(request: &Request) -> Option<Duration> {
    let limit = request.headers().get("x-patience")?.to_str().ok()?;
    limit.parse().ok().map(Duration::from_millis)
}

/// All seven layers, each answering with a response where it stops a call.
macro_rules! all_layers {
    () => {{
        let seen = Recorder::new();
        let progress = ProgressLayer::new();
        let cancel =
            CancelLayer::new().respond_with(|why| answer(StatusCode::SERVICE_UNAVAILABLE, why));
        let circuit = CircuitBreakerLayer::new()
            .name("app")
            .failure_threshold(1)
            .classify(server_errors)
            .respond_with(|why: Open| answer(StatusCode::SERVICE_UNAVAILABLE, why));
        let keep = Keep {
            seen: seen.clone(),
            progress: progress.handle(),
            cancel: cancel.handle(),
            circuit: circuit.handle(),
        };
        let layers = ServiceBuilder::new()
            .layer(LogLayer::to(seen).classify(server_errors))
            .layer(progress)
            .layer(cancel)
            .layer(
                DedupLayer::new(dedup_key)
                    .respond_with(|why: Duplicate| answer(StatusCode::CONFLICT, why)),
            )
            .layer(circuit)
            .layer(
                TimeoutLayer::per_request(patience)
                    .respond_with(|why| answer(StatusCode::GATEWAY_TIMEOUT, why)),
            )
            .layer(
                RetryLayer::new()
                    .max_retries(2)
                    .base_delay(Duration::from_millis(1))
                    .classify(server_errors)
                    .clone_with(repeat_get),
            )
            .layer(
                TimeoutLayer::per_attempt(Duration::from_secs(30))
                    .respond_with(|why| answer(StatusCode::GATEWAY_TIMEOUT, why)),
            );
        (layers, keep)
    }};
}

/// The server of most tests: every layer in front of the whole router.
async fn serve(routes: Router) -> (Server, Keep) {
    let (layers, keep) = all_layers!();
    (Server::axum(routes.layer(layers)).await, keep)
}

async fn hello() -> &'static str {
    "hello"
}

/// A request that meets every layer is answered, and is one job.
#[tokio::test]
async fn one_job_for_a_request_through_every_layer() {
    bounded(async {
        let routes = Router::new().route(
            "/",
            get(|| async {
                Job::current().progress(0.5);
                "hello"
            }),
        );
        let (server, keep) = serve(routes).await;
        let answer = Connection::open(&server).await.get("/").await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "hello"));
        keep.seen
            .assert_names(["dispatched", "started", "progress", "succeeded"]);
        keep.seen.assert_one_terminal_each();
    })
    .await;
}

/// Requests on one kept-alive connection are jobs of their own: nothing of the first stays ambient for the second.
#[tokio::test]
async fn requests_of_one_connection_are_unrelated_jobs() {
    bounded(async {
        let (server, keep) = serve(Router::new().route("/", get(hello))).await;
        let mut connection = Connection::open(&server).await;
        connection.get("/").await;
        connection.get("/").await;
        assert_eq!(
            all_ended(&keep.seen, 2).await,
            [const { EventKind::Succeeded }; 2]
        );
        for job in keep.seen.jobs() {
            assert_eq!(parent(&keep.seen, job), None);
        }
    })
    .await;
}

/// The fallback's 404 goes through the layers too, and is no failure of the server.
#[tokio::test]
async fn an_unknown_path_is_a_job_as_well() {
    bounded(async {
        let (server, keep) = serve(Router::new().route("/", get(hello))).await;
        for _ in 0..3 {
            let answer = Connection::open(&server).await.get("/unknown").await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
        }
        assert_eq!(keep.circuit.state(), State::Closed);
        assert_eq!(
            all_ended(&keep.seen, 3).await,
            [const { EventKind::Succeeded }; 3]
        );
    })
    .await;
}

/// The circuit is one for all routes and connections, although axum makes a service for each: opened through one, it
/// turns away on the other.
#[tokio::test]
async fn a_circuit_spans_routes_and_connections() {
    bounded(async {
        let (failed, good) = (Count::default(), Count::default());
        let routes = Router::new()
            // POST, which `repeat_get` does not repeat: a job is one call.
            .route("/bad", failed.fails_first(usize::MAX))
            .route("/good", good.fails_first(0));
        let (server, keep) = serve(routes).await;
        let mut first = Connection::open(&server).await;
        let mut second = Connection::open(&server).await;

        assert_eq!(second.get("/good").await.status, StatusCode::OK);
        for _ in 0..2 {
            let answer = first.send(support::post("/bad")).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(
                answer.text,
                failed.get().to_string(),
                "the handler's own answer"
            );
        }
        assert_eq!(keep.circuit.state(), State::Open);

        let answer = second.get("/good").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            answer.text.contains(r#"circuit "app" is open"#),
            "{}",
            answer.text
        );
        assert_eq!((failed.get(), good.get()), (2, 1));

        keep.circuit.reset();
        assert_eq!(second.get("/good").await.status, StatusCode::OK);
        let endings = all_ended(&keep.seen, 5).await;
        assert_eq!(cause(endings[1].clone()), FailureCause::Error);
        assert_eq!(cause(endings[3].clone()), FailureCause::CircuitOpen);
        assert_eq!(keep.seen.count("circuit_opened"), 1);
    })
    .await;
}

/// A key that is in flight on one connection is a duplicate on another and on another route: 409, with the job that
/// has it. Once that is over, the key is free.
#[tokio::test]
async fn a_duplicate_on_another_connection_is_a_conflict() {
    bounded(async {
        let (held, mut entries) = held();
        let routes = Router::new()
            .route("/held", held.route())
            .route("/other", held.route());
        let (server, keep) = serve(routes).await;
        let first =
            Connection::open(&server)
                .await
                .spawn(get_with("/held", "idempotency-key", "k"));
        let job = entries.job().await;

        let mut second = Connection::open(&server).await;
        let answer = second
            .send(get_with("/other", "idempotency-key", "k"))
            .await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
        assert_eq!(
            answer.text,
            format!("an identical request is in flight as job {job}")
        );
        assert!(entries.is_empty());

        held.gate.open();
        assert_eq!(first.await.unwrap().status, StatusCode::OK);
        let answer = second
            .send(get_with("/other", "idempotency-key", "k"))
            .await;
        assert_eq!(answer.status, StatusCode::OK);

        let endings = all_ended(&keep.seen, 3).await;
        assert_eq!(endings[0], EventKind::Succeeded);
        assert_eq!(cause(endings[1].clone()), FailureCause::Duplicate);
        assert_eq!(endings[2], EventKind::Succeeded);
    })
    .await;
}

/// The cancel handle lists the jobs of all connections and cancels the one it is told to: that client gets 503, the
/// other its answer.
#[tokio::test]
async fn the_cancel_handle_spans_connections() {
    bounded(async {
        let (held, mut entries) = held();
        let (server, keep) = serve(Router::new().route("/{n}", held.route())).await;
        let first = Connection::open(&server).await.spawn(support::get("/1"));
        let first_job = entries.job().await;
        let second = Connection::open(&server).await.spawn(support::get("/2"));
        let second_job = entries.job().await;

        assert_eq!(keep.cancel.running(), [first_job, second_job]);
        assert!(keep.cancel.cancel(first_job));
        let answer = first.await.unwrap();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.text, "job cancelled: requested");
        assert_eq!(keep.cancel.running(), [second_job]);
        assert!(!keep.cancel.cancel(first_job));

        held.gate.open();
        assert_eq!(second.await.unwrap().text, second_job.to_string());
        assert_eq!(
            reason(ended(&keep.seen, first_job).await),
            CancelReason::Requested
        );
        assert_eq!(ended(&keep.seen, second_job).await, EventKind::Succeeded);
        assert!(keep.cancel.running().is_empty());
        keep.seen.assert_one_terminal_each();
    })
    .await;
}

/// The progress handle shows the jobs of all connections, each with its own state, and its endings.
#[tokio::test]
async fn the_progress_handle_spans_connections() {
    bounded(async {
        let (held, mut entries) = held();
        let work = held.clone();
        let routes = Router::new().route(
            "/{percent}",
            get(move |Path(percent): Path<u32>| async move {
                Job::current().progress(f64::from(percent) / 100.0);
                work.run().await
            }),
        );
        let (server, keep) = serve(routes).await;
        let first = Connection::open(&server).await.spawn(support::get("/25"));
        let first_job = entries.job().await;
        let second = Connection::open(&server).await.spawn(support::get("/75"));
        let second_job = entries.job().await;

        let jobs = keep.progress.jobs();
        let shown: Vec<_> = jobs
            .iter()
            .map(|view| (view.job, view.state.clone()))
            .collect();
        assert_eq!(
            shown,
            [
                (first_job, JobState::Running),
                (second_job, JobState::Running)
            ]
        );
        let fractions: Vec<_> = jobs.iter().map(|view| view.report.fraction()).collect();
        assert_eq!(fractions, [0.25, 0.75]);

        let mut watch = keep.progress.watch(first_job).unwrap();
        held.gate.open();
        assert_eq!(watch.ended().await.state, JobState::Succeeded);
        first.await.unwrap();
        second.await.unwrap();
        all_ended(&keep.seen, 2).await;
        assert!(keep.progress.jobs().is_empty());
    })
    .await;
}

/// A handler that fails twice is called three times within one job; the rebuilt request still has its path parameters
/// and headers. What cannot be rebuilt is tried once.
#[tokio::test]
async fn a_rebuilt_get_is_retried_and_a_post_is_not() {
    bounded(async {
        let gets = Count::default();
        let posts = Count::default();
        let tries = gets.clone();
        let routes = Router::new()
            .route(
                "/items/{id}",
                get(
                    move |Path(id): Path<u32>, headers: http::HeaderMap| async move {
                        let status = match tries.next() {
                            1 | 2 => StatusCode::SERVICE_UNAVAILABLE,
                            _ => StatusCode::OK,
                        };
                        let name = headers["x-name"].to_str().unwrap().to_owned();
                        (status, format!("{id} {name} {}", Job::current().attempt()))
                    },
                ),
            )
            .route("/posts", posts.fails_first(usize::MAX));
        let (server, keep) = serve(routes).await;
        let mut connection = Connection::open(&server).await;

        let answer = connection
            .send(get_with("/items/7", "x-name", "keep"))
            .await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "7 keep 3"));
        keep.seen.assert_names([
            "dispatched",
            "started",
            "retry_scheduled",
            "retrying",
            "retry_scheduled",
            "retrying",
            "succeeded",
        ]);

        let answer = connection.send(support::post("/posts")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((gets.get(), posts.get()), (3, 1));
        all_ended(&keep.seen, 2).await;
    })
    .await;
}

/// The four answers, 504, 503, 409 and 503, without a `HandleErrorLayer`, wherever the layers were put. The routes
/// are `/pending` and `/held`.
async fn assert_four_answers(app: Router, keep: Keep, held: Held, mut entries: Entries) {
    let server = Server::axum(app).await;
    let mut connection = Connection::open(&server).await;

    let answer = connection
        .send(get_with("/pending", "x-patience", "50"))
        .await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.text, "overall time limit of 50ms expired");

    let first = Connection::open(&server)
        .await
        .spawn(get_with("/held", "idempotency-key", "k"));
    let job = entries.job().await;
    let answer = connection
        .send(get_with("/held", "idempotency-key", "k"))
        .await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(keep.cancel.cancel(job));
    let answer = first.await.unwrap();
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.text, "job cancelled: requested");

    keep.circuit.force_open();
    let answer = connection.get("/held").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.text, r#"circuit "app" is open until it is reset"#);
    assert!(entries.is_empty());

    keep.circuit.reset();
    held.gate.open();
    assert_eq!(connection.get("/held").await.status, StatusCode::OK);

    let endings = all_ended(&keep.seen, 5).await;
    assert_eq!(cause(endings[0].clone()), FailureCause::TimedOut);
    assert_eq!(reason(endings[1].clone()), CancelReason::Requested);
    assert_eq!(cause(endings[2].clone()), FailureCause::Duplicate);
    assert_eq!(cause(endings[3].clone()), FailureCause::CircuitOpen);
    assert_eq!(endings[4], EventKind::Succeeded);
}

/// In `Router::layer` the layers answer with the right status, no adapter needed.
#[tokio::test]
async fn router_layer_needs_no_adapter() {
    bounded(async {
        let (held, entries) = held();
        let (layers, keep) = all_layers!();
        let app = Router::new()
            .route("/pending", get(pending::<()>))
            .route("/held", held.route())
            .layer(layers);
        assert_four_answers(app, keep, held, entries).await;
    })
    .await;
}

/// As in `Router::route_layer`, which leaves the fallback alone: a 404 is no job there.
#[tokio::test]
async fn route_layer_needs_no_adapter() {
    bounded(async {
        let (held, entries) = held();
        let (layers, keep) = all_layers!();
        let app = Router::new()
            .route("/pending", get(pending::<()>))
            .route("/held", held.route())
            .route_layer(layers);
        let server = Server::axum(app.clone()).await;
        let answer = Connection::open(&server).await.get("/unknown").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(keep.seen.events().is_empty());
        assert_four_answers(app, keep, held, entries).await;
    })
    .await;
}

/// As in `MethodRouter::layer`: two method routers with clones of one stack share its state.
#[tokio::test]
async fn method_router_layer_needs_no_adapter() {
    bounded(async {
        let (held, entries) = held();
        let (layers, keep) = all_layers!();
        let app = Router::new()
            .route("/pending", get(pending::<()>).layer(layers.clone()))
            .route("/held", held.route().layer(layers));
        assert_four_answers(app, keep, held, entries).await;
    })
    .await;
}

/// As in `Handler::layer`, which makes a service for each request: the state is the layer's, so it holds all the same.
#[tokio::test]
async fn handler_layer_needs_no_adapter() {
    bounded(async {
        let (held, entries) = held();
        let (layers, keep) = all_layers!();
        let work = held.clone();
        let handler = move || async move { work.run().await };
        let app = Router::new()
            .route("/pending", any(pending::<()>.layer(layers.clone())))
            .route("/held", any(handler.layer(layers)));
        assert_four_answers(app, keep, held, entries).await;
    })
    .await;
}

/// Around the whole app, outside the router (`into_make_service` of a layered router service).
#[tokio::test]
async fn layers_outside_the_router_need_no_adapter() {
    bounded(async {
        let (held, entries) = held();
        let (layers, keep) = all_layers!();
        let router = Router::new()
            .route("/pending", get(pending::<()>))
            .route("/held", held.route());
        let app = Router::new().fallback_service(layers.service(router));
        assert_four_answers(app, keep, held, entries).await;
    })
    .await;
}

/// The default mode: a `BoxError` with the reason inside, for which a `HandleErrorLayer` picks the status with `find`.
#[tokio::test]
async fn boxed_errors_are_told_apart_by_find() {
    async fn explain(error: BoxError) -> Response {
        let status = if find::<Elapsed>(&*error).is_some() {
            StatusCode::GATEWAY_TIMEOUT
        } else if find::<Open>(&*error).is_some() || find::<Cancelled>(&*error).is_some() {
            StatusCode::SERVICE_UNAVAILABLE
        } else if find::<Duplicate>(&*error).is_some() {
            StatusCode::CONFLICT
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        answer(status, error)
    }

    bounded(async {
        let (held, entries) = held();
        let seen = Recorder::new();
        let progress = ProgressLayer::new();
        let cancel = CancelLayer::new();
        let circuit = CircuitBreakerLayer::new().name("app");
        let keep = Keep {
            seen: seen.clone(),
            progress: progress.handle(),
            cancel: cancel.handle(),
            circuit: circuit.handle(),
        };
        let app = Router::new()
            .route("/pending", get(pending::<()>))
            .route("/held", held.route())
            .layer(
                ServiceBuilder::new()
                    .layer(HandleErrorLayer::new(explain))
                    .layer(LogLayer::to(seen))
                    .layer(progress)
                    .layer(cancel)
                    .layer(DedupLayer::new(dedup_key))
                    .layer(circuit)
                    .layer(TimeoutLayer::per_request(patience))
                    .layer(RetryLayer::new().clone_with(repeat_get))
                    .layer(TimeoutLayer::per_attempt(Duration::from_secs(30))),
            );
        assert_four_answers(app, keep, held, entries).await;
    })
    .await;
}

/// One flat enum of the user's own, through `MethodRouter::layer` and a `HandleErrorLayer` in the same way.
#[tokio::test]
async fn one_flat_enum_of_errors() {
    #[derive(Debug, thiserror::Error)]
    enum AppError {
        #[error("{0}")]
        TooSlow(Elapsed),
        #[error("{0}")]
        Unavailable(Open),
        #[error("{0}")]
        InFlight(Duplicate),
        #[error("{0}")]
        Stopped(Cancelled),
    }

    impl From<Infallible> for AppError {
        fn from(never: Infallible) -> Self {
            match never {}
        }
    }

    // Exhaustive: a layer that is added later cannot be forgotten here.
    async fn explain(error: AppError) -> Response {
        let status = match error {
            AppError::TooSlow(_) => StatusCode::GATEWAY_TIMEOUT,
            AppError::Unavailable(_) | AppError::Stopped(_) => StatusCode::SERVICE_UNAVAILABLE,
            AppError::InFlight(_) => StatusCode::CONFLICT,
        };
        answer(status, error)
    }

    macro_rules! layers {
        () => {{
            let seen = Recorder::new();
            let progress = ProgressLayer::new();
            let cancel = CancelLayer::new().fail_with(AppError::Stopped);
            let circuit = CircuitBreakerLayer::new()
                .name("app")
                .fail_with(AppError::Unavailable);
            let keep = Keep {
                seen: seen.clone(),
                progress: progress.handle(),
                cancel: cancel.handle(),
                circuit: circuit.handle(),
            };
            let layers = ServiceBuilder::new()
                .layer(LogLayer::to(seen))
                .layer(progress)
                .layer(cancel)
                .layer(DedupLayer::new(dedup_key).fail_with(AppError::InFlight))
                .layer(circuit)
                .layer(TimeoutLayer::per_request(patience).fail_with(AppError::TooSlow))
                .layer(RetryLayer::new().clone_with(repeat_get))
                .layer(
                    TimeoutLayer::per_attempt(Duration::from_secs(30)).fail_with(AppError::TooSlow),
                );
            (layers, keep)
        }};
    }

    bounded(async {
        let (held_work, entries) = held();
        let (layers, keep) = layers!();
        let app = Router::new()
            .route("/pending", get(pending::<()>))
            .route("/held", held_work.route())
            .layer(
                ServiceBuilder::new()
                    .layer(HandleErrorLayer::new(explain))
                    .layer(layers),
            );
        assert_four_answers(app, keep, held_work, entries).await;

        let (held_work, entries) = held();
        let (layers, keep) = layers!();
        let app = Router::new()
            .route(
                "/pending",
                get(pending::<()>)
                    .layer(layers.clone())
                    .handle_error(explain),
            )
            .route(
                "/held",
                held_work.route().layer(layers).handle_error(explain),
            );
        assert_four_answers(app, keep, held_work, entries).await;
    })
    .await;
}

/// A client that disconnects ends the server's job as `Cancelled { CallerGone }`, once; its token fires, so that work
/// the handler spawned in the job's scope stops; and nothing of it stays behind in any layer.
#[tokio::test]
async fn a_disconnect_ends_the_job_once_and_fires_its_token() {
    bounded(async {
        let (held_work, mut entries) = held();
        let scoped = CancellationToken::new();
        let tokened = CancellationToken::new();
        let (work, scope_done, token_done) = (held_work.clone(), scoped.clone(), tokened.clone());
        let handler = move || async move {
            let job = Job::current();
            tokio::spawn(job.scope(async move {
                let _done = scope_done.drop_guard();
                Job::current().cancelled().await;
                assert!(Job::current().checkpoint().is_err());
            }));
            let token = job.token();
            tokio::spawn(async move {
                let _done = token_done.drop_guard();
                token.cancelled().await;
            });
            work.run().await
        };
        let (server, keep) = serve(Router::new().route("/held", any(handler))).await;
        let client =
            Connection::open(&server)
                .await
                .spawn(get_with("/held", "idempotency-key", "k"));
        let job = entries.job().await;
        assert!(!scoped.is_cancelled() && !tokened.is_cancelled());

        client.abort();
        let end = ended(&keep.seen, job).await;
        assert_eq!(
            end,
            EventKind::Cancelled {
                reason: CancelReason::CallerGone,
                dropped: true
            }
        );
        held_work.left.cancelled().await;
        scoped.cancelled().await;
        tokened.cancelled().await;
        assert!(keep.cancel.running().is_empty());
        assert!(keep.progress.jobs().is_empty());

        // The same key is free again, and the circuit counted nothing.
        held_work.gate.open();
        let mut other = Connection::open(&server).await;
        let answer = other.send(get_with("/held", "idempotency-key", "k")).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(keep.circuit.failures(), 0);
        assert_eq!(all_ended(&keep.seen, 2).await[1], EventKind::Succeeded);
        assert_eq!(keep.seen.count("cancelled"), 1);
    })
    .await;
}

/// A detached job runs on when its client is gone, and ends as what it came to.
#[tokio::test]
async fn a_detached_job_outlives_its_client() {
    bounded(async {
        let (held, mut entries) = held();
        let seen = Recorder::new();
        let cancel = CancelLayer::new()
            .respond_with(|why| answer(StatusCode::SERVICE_UNAVAILABLE, why))
            .detached();
        let handle = cancel.handle();
        let gone = CancellationToken::new();
        let dropped = gone.clone();
        let app = Router::new()
            .route("/held", held.route())
            .layer((LogLayer::to(seen.clone()), cancel))
            .layer(middleware::from_fn(move |request, next: Next| {
                // Fires when the server drops the call.
                let guard = dropped.clone().drop_guard();
                async move {
                    let _guard = guard;
                    next.run(request).await
                }
            }));
        let server = Server::axum(app).await;
        let client = Connection::open(&server).await.spawn(support::get("/held"));
        let job = entries.job().await;

        client.abort();
        gone.cancelled().await;
        assert_eq!(handle.running(), [job]);
        held.gate.open();
        assert_eq!(ended(&seen, job).await, EventKind::Succeeded);
        assert!(handle.running().is_empty());
        seen.assert_one_terminal_each();
    })
    .await;
}

/// Requests that join one execution need a response that can be cloned: collected to bytes inside the layer. The first
/// client may leave; the work goes on for the other, in the first one's job, whose token fires only when nobody waits.
#[tokio::test]
async fn joined_requests_share_a_collected_response() {
    async fn collect(response: Response) -> Result<(StatusCode, Bytes), Infallible> {
        let (head, body) = response.into_parts();
        Ok(match axum::body::to_bytes(body, 1 << 20).await {
            Ok(bytes) => (head.status, bytes),
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string().into()),
        })
    }

    bounded(async {
        let (held, mut entries) = held();
        let seen = Recorder::new();
        let app = Router::new().route("/held", held.route()).layer(
            ServiceBuilder::new()
                .layer(LogLayer::to(seen.clone()))
                .layer(
                    DedupLayer::new(dedup_key)
                        .join()
                        .respond_with(|why| (StatusCode::CONFLICT, Bytes::from(why.to_string()))),
                )
                .and_then(collect),
        );
        let server = Server::axum(app).await;
        let request = || get_with("/held", "idempotency-key", "k");
        let first = Connection::open(&server).await.spawn(request());
        let job = entries.job().await;
        let second = Connection::open(&server).await.spawn(request());
        seen.until(|seen| seen.count("duplicate") == 1).await;
        let third = Connection::open(&server).await.spawn(request());
        seen.until(|seen| seen.count("duplicate") == 2).await;

        first.abort();
        assert_eq!(reason(ended(&seen, job).await), CancelReason::CallerGone);
        assert!(!held.left.is_cancelled());
        held.gate.open();
        for client in [second, third] {
            assert_eq!(client.await.unwrap().text, job.to_string());
        }
        assert!(entries.is_empty());
        let endings = all_ended(&seen, 3).await;
        assert_eq!(endings[1..], [const { EventKind::Succeeded }; 2]);
    })
    .await;
}

/// A handler that panics closes its connection, as with axum alone; the job ends as panicked, and the key is free.
#[tokio::test]
async fn a_panic_ends_the_job_and_frees_its_key() {
    bounded(async {
        let calls = Count::default();
        let counted = calls.clone();
        let handler = move || async move {
            tokio::task::yield_now().await;
            assert!(counted.next() > 1, "as intended by the test");
            "well"
        };
        let (server, keep) = serve(Router::new().route("/", any(handler))).await;
        let request = || get_with("/", "idempotency-key", "k");
        let error = Connection::open(&server).await.try_send(request()).await;
        assert!(error.unwrap_err().is_incomplete_message());
        let answer = Connection::open(&server).await.send(request()).await;
        assert_eq!(answer.text, "well");

        let endings = all_ended(&keep.seen, 2).await;
        assert_eq!(cause(endings[0].clone()), FailureCause::Panicked);
        assert_eq!(endings[1], EventKind::Succeeded);
        assert!(keep.cancel.running().is_empty());
    })
    .await;
}

/// A stopping server: its graceful shutdown's token stops the jobs, so that it need not wait for what never answers.
#[tokio::test]
async fn a_graceful_shutdown_stops_the_jobs() {
    bounded(async {
        let (held, mut entries) = held();
        let stopping = CancellationToken::new();
        let seen = Recorder::new();
        let app = Router::new().route("/held", held.route()).layer((
            LogLayer::to(seen.clone()),
            CancelLayer::new()
                .token(stopping.clone())
                .respond_with(|why| answer(StatusCode::SERVICE_UNAVAILABLE, why)),
        ));
        let (listener, addr) = listen().await;
        let signal = stopping.clone().cancelled_owned();
        let server = axum::serve(listener, app).with_graceful_shutdown(signal);
        let over = tokio::spawn(server.into_future());

        let connection = Connection::to(addr).await;
        let client = connection.spawn(support::get("/held"));
        let job = entries.job().await;
        stopping.cancel();
        assert_eq!(
            client.await.unwrap().status,
            StatusCode::SERVICE_UNAVAILABLE
        );
        over.await.unwrap().unwrap();
        assert_eq!(reason(ended(&seen, job).await), CancelReason::Requested);
    })
    .await;
}

/// `shutdown` on the handle ends what runs and turns away what comes, each with 503 and the reason.
#[tokio::test]
async fn the_handle_shuts_down() {
    bounded(async {
        let (held, mut entries) = held();
        let (server, keep) = serve(Router::new().route("/held", held.route())).await;
        let client = Connection::open(&server).await.spawn(support::get("/held"));
        entries.job().await;
        assert_eq!(keep.cancel.shutdown(), 1);
        assert_eq!(client.await.unwrap().text, "job cancelled: shutting down");
        let answer = Connection::open(&server).await.get("/held").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.text, "job cancelled: shutting down");
        assert!(entries.is_empty());
        for end in all_ended(&keep.seen, 2).await {
            assert_eq!(reason(end), CancelReason::Shutdown);
        }
    })
    .await;
}

/// Foreign layers in between, that hand the call down at once, do not split the job: one dispatched, one terminal. A
/// request that is shed is a job that failed.
#[tokio::test]
async fn foreign_layers_in_between_leave_one_job() {
    bounded(async {
        let (held, mut entries) = held();
        let seen = Recorder::new();
        let inner_seen = Recorder::new();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let app = Router::new().route("/held", held.route()).layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(|error: BoxError| async move {
                    let status = if error.is::<Overloaded>() {
                        StatusCode::SERVICE_UNAVAILABLE
                    } else {
                        StatusCode::INTERNAL_SERVER_ERROR
                    };
                    answer(status, error)
                }))
                .layer(LogLayer::to(seen.clone()))
                .layer(LoadShedLayer::new())
                .layer(GlobalConcurrencyLimitLayer::new(1))
                .map_request(|request: Request| request)
                .layer(cancel)
                .layer(ConcurrencyLimitLayer::new(8))
                .map_response(|response: Response| response)
                .layer(CircuitBreakerLayer::new())
                .layer(BoxCloneSyncService::layer())
                .layer(TimeoutLayer::new(Duration::from_secs(30)))
                .layer(tower::timeout::TimeoutLayer::new(Duration::from_secs(30)))
                .layer(RetryLayer::new().clone_with(repeat_get))
                .layer(ProgressLayer::new())
                // A second Log, innermost, sees the same job.
                .layer(LogLayer::to(inner_seen.clone())),
        );
        let server = Server::axum(app).await;
        let first = Connection::open(&server).await.spawn(support::get("/held"));
        let job = entries.job().await;
        assert_eq!(handle.running(), [job]);

        let answer = Connection::open(&server).await.get("/held").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(entries.is_empty());

        held.gate.open();
        assert_eq!(first.await.unwrap().text, job.to_string());
        let endings = all_ended(&seen, 2).await;
        assert_eq!(endings[0], EventKind::Succeeded);
        assert_eq!(cause(endings[1].clone()), FailureCause::Error);
        assert_eq!(seen.count("dispatched"), 2);
        assert_eq!(inner_seen.job(), job);
        inner_seen.assert_one_terminal_each();
    })
    .await;
}

/// Each further `Router::layer` hides the job from the layers below it, which begin a child: as documented.
#[tokio::test]
async fn a_second_router_layer_begins_a_child() {
    bounded(async {
        let (outer, inner) = (Recorder::new(), Recorder::new());
        let app = Router::new()
            .route("/", get(hello))
            .layer(LogLayer::to(inner.clone()))
            .layer(LogLayer::to(outer.clone()));
        let server = Server::axum(app).await;
        Connection::open(&server).await.get("/").await;
        all_ended(&outer, 1).await;
        all_ended(&inner, 1).await;
        assert_eq!(parent(&inner, inner.job()), Some(outer.job()));
    })
    .await;
}

/// A router nested into another, both with clones of the same layers: the inner one begins a child, as any further
/// `Router::layer` does, and one handle reaches both.
#[tokio::test]
async fn nested_routers_with_the_same_layers() {
    bounded(async {
        let seen = Recorder::new();
        let log = LogLayer::to(seen.clone());
        let cancel = CancelLayer::new().respond_with(|why| answer(StatusCode::IM_A_TEAPOT, why));
        let handle = cancel.handle();
        let (held, mut entries) = held();
        let nested = Router::new()
            .route("/held", held.route())
            .layer((log.clone(), cancel.clone()));
        let app = Router::new().nest("/nested", nested).layer((log, cancel));
        let server = Server::axum(app).await;
        let client = Connection::open(&server)
            .await
            .spawn(support::get("/nested/held"));
        let child = entries.job().await;
        let outer = parent(&seen, child).expect("the inner job is a child");
        assert_eq!(handle.running(), [outer, child]);
        handle.cancel(outer);
        assert_eq!(client.await.unwrap().status, StatusCode::IM_A_TEAPOT);
        for end in all_ended(&seen, 2).await {
            assert_eq!(reason(end), CancelReason::Requested);
        }
        assert!(handle.running().is_empty());
    })
    .await;
}

/// The job ends with the response's head; a body that streams on is covered by no layer, and not cut by its limit.
#[tokio::test]
async fn a_streaming_body_is_not_covered() {
    bounded(async {
        let (held, mut entries) = held();
        let work = held.clone();
        let handler = move || async move {
            let first = stream::once(async { Ok::<_, Infallible>(Bytes::from("first ")) });
            let second = stream::once(async move { Ok(Bytes::from(work.run().await)) });
            Body::from_stream(first.chain(second))
        };
        let (server, keep) = serve(Router::new().route("/", any(handler))).await;
        let client = Connection::open(&server)
            .await
            .spawn(get_with("/", "x-patience", "50"));
        // It streams outside any job.
        assert_eq!(entries.recv().await, None);
        assert_eq!(all_ended(&keep.seen, 1).await, [EventKind::Succeeded]);
        tokio::time::sleep(SHORT * 2).await;
        held.gate.open();
        let answer = client.await.unwrap();
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "first 0"));
    })
    .await;
}

/// Two streams of one HTTP/2 connection are two jobs: one is reset and ends as `CallerGone`, the other goes on.
#[tokio::test]
async fn two_http2_streams_are_two_jobs() {
    bounded(async {
        let (held, mut entries) = held();
        let (server, keep) = serve(Router::new().route("/{n}", held.route())).await;
        let connection = Multiplexed::open(&server).await;
        let spawn = |path: &'static str| {
            let mut connection = connection.clone();
            tokio::spawn(async move { connection.get(path).await })
        };
        let first = spawn("/1");
        let first_job = entries.job().await;
        let second = spawn("/2");
        let second_job = entries.job().await;
        assert_ne!(first_job, second_job);
        assert_eq!(keep.cancel.running(), [first_job, second_job]);

        first.abort();
        let end = ended(&keep.seen, first_job).await;
        assert_eq!(reason(end), CancelReason::CallerGone);
        assert_eq!(keep.cancel.running(), [second_job]);

        held.gate.open();
        assert_eq!(second.await.unwrap().text, second_job.to_string());
        let endings = all_ended(&keep.seen, 2).await;
        assert_eq!(endings[1], EventKind::Succeeded);
        for job in [first_job, second_job] {
            assert_eq!(parent(&keep.seen, job), None);
        }
    })
    .await;
}

/// The HTTP/2 streams of one connection share the layers' state with each other and with HTTP/1.
#[tokio::test]
async fn http2_and_http1_share_the_state() {
    bounded(async {
        let (held, mut entries) = held();
        let (server, keep) = serve(Router::new().route("/held", held.route())).await;
        let mut connection = Multiplexed::open(&server).await;
        let first = Connection::open(&server).await.spawn(support::get("/held"));
        let job = entries.job().await;
        let mut other = connection.clone();
        let second = tokio::spawn(async move { other.get("/held").await });
        let second_job = entries.job().await;
        assert_eq!(
            keep.cancel.cancel_all(CancelReason::Other("test".into())),
            2
        );
        for (client, job) in [(first, job), (second, second_job)] {
            assert_eq!(client.await.unwrap().text, "job cancelled: test");
            let end = ended(&keep.seen, job).await;
            assert_eq!(reason(end), CancelReason::Other("test".into()));
        }
        keep.circuit.force_open();
        let answer = connection.get("/held").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    })
    .await;
}

/// Many clients at once, some of which leave: each request is one job with one ending, and nothing is left over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_leave_nothing_behind() {
    bounded(async {
        let (held, mut entries) = held();
        let (server, keep) = serve(Router::new().route("/held", held.route())).await;
        let mut clients = Vec::new();
        for n in 0..16 {
            let request = get_with("/held", "idempotency-key", &n.to_string());
            clients.push(Connection::open(&server).await.spawn(request));
        }
        let mut jobs: Vec<JobId> = Vec::new();
        for _ in 0..16 {
            jobs.push(entries.job().await);
        }
        jobs.sort_unstable();
        assert_eq!(keep.cancel.running(), jobs);
        for client in clients.iter().step_by(2) {
            client.abort();
        }
        keep.seen.until(|seen| seen.count("cancelled") == 8).await;
        held.gate.open();
        for client in clients.into_iter().skip(1).step_by(2) {
            assert_eq!(client.await.unwrap().status, StatusCode::OK);
        }
        all_ended(&keep.seen, 16).await;
        assert_eq!(keep.seen.count("succeeded"), 8);
        assert!(keep.cancel.running().is_empty());
        assert!(keep.progress.jobs().is_empty());
    })
    .await;
}
