//! Ids on the wire: a request's own id from its header, and a job's in a path, a query and an
//! answer.

use std::collections::HashMap;

use axum::{
    Json, Router,
    extract::{Path, Query, Request},
    routing::{delete, get},
};
use http::StatusCode;
use tower::ServiceBuilder;
use tower_keep::{
    CancelLayer, Job, JobId, JobLayer, ProgressLayer,
    progress::{JobState, JobView},
};
use tower_keep_tests::servers::{Connection, Server, bounded, get_with, held};

use super::answer;

fn request_id(request: &Request) -> Option<String> {
    let id = request.headers().get("x-request-id")?;
    Some(id.to_str().ok()?.to_owned())
}

/// R78 A job has the id of its request's header: in the handler, on the board, and for who cancels
/// it by that.
#[tokio::test]
async fn a_request_has_its_own_id() {
    bounded(async {
        let cancel =
            CancelLayer::new().respond_with(|why| answer(StatusCode::SERVICE_UNAVAILABLE, why));
        let (progress, handle) = (ProgressLayer::new(), cancel.handle());
        let board = progress.handle();
        let (held, mut entries) = held();
        let routes = Router::new()
            .route("/wait", held.route())
            .route(
                "/id",
                get(|| async {
                    Job::current()
                        .external_id()
                        .map_or(String::new(), |id| id.to_string())
                }),
            )
            .layer(
                ServiceBuilder::new()
                    .layer(JobLayer::new("request").identified_by(request_id))
                    .layer(progress)
                    .layer(cancel),
            );
        let by_id = {
            let (board, handle) = (board.clone(), handle);
            let find = |Path(id): Path<String>| async move { Json(board.find_external(&id)) };
            let stop = |Path(id): Path<String>| async move {
                handle
                    .cancel_external(&id, tower_keep::CancelReason::Requested)
                    .to_string()
            };
            Router::new().route("/requests/{id}", get(find).merge(delete(stop)))
        };
        let server = Server::axum(routes.merge(by_id)).await;
        let mut connection = Connection::open(&server).await;
        let named = connection
            .send(get_with("/id", "x-request-id", "7f3a"))
            .await;
        assert_eq!(&*named.text, "7f3a");
        // No text is no id, and a byte that is none is not read as one.
        assert_eq!(&*connection.get("/id").await.text, "");
        let found = connection.get("/requests/7f3a").await;
        let found: Vec<JobView> = serde_json::from_str(&found.text).unwrap();
        assert_eq!((found.len(), &found[0].state), (1, &JobState::Succeeded));

        let waits = Connection::open(&server).await;
        let waits = waits.spawn(get_with("/wait", "x-request-id", "slow"));
        entries.job().await;
        let found = connection.get("/requests/slow").await;
        let found: Vec<JobView> = serde_json::from_str(&found.text).unwrap();
        assert_eq!(found[0].state, JobState::Running);
        let stopped = connection
            .send(tower_keep_tests::servers::delete("/requests/slow"))
            .await;
        assert_eq!(&*stopped.text, "1");
        assert_eq!(waits.await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    })
    .await;
}

/// R78 `Path` and `Query` give a job's id, whole, and refuse what is none with 400.
#[tokio::test]
async fn a_job_id_is_extracted() {
    async fn one(Path(id): Path<JobId>) -> Json<JobId> {
        Json(id)
    }

    async fn pair(Path((of, id)): Path<(String, JobId)>) -> String {
        format!("{of} {id}")
    }

    async fn named(Path(ids): Path<HashMap<String, JobId>>) -> String {
        ids["job"].to_string()
    }

    async fn query(Query(ids): Query<HashMap<String, JobId>>) -> String {
        ids["job"].to_string()
    }

    bounded(async {
        let routes = Router::new()
            .route("/one/{id}", get(one))
            .route("/pair/{of}/{id}", get(pair))
            .route("/named/{job}", get(named))
            .route("/query", get(query));
        let server = Server::axum(routes).await;
        let mut connection = Connection::open(&server).await;
        for (path, expected) in [
            ("/one/7", "\"7\""),
            ("/one/18446744073709551615", "\"18446744073709551615\""),
            ("/pair/imports/7", "imports 7"),
            ("/named/7", "7"),
            ("/query?job=18446744073709551615", "18446744073709551615"),
        ] {
            let answer = connection.get(path).await;
            assert_eq!(
                (answer.status, &*answer.text),
                (StatusCode::OK, expected),
                "{path}"
            );
        }
        for path in [
            "/one/0",
            "/one/seven",
            "/one/18446744073709551616",
            "/one/-1",
            "/one/%207",
            "/pair/imports/x",
            "/named/x",
            "/query?job=",
            "/query?job=1.5",
        ] {
            let answer = connection.get(path).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        }
    })
    .await;
}
