//! The same request twice at once: rejected, or joined.

use axum::{Router, routing::get};
use http::StatusCode;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    CancelLayer, CancelReason, CircuitBreakerLayer, DedupLayer, EventKind, FailureCause, LogLayer,
    RetryLayer, TimeoutLayer, dedup::Duplicate, find,
};
use tower_keep_test::Recorder;
use tower_keep_tests::servers::{
    LONG, SHORT, Server, all_ended, bounded, cause, ended, held, reason, reqwest_client,
};

use super::{client, collect, dedup_key, request};

/// The same request in flight is a duplicate, and never reaches the server; another request is
/// none.
#[tokio::test]
async fn a_duplicate_is_rejected() {
    bounded(async {
        let (held, mut entries) = held();
        let app = Router::new()
            .route("/held", held.route())
            .route("/other", get(|| async { "other" }));
        let server = Server::axum(app).await;
        let (client, keep) = client(LONG);
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
            .layer(TimeoutLayer::new(LONG))
            .layer(RetryLayer::new().clone_with(tower_keep_tests::servers::repeat))
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
