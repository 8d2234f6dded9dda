//! Clients that leave, and the jobs they leave behind.

use axum::{Router, body::Bytes, routing::any};
use http::StatusCode;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_keep::{CancelLayer, CancelReason, DedupLayer, EventKind, Job, JobId, LogLayer};
use tower_keep_test::Recorder;
use tower_keep_tests::running_ids;
use tower_keep_tests::servers::{
    Connection, Multiplexed, Server, all_ended, bounded, ended, get, get_with, held, parent,
    reason, tells_when_dropped,
};

use super::{answer, serve};
use crate::layers::{collect, idempotency_key};

/// A client that disconnects ends the server's job as `Cancelled { CallerGone }`, once; its token
/// fires, so that work the handler spawned in the job's scope stops; and nothing of it stays behind
/// in any layer.
#[tokio::test]
async fn a_disconnect_ends_the_job_once_and_fires_its_token() {
    bounded(async {
        let (held_work, mut entries) = held();
        let scoped = CancellationToken::new();
        let tokened = CancellationToken::new();
        let (work, scope_done, token_done) = (held_work.clone(), scoped.clone(), tokened.clone());
        let handler = move || async move {
            let job = Job::current();
            tokio::spawn(job.scope(async move {
                let _done = scope_done.drop_guard();
                Job::current().cancelled().await;
                assert!(Job::current().checkpoint().is_err());
            }));
            let token = job.token();
            tokio::spawn(async move {
                let _done = token_done.drop_guard();
                token.cancelled().await;
            });
            work.run().await
        };
        let (server, keep) = serve(Router::new().route("/held", any(handler))).await;
        let client =
            Connection::open(&server)
                .await
                .spawn(get_with("/held", "idempotency-key", "k"));
        let job = entries.job().await;
        assert!(!scoped.is_cancelled() && !tokened.is_cancelled());

        client.abort();
        let end = ended(&keep.seen, job).await;
        assert_eq!(
            end,
            EventKind::Cancelled {
                reason: CancelReason::CallerGone,
                dropped: true
            }
        );
        held_work.left.cancelled().await;
        scoped.cancelled().await;
        tokened.cancelled().await;
        assert!(keep.cancel.jobs().is_empty());
        assert!(keep.progress.jobs().is_empty());

        // The same key is free again, and the circuit counted nothing.
        held_work.gate.open();
        let mut other = Connection::open(&server).await;
        let answer = other.send(get_with("/held", "idempotency-key", "k")).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(keep.circuit.snapshot().failures_in_a_row, 0);
        assert_eq!(all_ended(&keep.seen, 2).await[1], EventKind::Succeeded);
        assert_eq!(keep.seen.count("cancelled"), 1);
    })
    .await;
}

/// A detached job runs on when its client is gone, and ends as what it came to.
#[tokio::test]
async fn a_detached_job_outlives_its_client() {
    bounded(async {
        let (held, mut entries) = held();
        let seen = Recorder::new();
        let cancel = CancelLayer::new()
            .respond_with(|why| answer(StatusCode::SERVICE_UNAVAILABLE, why))
            .detached();
        let handle = cancel.handle();
        let app = Router::new()
            .route("/held", held.route())
            .layer((LogLayer::to(seen.clone()), cancel));
        let (app, gone) = tells_when_dropped(app);
        let server = Server::axum(app).await;
        let client = Connection::open(&server).await.spawn(get("/held"));
        let job = entries.job().await;

        client.abort();
        gone.cancelled().await;
        assert_eq!(running_ids(&handle), [job]);
        held.gate.open();
        assert_eq!(ended(&seen, job).await, EventKind::Succeeded);
        assert!(handle.jobs().is_empty());
        seen.assert_one_terminal_each();
    })
    .await;
}

