//! Servers that stop, and take their jobs along.

use std::{future::IntoFuture, time::Duration};

use axum::Router;
use http::StatusCode;
use tokio_util::sync::CancellationToken;
use tower_keep::{CancelLayer, CancelReason, EventKind, LogLayer};
use tower_keep_test::Recorder;
use tower_keep_tests::servers::{
    Connection, Held, LONG, SHORT, Server, all_ended, bounded, ended, get, held, listen, reason,
};

use super::{answer, serve};

/// A stopping server: its graceful shutdown's token stops the jobs, so that it need not wait for
/// what never answers.
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

/// A stopping server that gives its jobs time: what runs comes to its end, and the server need not
/// wait for more.
#[tokio::test]
async fn a_graceful_shutdown_lets_the_jobs_end() {
    bounded(async {
        let (held, mut entries) = held();
        let stopping = CancellationToken::new();
        let (app, seen) = stops_on(&stopping, LONG, &held);
        let (listener, addr) = listen().await;
        let signal = stopping.clone().cancelled_owned();
        let server = axum::serve(listener, app).with_graceful_shutdown(signal);
        let over = tokio::spawn(server.into_future());

        let client = Connection::to(addr).await.spawn(get("/held"));
        let job = entries.job().await;
        stopping.cancel();
        held.gate.open();
        assert_eq!(client.await.unwrap().status, StatusCode::OK);
        over.await.unwrap().unwrap();
        assert_eq!(ended(&seen, job).await, EventKind::Succeeded);
    })
    .await;
}

/// Once the token fires, what comes is refused at once, while what runs goes on.
#[tokio::test]
async fn what_comes_after_the_signal_is_refused() {
    bounded(async {
        let (held, mut entries) = held();
        let stopping = CancellationToken::new();
        let (app, seen) = stops_on(&stopping, LONG, &held);
        let server = Server::axum(app).await;

        let client = Connection::open(&server).await.spawn(get("/held"));
        let job = entries.job().await;
        stopping.cancel();
        let refused = Connection::open(&server).await.get("/held").await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.text, "job cancelled: shutting down");
        assert!(seen.terminal(job).is_none(), "{seen}");
        held.gate.open();
        assert_eq!(client.await.unwrap().status, StatusCode::OK);
        assert!(entries.is_empty());
    })
    .await;
}

/// What does not end in time is cancelled, so that the server can stop.
#[tokio::test]
async fn what_runs_on_after_the_time_is_cancelled() {
    bounded(async {
        let (held, mut entries) = held();
        let stopping = CancellationToken::new();
        let (app, seen) = stops_on(&stopping, SHORT, &held);
        let (listener, addr) = listen().await;
        let signal = stopping.clone().cancelled_owned();
        let server = axum::serve(listener, app).with_graceful_shutdown(signal);
        let over = tokio::spawn(server.into_future());

        let client = Connection::to(addr).await.spawn(get("/held"));
        let job = entries.job().await;
        stopping.cancel();
        let answer = client.await.unwrap();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.text, "job cancelled: shutting down");
        over.await.unwrap().unwrap();
        assert_eq!(reason(ended(&seen, job).await), CancelReason::Shutdown);
    })
    .await;
}

/// An app with this work, whose jobs have this long once the token fires.
fn stops_on(token: &CancellationToken, within: Duration, held: &Held) -> (Router, Recorder) {
    let seen = Recorder::new();
    let cancel = CancelLayer::new()
        .shutdown_on(token.clone(), within)
        .respond_with(|why| answer(StatusCode::SERVICE_UNAVAILABLE, why));
    let layers = (LogLayer::to(seen.clone()), cancel);
    let app = Router::new().route("/held", held.route()).layer(layers);
    (app, seen)
}
