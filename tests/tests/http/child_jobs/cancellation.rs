//! The parent's end is the end of its children, and not the other way round.

use axum::{Router, response::IntoResponse, routing::any};
use http::StatusCode;
use tokio_util::sync::CancellationToken;
use tower_keep::{
    CancelLayer, CancelReason, EventKind, FailureCause, Job, LogLayer, TimeoutLayer,
    cancel::Cancelled, find,
};
use tower_keep_test::Recorder;
use tower_keep_tests::running_ids;
use tower_keep_tests::servers::{
    Connection, LONG, SHORT, Server, all_ended, bounded, cause, ended, get, parent, reason,
};

use super::{Fetch, reply, serve, upstream};

/// Cancelling the server's job cancels the calls its handler is making, and the server they went to
/// sees them leave.
#[tokio::test]
async fn cancelling_the_parent_cancels_its_children() {
    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let (fetch, fetched, handle) = Fetch::layered(&upstream);
        let (server, keep) = serve(fetch, |fetch| async move {
            let (one, two) = tokio::join!(fetch.text(), fetch.text());
            reply(one.and(two))
        })
        .await;
        let client = Connection::open(&server).await.spawn(get("/"));
        entries.recv().await;
        entries.recv().await;
        let job = keep.seen.job();
        assert_eq!(running_ids(&handle), fetched.jobs());

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
        assert!(handle.jobs().is_empty());
    })
    .await;
}

/// A client's stack without a Cancel layer: its call is dropped with the handler.
#[tokio::test]
async fn a_child_without_a_cancel_layer_is_cancelled_too() {
    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let (fetch, fetched) = Fetch::plain(&upstream);
        let (server, keep) = serve(fetch, |fetch| async move { fetch.reply().await }).await;
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
        let (fetch, fetched, _) = Fetch::layered(&upstream);
        let (server, keep) = serve(fetch, |fetch| async move { fetch.reply().await }).await;
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
        let (fetch, fetched, handle) = Fetch::layered(&upstream);
        let (server, keep) = serve(fetch, |fetch| async move {
            let error = fetch.text().await.unwrap_err();
            assert!(!Job::current().is_cancelled());
            find::<Cancelled>(&*error)
                .unwrap()
                .to_string()
                .into_response()
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

/// The server's overall limit ends its job as timed out, and its children as cancelled.
#[tokio::test]
async fn the_parents_limit_cancels_its_children() {
    bounded(async {
        let silent = Server::silent().await;
        let (fetch, fetched, _) = Fetch::layered(&silent);
        let seen = Recorder::new();
        let handler = move || async move {
            assert!(Job::current().remaining().unwrap() <= SHORT);
            fetch.reply().await
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

/// Under a grace period the child is cancelled first, and the handler cleans up: the parent was not
/// dropped.
#[tokio::test]
async fn a_graceful_cancellation_lets_the_handler_clean_up() {
    bounded(async {
        let (upstream, _held, mut entries) = upstream().await;
        let (fetch, fetched, _) = Fetch::layered(&upstream);
        let seen = Recorder::new();
        let cleaned = CancellationToken::new();
        let done = cleaned.clone();
        let handler = move || async move {
            let result = fetch.text().await;
            assert!(find::<Cancelled>(&**result.as_ref().unwrap_err()).is_some());
            tokio::task::yield_now().await;
            done.cancel();
            reply(result)
        };
        let cancel = CancelLayer::new()
            .grace(LONG)
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
