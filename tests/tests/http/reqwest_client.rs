//! A reqwest client behind the layers.

use std::{convert::Infallible, future::pending, num::NonZeroU32, time::Duration};

use axum::{
    Router,
    body::Body,
    routing::{any, get, post},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{StatusCode, header};
use http_body_util::BodyExt;
use reqwest::{Method, Request, Response, Url};
use tokio::net::{TcpListener, TcpSocket};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, DedupLayer, EventKind, FailureCause,
    LimitScope, LogLayer, Outcome, ProgressLayer, RetryLayer, TimeoutLayer,
    cancel::{CancelHandle, Cancelled},
    circuit_breaker::{CircuitBreakerHandle, Open, State},
    dedup::Duplicate,
    find,
    retry::{Decision, Policy},
    timeout::Elapsed,
};
use tower_keep_test::Recorder;

use crate::support::{
    Background, Count, SHORT, Server, all_ended, bounded, cause, ended, held, reason,
    reqwest_client,
};

/// What the test keeps of a client's layers.
struct Keep {
    seen: Recorder,
    cancel: CancelHandle,
    circuit: CircuitBreakerHandle,
}

fn request(server: &Server, path: &str) -> Request {
    Request::new(Method::GET, server.url(path).parse().unwrap())
}

fn server_errors<E>(result: &Result<Response, E>) -> Outcome {
    match result {
        Ok(response) if !response.status().is_server_error() => Outcome::Success,
        _ => Outcome::Failure,
    }
}

fn dedup_key(request: &Request) -> Option<(Method, Url)> {
    (request.method() == Method::GET).then(|| (request.method().clone(), request.url().clone()))
}

/// A response that can be cloned. Collected within the stack, so that a limit covers the body too.
async fn collect(response: Response) -> Result<http::Response<Bytes>, reqwest::Error> {
    let (head, body) = http::Response::<reqwest::Body>::from(response).into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(http::Response::from_parts(head, body))
}

/// All seven layers around reqwest, which streams its response.
fn client(
    attempt: Duration,
) -> (
    impl Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone,
    Keep,
) {
    let seen = Recorder::new();
    let cancel = CancelLayer::new();
    let circuit = CircuitBreakerLayer::new()
        .name("upstream")
        .failure_threshold(1)
        .cooldown(SHORT)
        .probe_timeout(Duration::from_secs(30))
        .half_open_probes(NonZeroU32::MIN)
        .classify(server_errors::<BoxError>);
    let keep = Keep {
        seen: seen.clone(),
        cancel: cancel.handle(),
        circuit: circuit.handle(),
    };
    let client = ServiceBuilder::new()
        .layer(LogLayer::to(seen).classify(server_errors::<BoxError>))
        .layer(ProgressLayer::new())
        .layer(cancel)
        .layer(DedupLayer::new(dedup_key))
        .layer(circuit)
        .layer(TimeoutLayer::new(Duration::from_secs(30)))
        .layer(
            RetryLayer::new()
                .max_retries(2)
                .base_delay(Duration::from_millis(1))
                .classify(server_errors::<BoxError>)
                .clone_with(Request::try_clone),
        )
        .layer(TimeoutLayer::per_attempt(attempt))
        .service(reqwest_client());
    (client, keep)
}

