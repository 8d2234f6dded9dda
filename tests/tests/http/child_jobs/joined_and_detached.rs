//! Calls of a server's job that does not end with its client: others joined it, or it is detached.

use axum::{Router, body::Bytes, extract::Request, response::IntoResponse};
use http::StatusCode;
use tower::ServiceBuilder;
use tower_keep::{CancelLayer, CancelReason, DedupLayer, EventKind, LogLayer, cancel::Cancelled};
use tower_keep_test::Recorder;
use tower_keep_tests::servers::{
    Connection, Server, all_ended, bounded, ended, get, get_with, parent, reason,
    tells_when_dropped,
};

use super::{Fetch, upstream};
use crate::layers::collect;

/// Where requests join one execution its calls are children of the first request's job, and go on
/// for the others when the first client leaves; when the last leaves they are cancelled.
#[tokio::test]
async fn the_children_of_a_joined_execution() {
    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let (fetch, fetched, _) = Fetch::layered(&upstream);
        let seen = Recorder::new();
        let app = Router::new().route("/", fetch.route()).layer(
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

/// All callers of a joined execution leave: the call is given up.
#[tokio::test]
async fn a_joined_execution_that_all_leave() {
    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let (fetch, fetched, _) = Fetch::layered(&upstream);
        let seen = Recorder::new();
        let app = Router::new().route("/", fetch.route()).layer(
            ServiceBuilder::new()
                .layer(LogLayer::to(seen.clone()))
                .layer(
                    DedupLayer::new(|request: &Request| Some(request.uri().path().to_owned()))
                        .join()
                        .respond_with(|_| (StatusCode::CONFLICT, Bytes::new())),
                )
                .and_then(collect),
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
        let (fetch, fetched, _) = Fetch::layered(&upstream);
        let seen = Recorder::new();
        let app = Router::new().route("/", fetch.route()).layer((
            LogLayer::to(seen.clone()),
            CancelLayer::new()
                .respond_with(|_| StatusCode::SERVICE_UNAVAILABLE.into_response())
                .detached(),
        ));
        let (app, gone) = tells_when_dropped(app);
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
