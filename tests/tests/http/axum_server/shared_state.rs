//! What the layers share between routes, connections and versions of HTTP.

use axum::{Router, extract::Path, routing};
use http::StatusCode;
use tower_keep::{
    CancelReason, EventKind, FailureCause, Job, circuit_breaker::State, progress::JobState,
};
use tower_keep_tests::running_ids;
use tower_keep_tests::servers::{
    Connection, Count, Multiplexed, all_ended, bounded, cause, ended, get, get_with, held, post,
    reason,
};

use super::serve;

/// The circuit is one for all routes and connections, although axum makes a service for each:
/// opened through one, it turns away on the other.
#[tokio::test]
async fn a_circuit_spans_routes_and_connections() {
    bounded(async {
        let (failed, good) = (Count::default(), Count::default());
        let routes = Router::new()
            // POST, which `repeat_get` does not repeat: a job is one call.
            .route("/bad", failed.fails_first(usize::MAX))
            .route("/good", good.fails_first(0));
        let (server, keep) = serve(routes).await;
        let mut first = Connection::open(&server).await;
        let mut second = Connection::open(&server).await;

        assert_eq!(second.get("/good").await.status, StatusCode::OK);
        for _ in 0..2 {
            let answer = first.send(post("/bad")).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(
                answer.text,
                failed.get().to_string(),
                "the handler's own answer"
            );
        }
        assert_eq!(keep.circuit.state(), State::Open);

        let answer = second.get("/good").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            answer.text.contains(r#"circuit "app" is open"#),
            "{}",
            answer.text
        );
        assert_eq!((failed.get(), good.get()), (2, 1));

        keep.circuit.reset();
        assert_eq!(second.get("/good").await.status, StatusCode::OK);
        let endings = all_ended(&keep.seen, 5).await;
        assert_eq!(cause(endings[1].clone()), FailureCause::Error);
        assert_eq!(cause(endings[3].clone()), FailureCause::CircuitOpen);
        assert_eq!(keep.seen.count("circuit_opened"), 1);
    })
    .await;
}

/// A key that is in flight on one connection is a duplicate on another and on another route: 409,
/// with the job that has it. Once that is over, the key is free.
#[tokio::test]
async fn a_duplicate_on_another_connection_is_a_conflict() {
    bounded(async {
        let (held, mut entries) = held();
        let routes = Router::new()
            .route("/held", held.route())
            .route("/other", held.route());
        let (server, keep) = serve(routes).await;
        let first =
            Connection::open(&server)
                .await
                .spawn(get_with("/held", "idempotency-key", "k"));
        let job = entries.job().await;

        let mut second = Connection::open(&server).await;
        let answer = second
            .send(get_with("/other", "idempotency-key", "k"))
            .await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
        assert_eq!(
            answer.text,
            format!("an identical request is in flight as job {job}")
        );
        assert!(entries.is_empty());

        held.gate.open();
        assert_eq!(first.await.unwrap().status, StatusCode::OK);
        let answer = second
            .send(get_with("/other", "idempotency-key", "k"))
            .await;
        assert_eq!(answer.status, StatusCode::OK);

        let endings = all_ended(&keep.seen, 3).await;
        assert_eq!(endings[0], EventKind::Succeeded);
        assert_eq!(cause(endings[1].clone()), FailureCause::Duplicate);
        assert_eq!(endings[2], EventKind::Succeeded);
    })
    .await;
}

/// The cancel handle lists the jobs of all connections and cancels the job with the given id: that
/// client gets 503, the other its answer.
#[tokio::test]
async fn the_cancel_handle_spans_connections() {
    bounded(async {
        let (held, mut entries) = held();
        let (server, keep) = serve(Router::new().route("/{n}", held.route())).await;
        let first = Connection::open(&server).await.spawn(get("/1"));
        let first_job = entries.job().await;
        let second = Connection::open(&server).await.spawn(get("/2"));
        let second_job = entries.job().await;

        assert_eq!(running_ids(&keep.cancel), [first_job, second_job]);
        assert!(keep.cancel.cancel(first_job));
        let answer = first.await.unwrap();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.text, "job cancelled: requested");
        assert_eq!(running_ids(&keep.cancel), [second_job]);
        assert!(!keep.cancel.cancel(first_job));

        held.gate.open();
        assert_eq!(second.await.unwrap().text, second_job.to_string());
        assert_eq!(
            reason(ended(&keep.seen, first_job).await),
            CancelReason::Requested
        );
        assert_eq!(ended(&keep.seen, second_job).await, EventKind::Succeeded);
        assert!(keep.cancel.jobs().is_empty());
        keep.seen.assert_one_terminal_each();
    })
    .await;
}

/// The progress handle shows the jobs of all connections, each with its own state, and its endings.
#[tokio::test]
async fn the_progress_handle_spans_connections() {
    bounded(async {
        let (held, mut entries) = held();
        let work = held.clone();
        let routes = Router::new().route(
            "/{percent}",
            routing::get(move |Path(percent): Path<u32>| async move {
                Job::current().progress(f64::from(percent) / 100.0);
                work.run().await
            }),
        );
        let (server, keep) = serve(routes).await;
        let first = Connection::open(&server).await.spawn(get("/25"));
        let first_job = entries.job().await;
        let second = Connection::open(&server).await.spawn(get("/75"));
        let second_job = entries.job().await;

        let jobs = keep.progress.jobs();
        let shown: Vec<_> = jobs
            .iter()
            .map(|view| (view.job, view.state.clone()))
            .collect();
        assert_eq!(
            shown,
            [
                (first_job, JobState::Running),
                (second_job, JobState::Running)
            ]
        );
        let fractions: Vec<_> = jobs
            .iter()
            .map(|view| view.report.fraction().unwrap())
            .collect();
        assert_eq!(fractions, [0.25, 0.75]);

        let mut watch = keep.progress.watch(first_job).unwrap();
        held.gate.open();
        assert_eq!(watch.ended().await.state, JobState::Succeeded);
        first.await.unwrap();
        second.await.unwrap();
        all_ended(&keep.seen, 2).await;
        assert!(keep.progress.jobs().is_empty());
    })
    .await;
}

/// The HTTP/2 streams of one connection share the layers' state with each other and with HTTP/1.
#[tokio::test]
async fn http2_and_http1_share_the_state() {
    bounded(async {
        let (held, mut entries) = held();
        let (server, keep) = serve(Router::new().route("/held", held.route())).await;
        let mut connection = Multiplexed::open(&server).await;
        let first = Connection::open(&server).await.spawn(get("/held"));
        let job = entries.job().await;
        let mut other = connection.clone();
        let second = tokio::spawn(async move { other.get("/held").await });
        let second_job = entries.job().await;
        assert_eq!(
            keep.cancel.cancel_all(CancelReason::Other("test".into())),
            2
        );
        for (client, job) in [(first, job), (second, second_job)] {
            assert_eq!(client.await.unwrap().text, "job cancelled: test");
            let end = ended(&keep.seen, job).await;
            assert_eq!(reason(end), CancelReason::Other("test".into()));
        }
        keep.circuit.force_open();
        let answer = connection.get("/held").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    })
    .await;
}