/// A 503 is retried, each attempt a request of its own; it is one job, and the response is the last one's.
#[tokio::test]
async fn a_503_is_retried_within_one_job() {
    bounded(async {
        let requests = Count::default();
        let server = Server::axum(Router::new().route("/", requests.fails_first(2))).await;
        let (client, keep) = client(Duration::from_secs(30));
        let response = client.oneshot(request(&server, "/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.text().await.unwrap(), "3");
        keep.seen.assert_names([
            "dispatched",
            "started",
            "retry_scheduled",
            "retrying",
            "retry_scheduled",
            "retrying",
            "succeeded",
        ]);
    })
    .await;
}

/// When no retry is left the caller gets the last response, and the job has failed.
#[tokio::test]
async fn the_last_503_is_the_answer() {
    bounded(async {
        let requests = Count::default();
        let server = Server::axum(Router::new().route("/", requests.fails_first(9))).await;
        let (client, keep) = client(Duration::from_secs(30));
        let response = client.oneshot(request(&server, "/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.text().await.unwrap(), "3");
        let endings = all_ended(&keep.seen, 1).await;
        assert_eq!(cause(endings[0].clone()), FailureCause::Error);
        assert_eq!(keep.circuit.failures(), 1);
    })
    .await;
}

/// A body that is streamed cannot be repeated: `try_clone` gives `None`, and it is tried once.
#[tokio::test]
async fn a_streaming_body_is_tried_once() {
    bounded(async {
        let requests = Count::default();
        let counted = requests.clone();
        let app = Router::new().route(
            "/",
            post(move |body: Bytes| async move {
                counted.next();
                (StatusCode::SERVICE_UNAVAILABLE, body)
            }),
        );
        let server = Server::axum(app).await;
        let (client, keep) = client(Duration::from_secs(30));
        let parts = stream::iter([Ok::<_, Infallible>("a"), Ok("b")]);
        let mut streaming = Request::new(Method::POST, server.url("/").parse().unwrap());
        *streaming.body_mut() = Some(reqwest::Body::wrap_stream(parts));
        let response = client.clone().oneshot(streaming).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.text().await.unwrap(), "ab");
        assert_eq!(requests.get(), 1);
        assert_eq!(keep.seen.count("retry_scheduled"), 0);

        // The same bytes, not streamed, are tried thrice.
        let mut whole = Request::new(Method::POST, server.url("/").parse().unwrap());
        *whole.body_mut() = Some("ab".into());
        let response = client.oneshot(whole).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "ab");
        assert_eq!(requests.get(), 4);
        all_ended(&keep.seen, 2).await;
    })
    .await;
}

/// A server that never answers costs each attempt its limit and no more; `find` says which limit and which attempt.
#[tokio::test]
async fn a_silent_server_times_out() {
    bounded(async {
        let server = Server::silent().await;
        let (client, keep) = client(SHORT);
        let error = client.oneshot(request(&server, "/")).await.unwrap_err();
        let elapsed = find::<Elapsed>(&*error).expect("the reason is inside");
        assert_eq!(elapsed, &Elapsed::new(LimitScope::Attempt, SHORT, 3));
        assert_eq!(keep.seen.count("timed_out"), 3);
        assert_eq!(keep.seen.count("retrying"), 2);
        let endings = all_ended(&keep.seen, 1).await;
        assert_eq!(cause(endings[0].clone()), FailureCause::TimedOut);
    })
    .await;
}

/// An overall limit ends the job though retries are left.
#[tokio::test]
async fn an_overall_limit_is_not_retried() {
    bounded(async {
        let server = Server::silent().await;
        let seen = Recorder::new();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(RetryLayer::new().clone_with(Request::try_clone))
            .layer(TimeoutLayer::new(SHORT))
            .service(reqwest_client());
        let error = client.oneshot(request(&server, "/")).await.unwrap_err();
        let elapsed = find::<Elapsed>(&*error).unwrap();
        assert_eq!(elapsed, &Elapsed::new(LimitScope::Overall, SHORT, 1));
        seen.assert_names(["dispatched", "started", "timed_out", "failed"]);
    })
    .await;
}

/// A first attempt that hangs is given up, and the second is answered.
#[tokio::test]
async fn an_attempt_that_hangs_is_retried() {
    // Goes elsewhere, as to another replica, so that it does not matter how far the first one came.
    fn elsewhere(request: &Request) -> Option<Request> {
        let mut again = request.try_clone()?;
        again.url_mut().set_path("/ready");
        Some(again)
    }

    bounded(async {
        let app = Router::new()
            .route("/pending", get(pending::<()>))
            .route("/ready", get(|| async { "ready" }));
        let server = Server::axum(app).await;
        let seen = Recorder::new();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(
                RetryLayer::new()
                    .base_delay(Duration::from_millis(1))
                    .clone_with(elsewhere),
            )
            .layer(TimeoutLayer::per_attempt_by(|request: &Request| {
                (request.url().path() == "/pending").then_some(SHORT)
            }))
            .service(reqwest_client());
        let response = client.oneshot(request(&server, "/pending")).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "ready");
        seen.assert_names([
            "dispatched",
            "started",
            "timed_out",
            "retry_scheduled",
            "retrying",
            "succeeded",
        ]);
    })
    .await;
}

/// Refused connections open the circuit; while it is open nothing is connected to; and once the server is up a probe
/// closes it. reqwest's own error stays within reach.
#[tokio::test]
async fn refused_connections_open_the_circuit() {
    bounded(async {
        // A port that is taken, and refuses as long as nobody listens.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = socket.local_addr().unwrap();
        let to = || Request::new(Method::GET, format!("http://{addr}/").parse().unwrap());
        let (client, keep) = client(Duration::from_secs(30));
        for _ in 0..2 {
            let error = client.clone().oneshot(to()).await.unwrap_err();
            assert!(find::<reqwest::Error>(&*error).unwrap().is_connect());
            let io = find::<std::io::Error>(&*error).unwrap();
            assert_eq!(io.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        assert_eq!(keep.circuit.state(), State::Open);
        keep.circuit.force_open();
        let error = client.clone().oneshot(to()).await.unwrap_err();
        let open = find::<Open>(&*error).unwrap();
        assert_eq!((open.circuit(), open.remaining()), ("upstream", None));

        let listener: TcpListener = socket.listen(8).unwrap();
        let app = Router::new().route("/", get(|| async { "up" }));
        let _server = Background::spawn(async move { axum::serve(listener, app).await.unwrap() });
        keep.circuit.reset();
        let response = client.oneshot(to()).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "up");
        let endings = all_ended(&keep.seen, 4).await;
        assert_eq!(cause(endings[2].clone()), FailureCause::CircuitOpen);
        assert_eq!(endings[3], EventKind::Succeeded);
    })
    .await;
}

/// 503s open the circuit, which after its cooldown lets one probe through and closes when that goes well.
#[tokio::test]
async fn a_circuit_recovers() {
    bounded(async {
        let requests = Count::default();
        // Two jobs of three attempts each.
        let server = Server::axum(Router::new().route("/", requests.fails_first(6))).await;
        let (client, keep) = client(Duration::from_secs(30));
        for _ in 0..2 {
            let response = client.clone().oneshot(request(&server, "/")).await.unwrap();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(keep.seen.count("circuit_opened"), 1);
        while let Some(wait) = keep.circuit.time_until_probe() {
            tokio::time::sleep(wait).await;
        }
        let response = client.oneshot(request(&server, "/")).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "7");
        assert_eq!(keep.circuit.state(), State::Closed);
        let probe = keep.seen.jobs()[2];
        keep.seen.assert_names_of(
            probe,
            [
                "dispatched",
                "circuit_half_opened",
                "started",
                "circuit_closed",
                "succeeded",
            ],
        );
    })
    .await;
}

/// The same request in flight is a duplicate, and never reaches the server; another request is none.
#[tokio::test]
async fn a_duplicate_is_rejected() {
    bounded(async {
        let (held, mut entries) = held();
        let app = Router::new()
            .route("/held", held.route())
            .route("/other", get(|| async { "other" }));
        let server = Server::axum(app).await;
        let (client, keep) = client(Duration::from_secs(30));
        let first = tokio::spawn(client.clone().oneshot(request(&server, "/held")));
        assert_eq!(entries.recv().await, None, "the server has no layers");
        let job = keep.seen.job();

        let again = client.clone().oneshot(request(&server, "/held")).await;
        let error = again.unwrap_err();
        assert_eq!(find::<Duplicate>(&*error).unwrap().job(), Some(job));
        let other = client.oneshot(request(&server, "/other")).await.unwrap();
        assert_eq!(other.text().await.unwrap(), "other");
        assert!(entries.is_empty());

        held.gate.open();
        assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
        let endings = all_ended(&keep.seen, 3).await;
        assert_eq!(cause(endings[1].clone()), FailureCause::Duplicate);
    })
    .await;
}

/// Callers that join share one request and its collected response; the first may leave meanwhile.
#[tokio::test]
async fn callers_join_one_request() {
    bounded(async {
        let (held, mut entries) = held();
        let server = Server::axum(Router::new().route("/held", held.route())).await;
        let seen = Recorder::new();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(CancelLayer::new())
            .layer(DedupLayer::new(dedup_key).join())
            .layer(CircuitBreakerLayer::new())
            .layer(TimeoutLayer::new(Duration::from_secs(30)))
            .layer(RetryLayer::new().clone_with(Request::try_clone))
            .and_then(collect)
            .service(reqwest_client());
        let call = || tokio::spawn(client.clone().oneshot(request(&server, "/held")));
        let first = call();
        entries.recv().await;
        let second = call();
        let third = call();
        seen.until(|seen| seen.count("duplicate") == 2).await;
        first.abort();
        let leader = seen.jobs()[0];
        assert_eq!(reason(ended(&seen, leader).await), CancelReason::CallerGone);

        held.gate.open();
        for call in [second, third] {
            let response = call.await.unwrap().unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.body(), "0");
        }
        assert!(entries.is_empty(), "one request reached the server");
        let endings = all_ended(&seen, 3).await;
        assert_eq!(endings[1..], [const { EventKind::Succeeded }; 2]);
    })
    .await;
}

/// The error of a joined request reaches all callers, and `find` finds reqwest's own error in it.
#[tokio::test]
async fn callers_that_joined_share_the_error() {
    bounded(async {
        let server = Server::silent().await;
        let seen = Recorder::new();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(DedupLayer::new(dedup_key).join())
            .and_then(collect)
            .service(
                reqwest::Client::builder()
                    .no_proxy()
                    .timeout(SHORT)
                    .build()
                    .unwrap(),
            );
        let (one, two) = tokio::join!(
            client.clone().oneshot(request(&server, "/")),
            client.clone().oneshot(request(&server, "/")),
        );
        for error in [one.unwrap_err(), two.unwrap_err()] {
            assert!(find::<reqwest::Error>(&*error).unwrap().is_timeout());
        }
        assert_eq!(seen.count("duplicate"), 1);
        all_ended(&seen, 2).await;
    })
    .await;
}

/// Cancelled by the handle, the caller gets the reason and the server sees its client leave.
#[tokio::test]
async fn a_request_is_cancelled_by_the_handle() {
    bounded(async {
        let (held, mut entries) = held();
        let server = Server::axum(Router::new().route("/held", held.route())).await;
        let (client, keep) = client(Duration::from_secs(30));
        let call = tokio::spawn(client.oneshot(request(&server, "/held")));
        entries.recv().await;
        let job = keep.seen.job();
        assert_eq!(keep.cancel.running(), [job]);
        assert!(keep.cancel.cancel(job));
        let error = call.await.unwrap().unwrap_err();
        let cancelled = find::<Cancelled>(&*error).unwrap();
        assert_eq!(cancelled.reason(), &CancelReason::Requested);
        assert_eq!(cancelled.job(), Some(job));
        held.left.cancelled().await;
        assert_eq!(
            all_ended(&keep.seen, 1).await,
            [EventKind::Cancelled {
                reason: CancelReason::Requested,
                dropped: true
            }]
        );
    })
    .await;
}

/// A cancellation ends a wait between two attempts at once.
#[tokio::test]
async fn a_cancellation_ends_a_backoff() {
    bounded(async {
        let requests = Count::default();
        let server = Server::axum(Router::new().route("/", requests.fails_first(9))).await;
        let seen = Recorder::new();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(cancel)
            .layer(
                RetryLayer::new()
                    .base_delay(Duration::from_secs(3600))
                    .max_delay(Duration::MAX)
                    .classify(server_errors::<reqwest::Error>)
                    .clone_with(Request::try_clone),
            )
            .service(reqwest_client());
        let call = tokio::spawn(client.oneshot(request(&server, "/")));
        seen.until(|seen| seen.count("retry_scheduled") == 1).await;
        handle.cancel(seen.job());
        assert!(find::<Cancelled>(&*call.await.unwrap().unwrap_err()).is_some());
        assert_eq!(requests.get(), 1);
    })
    .await;
}

/// A call that is dropped ends as `CallerGone`, and its request is given up.
#[tokio::test]
async fn a_dropped_call_gives_up_its_request() {
    bounded(async {
        let (held, mut entries) = held();
        let server = Server::axum(Router::new().route("/held", held.route())).await;
        let (client, keep) = client(Duration::from_secs(30));
        let call = tokio::spawn(client.clone().oneshot(request(&server, "/held")));
        entries.recv().await;
        call.abort();
        held.left.cancelled().await;
        let endings = all_ended(&keep.seen, 1).await;
        assert_eq!(reason(endings[0].clone()), CancelReason::CallerGone);

        // Its key is free and its circuit unharmed.
        held.gate.open();
        let response = client.oneshot(request(&server, "/held")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(keep.circuit.failures(), 0);
    })
    .await;
}

/// A policy of one's own waits as long as the server's `Retry-After` says, but no longer than `max_delay`.
#[tokio::test]
async fn a_policy_follows_retry_after() {
    #[derive(Clone)]
    struct RetryAfter;

    impl<E> Policy<Response, E> for RetryAfter {
        fn decide(&self, result: &Result<Response, E>, _: u32) -> Decision {
            match result {
                Err(_) => Decision::Retry,
                Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => response
                    .headers()
                    .get(header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.parse().ok())
                    .map_or(Decision::Retry, |seconds| {
                        Decision::RetryAfter(Duration::from_secs(seconds))
                    }),
                Ok(_) => Decision::Stop,
            }
        }
    }

    bounded(async {
        let requests = Count::default();
        let handler = move || async move {
            match requests.next() {
                1 => Err((
                    StatusCode::SERVICE_UNAVAILABLE,
                    [(header::RETRY_AFTER, "0")],
                )),
                2 => Err((
                    StatusCode::SERVICE_UNAVAILABLE,
                    [(header::RETRY_AFTER, "3600")],
                )),
                n => Ok(n.to_string()),
            }
        };
        let server = Server::axum(Router::new().route("/", any(handler))).await;
        let seen = Recorder::new();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(
                RetryLayer::new()
                    .max_delay(Duration::from_millis(2))
                    .policy(RetryAfter)
                    .clone_with(Request::try_clone),
            )
            .service(reqwest_client());
        let response = client.oneshot(request(&server, "/")).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "3");
        let delays: Vec<_> = seen
            .kinds()
            .into_iter()
            .filter_map(|kind| match kind {
                EventKind::RetryScheduled { delay, .. } => Some(delay),
                _ => None,
            })
            .collect();
        assert_eq!(delays, [Duration::ZERO, Duration::from_millis(2)]);
    })
    .await;
}

/// Collected within the stack, a body that stalls runs into the limit; streamed, it is the caller's own affair.
#[tokio::test]
async fn a_limit_covers_a_body_collected_inside() {
    bounded(async {
        let handler = || async {
            let first = stream::once(async { Ok::<_, Infallible>(Bytes::from("first")) });
            Body::from_stream(first.chain(stream::pending()))
        };
        let server = Server::axum(Router::new().route("/", get(handler))).await;
        let seen = Recorder::new();
        let collected = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(TimeoutLayer::new(Duration::from_millis(200)))
            .and_then(collect)
            .service(reqwest_client());
        let error = collected.oneshot(request(&server, "/")).await.unwrap_err();
        assert!(find::<Elapsed>(&*error).is_some());
        seen.assert_names(["dispatched", "started", "timed_out", "failed"]);

        let streamed = ServiceBuilder::new()
            .layer(TimeoutLayer::new(Duration::from_secs(30)))
            .service(reqwest_client());
        let mut response = streamed.oneshot(request(&server, "/")).await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "first");
    })
    .await;
}

