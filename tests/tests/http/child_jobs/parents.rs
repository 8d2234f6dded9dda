//! Whose child a call is.

use axum::{Router, body::Body, extract::Request, response::IntoResponse, routing::any};
use http::{HeaderMap, HeaderValue, StatusCode};
use tower_keep::{CancelReason, EventKind, Job, LogLayer, RetryLayer, TimeoutLayer};
use tower_keep_test::Recorder;
use tower_keep_tests::servers::{
    Connection, Count, SHORT, SOON, Server, all_ended, bounded, ended, get, parent, reason,
};

use super::{Fetch, ready_upstream, serve, upstream};

/// Each call of the handler's client is exactly one child, however many layers and attempts it
/// takes.
#[tokio::test]
async fn each_client_call_is_one_child() {
    bounded(async {
        let requests = Count::default();
        let flaky = Server::axum(Router::new().route("/", requests.fails_first(2))).await;
        let (fetch, fetched, _) = Fetch::layered(&flaky);
        let (server, keep) = serve(fetch, |fetch| async move {
            let first = fetch.text().await.unwrap();
            let second = fetch.text().await.unwrap();
            format!("{first} {second}").into_response()
        })
        .await;
        let answer = Connection::open(&server).await.get("/").await;
        assert_eq!(answer.text, "3 4");

        let job = keep.seen.job();
        assert_eq!(ended(&keep.seen, job).await, EventKind::Succeeded);
        // The parent's observers see the parent only.
        keep.seen
            .assert_names(["dispatched", "started", "succeeded"]);
        let endings = all_ended(&fetched, 2).await;
        assert_eq!(endings, [const { EventKind::Succeeded }; 2]);
        assert_eq!(fetched.count("retrying"), 2);
        for child in fetched.jobs() {
            assert_ne!(child, job);
            assert_eq!(parent(&fetched, child), Some(job));
        }
    })
    .await;
}

/// Calls that run at once in one handler, joined or selected, are children of the same job;
/// requests of other clients have children of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_calls_are_children_of_their_own_request() {
    bounded(async {
        let (upstream, held, mut entries) = upstream().await;
        let (fetch, fetched, _) = Fetch::layered(&upstream);
        let (server, keep) = serve(fetch, |fetch| async move {
            let (one, two) = tokio::join!(fetch.text(), fetch.text());
            assert!(one.is_ok() && two.is_ok());
            Job::current().id().unwrap().to_string().into_response()
        })
        .await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(Connection::open(&server).await.spawn(get("/")));
        }
        for _ in 0..8 {
            entries.recv().await;
        }
        held.gate.open();
        let mut jobs = Vec::new();
        for client in clients {
            jobs.push(client.await.unwrap().text);
        }
        all_ended(&keep.seen, 4).await;
        all_ended(&fetched, 8).await;
        for job in keep.seen.jobs() {
            assert!(jobs.contains(&job.to_string()));
            let children = fetched
                .jobs()
                .into_iter()
                .filter(|child| parent(&fetched, *child) == Some(job))
                .count();
            assert_eq!(children, 2);
        }
    })
    .await;
}

/// The server that is called, though in this very process, begins a job of its own: a job goes no
/// further than its tasks.
#[tokio::test]
async fn the_called_server_has_a_job_of_its_own() {
    bounded(async {
        let (upstream, upstream_keep) = serve((), |()| async { "well".into_response() }).await;
        let (fetch, fetched, _) = Fetch::layered(&upstream);
        let (server, keep) = serve(fetch, |fetch| async move { fetch.reply().await }).await;
        assert_eq!(Connection::open(&server).await.get("/").await.text, "well");
        all_ended(&keep.seen, 1).await;
        all_ended(&upstream_keep.seen, 1).await;
        assert_eq!(parent(&upstream_keep.seen, upstream_keep.seen.job()), None);
        assert_eq!(parent(&fetched, fetched.job()), Some(keep.seen.job()));
    })
    .await;
}

/// A retry in front of the handler makes its calls again: a child for each attempt, of one and the
/// same parent. The attempt that ran into its limit takes its child with it.
#[tokio::test]
async fn each_attempt_of_the_server_has_its_own_child() {
    const AGAIN: &str = "x-again";

    fn repeat(request: &Request) -> Option<Request> {
        let mut again = Request::new(Body::empty());
        again.headers_mut().insert(AGAIN, HeaderValue::from(1));
        *again.uri_mut() = request.uri().clone();
        Some(again)
    }

    bounded(async {
        let silent = Server::silent().await;
        let upstream = ready_upstream().await;
        let (first, fetched) = Fetch::plain(&silent);
        let second = first.to(&upstream);
        let seen = Recorder::new();
        let handler = move |headers: HeaderMap| async move {
            let again = headers.contains_key(AGAIN);
            if again { &second } else { &first }.reply().await
        };
        let limit = |request: &Request| (!request.headers().contains_key(AGAIN)).then_some(SHORT);
        let app = Router::new().route("/", any(handler)).layer((
            LogLayer::to(seen.clone()),
            RetryLayer::new().base_delay(SOON).clone_with(repeat),
            TimeoutLayer::none()
                .limit_by(limit)
                .per_attempt()
                .respond_with(|_| StatusCode::GATEWAY_TIMEOUT.into_response()),
        ));
        let server = Server::axum(app).await;
        let answer = Connection::open(&server).await.get("/").await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "0"));
        let job = seen.job();
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
        let endings = all_ended(&fetched, 2).await;
        assert_eq!(reason(endings[0].clone()), CancelReason::CallerGone);
        assert_eq!(endings[1], EventKind::Succeeded);
        for child in fetched.jobs() {
            assert_eq!(parent(&fetched, child), Some(job));
        }
    })
    .await;
}
