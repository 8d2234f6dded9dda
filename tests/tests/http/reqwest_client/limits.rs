//! Servers that are too slow.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use futures::{StreamExt, stream};
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    FailureCause, LimitScope, LogLayer, RetryLayer, TimeoutLayer, find, timeout::Elapsed,
};
use tower_keep_test::Recorder;
use tower_keep_tests::servers::{LONG, SHORT, Server, all_ended, bounded, cause, reqwest_client};

use super::{client, collect, request};

/// A server that never answers costs each attempt its limit and no more; `find` says which limit
/// and which attempt.
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
            .layer(RetryLayer::new().clone_with(tower_keep_tests::servers::repeat))
            .layer(TimeoutLayer::new(SHORT))
            .service(reqwest_client());
        let error = client.oneshot(request(&server, "/")).await.unwrap_err();
        let elapsed = find::<Elapsed>(&*error).unwrap();
        assert_eq!(elapsed, &Elapsed::new(LimitScope::Overall, SHORT, 1));
        seen.assert_names([
            "dispatched",
            "started",
            "timed_out",
            "attempt_ended",
            "failed",
        ]);
    })
    .await;
}

/// Collected within the stack, a body that stalls runs into the limit; streamed, it is the caller's
/// own affair.
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
            .layer(TimeoutLayer::new(LONG))
            .service(reqwest_client());
        let mut response = streamed.oneshot(request(&server, "/")).await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "first");
    })
    .await;
}