/// One flat enum for the layers and for reqwest's own error.
#[tokio::test]
async fn one_flat_enum_of_errors() {
    #[derive(Debug, thiserror::Error)]
    enum FetchError {
        #[error(transparent)]
        Http(#[from] reqwest::Error),
        #[error("too slow")]
        TooSlow(Elapsed),
        #[error("unavailable")]
        Unavailable(Open),
        #[error("in flight")]
        InFlight(Duplicate),
        #[error("stopped")]
        Stopped(Cancelled),
    }

    bounded(async {
        let silent = Server::silent().await;
        let server = Server::axum(Router::new().route("/", get(|| async { "well" }))).await;
        let seen = Recorder::new();
        let cancel = CancelLayer::new().fail_with(FetchError::Stopped);
        let circuit = CircuitBreakerLayer::new()
            .failure_threshold(0)
            .fail_with(FetchError::Unavailable);
        let handle = circuit.handle();
        let stop = cancel.handle();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(cancel)
            .layer(DedupLayer::new(dedup_key).fail_with(FetchError::InFlight))
            .layer(circuit)
            .layer(
                TimeoutLayer::per_request(|request: &Request| request.timeout().copied())
                    .fail_with(FetchError::TooSlow),
            )
            .layer(
                RetryLayer::new()
                    .max_retries(1)
                    .base_delay(Duration::from_millis(1))
                    .should_retry(|error: &reqwest::Error| error.is_connect())
                    .clone_with(Request::try_clone),
            )
            .service(reqwest_client());

        let response = client.clone().oneshot(request(&server, "/")).await;
        assert_eq!(response.unwrap().text().await.unwrap(), "well");

        let refused = {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            socket
        };
        let url = format!("http://{}/", refused.local_addr().unwrap());
        let request_refused = Request::new(Method::GET, url.parse().unwrap());
        let error = client.clone().oneshot(request_refused).await.unwrap_err();
        assert!(matches!(&error, FetchError::Http(error) if error.is_connect()));
        assert_eq!(seen.count("retrying"), 1);

        let error = client.clone().oneshot(request(&server, "/")).await;
        assert!(
            matches!(&error, Err(FetchError::Unavailable(_))),
            "{error:?}"
        );
        handle.force_closed();

        let pending = client.clone().oneshot(request(&silent, "/"));
        let again = client.clone().oneshot(request(&silent, "/"));
        let pending = tokio::spawn(pending);
        seen.until(|seen| seen.count("started") == 3).await;
        let error = again.await;
        assert!(matches!(&error, Err(FetchError::InFlight(_))), "{error:?}");
        assert_eq!(stop.cancel_all(CancelReason::Shutdown), 1);
        let error = pending.await.unwrap();
        assert!(matches!(&error, Err(FetchError::Stopped(_))), "{error:?}");
        all_ended(&seen, 5).await;
    })
    .await;
}
