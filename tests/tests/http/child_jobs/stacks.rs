//! Other stacks for the server and its client: hyper's own, with shared layers, within themselves.

use std::convert::Infallible;

use axum::{Router, body::Bytes, response::IntoResponse, routing::any};
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, EventKind, Job, JobId, LogLayer,
    ProgressLayer, RetryLayer, TimeoutLayer,
};
use tower_keep_test::Recorder;
use tower_keep_tests::servers::{
    Connection, Count, LONG, SOON, Server, all_ended, bounded, get, parent, reason, reqwest_client,
};

use super::{Fetch, reply, serve, upstream};
use crate::layers::upstream_errors;

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

/// One client for the whole server: its circuit, opened by one request's calls, rejects the
/// calls of another request. Those fail with the reason.
#[tokio::test]
async fn a_shared_client_shares_its_circuit() {
    async fn call(fetch: Fetch) -> Result<String, BoxError> {
        fetch.text().await
    }

    bounded(async {
        let requests = Count::default();
        let upstream = Server::axum(Router::new().route("/", requests.fails_first(99))).await;
        let (fetch, fetched, _) = Fetch::layered(&upstream);
        // The circuit of `Fetch` counts errors only; here it is around what `error_for_status`
        // makes of a 503.
        let circuit = CircuitBreakerLayer::new()
            .named("upstream")
            .failure_threshold(1);
        let handle = circuit.handle();
        let guarded = ServiceBuilder::new()
            .layer(circuit)
            // An `async fn`: with an `async` block of this error type the compiler cannot see, at
            // present, that the handler's future is `Send` (as with every layer whose bound is
            // `Into<BoxError>`, tower's own too).
            .service(service_fn(move |()| call(fetch.clone())));
        let (server, keep) = serve(guarded, |guarded| async move {
            reply(guarded.oneshot(()).await)
        })
        .await;
        for _ in 0..2 {
            let answer = Connection::open(&server).await.get("/").await;
            assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        }
        assert_eq!(requests.get(), 6);
        assert!(handle.snapshot().time_until_probe.is_some());
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

/// One Progress layer and one Cancel layer for the server and for its client, so that one view
/// shows all and one handle cancels all: the client's call is a child all the same, and the
/// parent's attempts are its own.
#[tokio::test]
async fn a_layer_shared_by_server_and_client() {
    bounded(async {
        let requests = Count::default();
        let flaky = Server::axum(Router::new().route("/", requests.fails_first(2))).await;
        let progress = ProgressLayer::new();
        let mut events = progress.handle().subscribe();
        let (seen, fetched) = (Recorder::new(), Recorder::new());
        let client = ServiceBuilder::new()
            .layer(progress.clone())
            .layer(CancelLayer::new())
            .layer(LogLayer::to(fetched.clone()))
            .layer(
                RetryLayer::new()
                    .base_delay(SOON)
                    .classify(upstream_errors::<reqwest::Error>)
                    .clone_with(tower_keep_tests::servers::repeat),
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
            CancelLayer::new().respond_with(|_| StatusCode::SERVICE_UNAVAILABLE.into_response()),
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

/// A stack that calls itself, as a handler that asks its own server's service: each call in it is a
/// child.
#[tokio::test]
async fn a_stack_that_calls_itself() {
    bounded(async {
        let seen = Recorder::new();
        // The limit is outermost, so that it takes over the job that the log begins.
        let layers = ServiceBuilder::new()
            .layer(TimeoutLayer::new(LONG).respond_with(|_| 0))
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
