//! A request is one job, however it goes.

use std::convert::Infallible;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Path,
    routing::{any, get},
};
use futures::{StreamExt, stream};
use http::StatusCode;
use tower_keep::{EventKind, FailureCause, Job, circuit_breaker::State};
use tower_keep_tests::servers::{
    Connection, Count, SHORT, all_ended, bounded, cause, get_with, held, parent, post,
};

use super::{hello, serve};

/// A request that meets every layer is answered, and is one job.
#[tokio::test]
async fn one_job_for_a_request_through_every_layer() {
    bounded(async {
        let routes = Router::new().route(
            "/",
            get(|| async {
                Job::current().progress(0.5);
                "hello"
            }),
        );
        let (server, keep) = serve(routes).await;
        let answer = Connection::open(&server).await.get("/").await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "hello"));
        keep.seen.assert_names([
            "dispatched",
            "started",
            "progress",
            "attempt_ended",
            "succeeded",
        ]);
        keep.seen.assert_one_terminal_each();
    })
    .await;
}

/// Requests on one kept-alive connection are jobs of their own: nothing of the first stays ambient
/// for the second.
#[tokio::test]
async fn requests_of_one_connection_are_unrelated_jobs() {
    bounded(async {
        let (server, keep) = serve(Router::new().route("/", get(hello))).await;
        let mut connection = Connection::open(&server).await;
        connection.get("/").await;
        connection.get("/").await;
        assert_eq!(
            all_ended(&keep.seen, 2).await,
            [const { EventKind::Succeeded }; 2]
        );
        for job in keep.seen.jobs() {
            assert_eq!(parent(&keep.seen, job), None);
        }
    })
    .await;
}

/// The fallback's 404 goes through the layers too, and is no failure of the server.
#[tokio::test]
async fn an_unknown_path_is_a_job_as_well() {
    bounded(async {
        let (server, keep) = serve(Router::new().route("/", get(hello))).await;
        for _ in 0..3 {
            let answer = Connection::open(&server).await.get("/unknown").await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
        }
        assert_eq!(keep.circuit.state(), State::Closed);
        assert_eq!(
            all_ended(&keep.seen, 3).await,
            [const { EventKind::Succeeded }; 3]
        );
    })
    .await;
}

/// A handler that fails twice is called three times within one job; the rebuilt request still has
/// its path parameters and headers. What cannot be rebuilt is tried once.
#[tokio::test]
async fn a_rebuilt_get_is_retried_and_a_post_is_not() {
    bounded(async {
        let gets = Count::default();
        let posts = Count::default();
        let tries = gets.clone();
        let routes = Router::new()
            .route(
                "/items/{id}",
                get(
                    move |Path(id): Path<u32>, headers: http::HeaderMap| async move {
                        let status = match tries.next() {
                            1 | 2 => StatusCode::SERVICE_UNAVAILABLE,
                            _ => StatusCode::OK,
                        };
                        let name = headers["x-name"].to_str().unwrap().to_owned();
                        (status, format!("{id} {name} {}", Job::current().attempt()))
                    },
                ),
            )
            .route("/posts", posts.fails_first(usize::MAX));
        let (server, keep) = serve(routes).await;
        let mut connection = Connection::open(&server).await;

        let answer = connection
            .send(get_with("/items/7", "x-name", "keep"))
            .await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "7 keep 3"));
        keep.seen.assert_names([
            "dispatched",
            "started",
            "attempt_ended",
            "retry_scheduled",
            "retrying",
            "attempt_ended",
            "retry_scheduled",
            "retrying",
            "attempt_ended",
            "succeeded",
        ]);

        let answer = connection.send(post("/posts")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((gets.get(), posts.get()), (3, 1));
        all_ended(&keep.seen, 2).await;
    })
    .await;
}

/// A handler that panics closes its connection, as with axum alone; the job ends as panicked, and
/// the key is free.
#[tokio::test]
async fn a_panic_ends_the_job_and_frees_its_key() {
    bounded(async {
        let calls = Count::default();
        let counted = calls.clone();
        let handler = move || async move {
            tokio::task::yield_now().await;
            assert!(counted.next() > 1, "as intended by the test");
            "well"
        };
        let (server, keep) = serve(Router::new().route("/", any(handler))).await;
        let request = || get_with("/", "idempotency-key", "k");
        let error = Connection::open(&server).await.try_send(request()).await;
        assert!(error.unwrap_err().is_incomplete_message());
        let answer = Connection::open(&server).await.send(request()).await;
        assert_eq!(answer.text, "well");

        let endings = all_ended(&keep.seen, 2).await;
        assert_eq!(cause(endings[0].clone()), FailureCause::Panicked);
        assert_eq!(endings[1], EventKind::Succeeded);
        assert!(keep.cancel.jobs().is_empty());
    })
    .await;
}

/// The job ends with the response's head; a body that streams on is covered by no layer, and not
/// cut by its limit.
#[tokio::test]
async fn a_streaming_body_is_not_covered() {
    bounded(async {
        let (held, mut entries) = held();
        let work = held.clone();
        let handler = move || async move {
            let first = stream::once(async { Ok::<_, Infallible>(Bytes::from("first ")) });
            let second = stream::once(async move { Ok(Bytes::from(work.run().await)) });
            Body::from_stream(first.chain(second))
        };
        let (server, keep) = serve(Router::new().route("/", any(handler))).await;
        let client = Connection::open(&server)
            .await
            .spawn(get_with("/", "x-patience", "50"));
        // It streams outside any job.
        assert_eq!(entries.recv().await, None);
        assert_eq!(all_ended(&keep.seen, 1).await, [EventKind::Succeeded]);
        tokio::time::sleep(SHORT * 2).await;
        held.gate.open();
        let answer = client.await.unwrap();
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "first 0"));
    })
    .await;
}
