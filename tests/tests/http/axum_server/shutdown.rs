//! Servers that stop, and take their jobs along.

use std::future::IntoFuture;

use axum::Router;
use http::StatusCode;
use tokio_util::sync::CancellationToken;
use tower_keep::{CancelLayer, CancelReason, LogLayer};
use tower_keep_test::Recorder;

use super::{answer, serve};
use crate::support::{Connection, all_ended, bounded, ended, get, held, listen, reason};

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
        let client = connection.spawn(get("/held"));
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
        let client = Connection::open(&server).await.spawn(get("/held"));
        entries.job().await;
        assert_eq!(keep.cancel.shutdown_now(), 1);
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