/// Requests that join one execution need a response that can be cloned: collected to bytes inside
/// the layer. The first client may leave; the work goes on for the other, in the first one's job,
/// whose token fires only when nobody waits.
#[tokio::test]
async fn joined_requests_share_a_collected_response() {
    bounded(async {
        let (held, mut entries) = held();
        let seen = Recorder::new();
        let app = Router::new().route("/held", held.route()).layer(
            ServiceBuilder::new()
                .layer(LogLayer::to(seen.clone()))
                .layer(
                    DedupLayer::new(idempotency_key)
                        .join()
                        .respond_with(|why| (StatusCode::CONFLICT, Bytes::from(why.to_string()))),
                )
                .and_then(collect),
        );
        let server = Server::axum(app).await;
        let request = || get_with("/held", "idempotency-key", "k");
        let first = Connection::open(&server).await.spawn(request());
        let job = entries.job().await;
        let second = Connection::open(&server).await.spawn(request());
        seen.until(|seen| seen.count("duplicate") == 1).await;
        let third = Connection::open(&server).await.spawn(request());
        seen.until(|seen| seen.count("duplicate") == 2).await;

        first.abort();
        assert_eq!(reason(ended(&seen, job).await), CancelReason::CallerGone);
        assert!(!held.left.is_cancelled());
        held.gate.open();
        for client in [second, third] {
            assert_eq!(client.await.unwrap().text, job.to_string());
        }
        assert!(entries.is_empty());
        let endings = all_ended(&seen, 3).await;
        assert_eq!(endings[1..], [const { EventKind::Succeeded }; 2]);
    })
    .await;
}

/// Two streams of one HTTP/2 connection are two jobs: one is reset and ends as `CallerGone`, the
/// other goes on.
#[tokio::test]
async fn two_http2_streams_are_two_jobs() {
    bounded(async {
        let (held, mut entries) = held();
        let (server, keep) = serve(Router::new().route("/{n}", held.route())).await;
        let connection = Multiplexed::open(&server).await;
        let spawn = |path: &'static str| {
            let mut connection = connection.clone();
            tokio::spawn(async move { connection.get(path).await })
        };
        let first = spawn("/1");
        let first_job = entries.job().await;
        let second = spawn("/2");
        let second_job = entries.job().await;
        assert_ne!(first_job, second_job);
        assert_eq!(running_ids(&keep.cancel), [first_job, second_job]);

        first.abort();
        let end = ended(&keep.seen, first_job).await;
        assert_eq!(reason(end), CancelReason::CallerGone);
        assert_eq!(running_ids(&keep.cancel), [second_job]);

        held.gate.open();
        assert_eq!(second.await.unwrap().text, second_job.to_string());
        let endings = all_ended(&keep.seen, 2).await;
        assert_eq!(endings[1], EventKind::Succeeded);
        for job in [first_job, second_job] {
            assert_eq!(parent(&keep.seen, job), None);
        }
    })
    .await;
}

/// Many clients at once, some of which leave: each request is one job with one ending, and nothing
/// is left over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_leave_nothing_behind() {
    bounded(async {
        let (held, mut entries) = held();
        let (server, keep) = serve(Router::new().route("/held", held.route())).await;
        let mut clients = Vec::new();
        for n in 0..16 {
            let request = get_with("/held", "idempotency-key", &n.to_string());
            clients.push(Connection::open(&server).await.spawn(request));
        }
        let mut jobs: Vec<JobId> = Vec::new();
        for _ in 0..16 {
            jobs.push(entries.job().await);
        }
        jobs.sort_unstable();
        assert_eq!(running_ids(&keep.cancel), jobs);
        for client in clients.iter().step_by(2) {
            client.abort();
        }
        keep.seen.until(|seen| seen.count("cancelled") == 8).await;
        held.gate.open();
        for client in clients.into_iter().skip(1).step_by(2) {
            assert_eq!(client.await.unwrap().status, StatusCode::OK);
        }
        all_ended(&keep.seen, 16).await;
        assert_eq!(keep.seen.count("succeeded"), 8);
        keep.assert_nothing_is_left().await;
    })
    .await;
}
