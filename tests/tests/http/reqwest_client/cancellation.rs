//! Requests that are cancelled, or whose caller goes away.

use std::time::Duration;

use axum::Router;
use http::StatusCode;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::{
    CancelLayer, CancelReason, EventKind, LogLayer, RetryLayer, cancel::Cancelled, find,
};
use tower_keep_test::Recorder;
use tower_keep_tests::running_ids;
use tower_keep_tests::servers::{
    Count, LONG, Server, all_ended, bounded, held, reason, reqwest_client,
};

use super::{client, request};
use crate::layers::upstream_errors;

/// Cancelled by the handle, the caller gets the reason and the server sees its client leave.
#[tokio::test]
async fn a_request_is_cancelled_by_the_handle() {
    bounded(async {
        let (held, mut entries) = held();
        let server = Server::axum(Router::new().route("/held", held.route())).await;
        let (client, keep) = client(LONG);
        let call = tokio::spawn(client.oneshot(request(&server, "/held")));
        entries.recv().await;
        let job = keep.seen.job();
        assert_eq!(running_ids(&keep.cancel), [job]);
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
                    .classify(upstream_errors::<reqwest::Error>)
                    .clone_with(tower_keep_tests::servers::repeat),
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
        let (client, keep) = client(LONG);
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
        assert_eq!(keep.circuit.snapshot().failures_in_a_row, 0);
    })
    .await;
}
