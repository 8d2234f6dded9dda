//! Which requests are made again.

use std::{convert::Infallible, future::pending, time::Duration};

use axum::{
    Router,
    routing::{any, get},
};
use bytes::Bytes;
use futures::stream;
use http::{StatusCode, header};
use reqwest::{Method, Request, Response};
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    EventKind, FailureCause, LogLayer, RetryLayer, TimeoutLayer,
    retry::{Attempt, Decision, Policy},
};
use tower_keep_test::Recorder;
use tower_keep_tests::servers::{
    Count, LONG, SHORT, SOON, Server, all_ended, bounded, cause, reqwest_client,
};

use super::{client, request};

/// A 503 is retried, each attempt a request of its own; it is one job, and the response is the last
/// one's.
#[tokio::test]
async fn a_503_is_retried_within_one_job() {
    bounded(async {
        let requests = Count::default();
        let server = Server::axum(Router::new().route("/", requests.fails_first(2))).await;
        let (client, keep) = client(LONG);
        let response = client.oneshot(request(&server, "/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.text().await.unwrap(), "3");
        keep.seen.assert_names([
            "dispatched",
            "started",
            "attempt_ended",
            "retry_scheduled",
            "retrying",
            "attempt_ended",
            "retry_scheduled",
            "retrying",
            "attempt_ended",
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
        let (client, keep) = client(LONG);
        let response = client.oneshot(request(&server, "/")).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.text().await.unwrap(), "3");
        let endings = all_ended(&keep.seen, 1).await;
        assert_eq!(cause(endings[0].clone()), FailureCause::Error);
        assert_eq!(keep.circuit.snapshot().failures_in_a_row, 1);
    })
    .await;
}

/// Behaviour 20: a body that is streamed cannot be repeated: `try_clone` gives `None`, and it is
/// tried once. So is a POST, which may have been carried out.
#[tokio::test]
async fn a_streaming_body_is_tried_once() {
    bounded(async {
        let requests = Count::default();
        let counted = requests.clone();
        let app = Router::new().route(
            "/",
            any(move |body: Bytes| async move {
                counted.next();
                (StatusCode::SERVICE_UNAVAILABLE, body)
            }),
        );
        let server = Server::axum(app).await;
        let (streamer, keep) = client(LONG);
        let parts = stream::iter([Ok::<_, Infallible>("a"), Ok("b")]);
        let mut streaming = Request::new(Method::PUT, server.url("/").parse().unwrap());
        *streaming.body_mut() = Some(reqwest::Body::wrap_stream(parts));
        let response = streamer.oneshot(streaming).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.text().await.unwrap(), "ab");
        assert_eq!(requests.get(), 1);
        assert_eq!(keep.seen.count("retry_scheduled"), 0);

        // The same bytes, not streamed, are tried three times where the method allows it.
        for (method, tried) in [(Method::PUT, 3), (Method::POST, 1)] {
            let (client, keep) = client(LONG);
            let before = requests.get();
            let mut whole = Request::new(method, server.url("/").parse().unwrap());
            *whole.body_mut() = Some("ab".into());
            let response = client.oneshot(whole).await.unwrap();
            assert_eq!(response.text().await.unwrap(), "ab");
            assert_eq!(requests.get() - before, tried);
            all_ended(&keep.seen, 1).await;
        }
        all_ended(&keep.seen, 1).await;
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
            .layer(RetryLayer::new().base_delay(SOON).clone_with(elsewhere))
            .layer(
                TimeoutLayer::none()
                    .limit_by(|request: &Request| {
                        (request.url().path() == "/pending").then_some(SHORT)
                    })
                    .per_attempt(),
            )
            .service(reqwest_client());
        let response = client.oneshot(request(&server, "/pending")).await.unwrap();
        assert_eq!(response.text().await.unwrap(), "ready");
        seen.assert_names([
            "dispatched",
            "started",
            "timed_out",
            "attempt_ended",
            "retry_scheduled",
            "retrying",
            "attempt_ended",
            "succeeded",
        ]);
    })
    .await;
}

/// R68 A policy waits as long as the server's `Retry-After` says. Zero is the backoff, and more
/// than allowed is cut where the layer clamps.
#[tokio::test]
async fn a_policy_follows_retry_after() {
    #[derive(Clone)]
    struct RetryAfter;

    impl<E> Policy<Request, Response, E> for RetryAfter {
        type Seen = ();
        fn see(&self, _: &Request) {}
        fn decide(&self, (): &(), result: &Result<Response, E>, _: &Attempt<'_>) -> Decision {
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
                    .max_requested_delay(Duration::from_millis(3))
                    .clamp_requested_delay()
                    .policy(RetryAfter)
                    .clone_with(tower_keep_tests::servers::repeat),
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
        assert_eq!(delays, [2, 3].map(Duration::from_millis));
    })
    .await;
}
