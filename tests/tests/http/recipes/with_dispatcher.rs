//! The recipe with a dispatcher: jobs run on without their clients.

use http::StatusCode;
use tower_keep::{CancelReason, JobId, progress::JobState};
use tower_keep_tests::servers::{Connection, SOON, Server, bounded, delete, post};

use super::code::dispatch_recipe;

/// The dispatching recipe: a client that leaves stops nothing, and others see and cancel the job by
/// its id.
#[tokio::test]
async fn dispatching() {
    bounded(async {
        let (app, jobs) = dispatch_recipe::app();
        let server = Server::axum(app).await;
        let mut connection = Connection::open(&server).await;
        let answer = connection.send(post("/reports")).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        let id = answer.text;
        drop(connection);

        let mut connection = Connection::open(&server).await;
        let path = format!("/reports/{id}");
        let status = loop {
            let answer = connection.get(&path).await;
            assert_eq!(answer.status, StatusCode::OK);
            if !answer.text.starts_with("waiting") && !answer.text.ends_with(" 0 %") {
                break answer.text;
            }
            tokio::time::sleep(SOON).await;
        };
        assert_eq!(status, "running, 50 %");
        let mut watch = jobs.progress_handle().watch(id_of(&id)).expect("it runs");

        let answer = connection.send(delete(&path)).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        let state = JobState::Cancelled(CancelReason::Requested);
        assert_eq!(watch.ended().await.state, state);
        let answer = connection.get(&path).await;
        assert_eq!(answer.text, "cancelled: requested, 50 %");
        for id in [&*id, "0", "999999999"] {
            let answer = connection.send(delete(&format!("/reports/{id}"))).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
        }
        let answer = connection.get("/reports/999999999").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);

        jobs.cancel_handle().shutdown_now();
        let answer = connection.send(post("/reports")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    })
    .await;
}

fn id_of(text: &str) -> JobId {
    JobId::from_u64(text.parse().unwrap()).unwrap()
}
