//! Foreign layers in between, layers around layers and routers in routers.

use axum::{
    Router, error_handling::HandleErrorLayer, extract::Request, response::Response, routing,
};
use http::StatusCode;
use tower::{
    ServiceBuilder,
    limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer},
    load_shed::{LoadShedLayer, error::Overloaded},
    util::BoxCloneSyncService,
};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, CircuitBreakerLayer, EventKind, FailureCause, LogLayer,
    ProgressLayer, RetryLayer, TimeoutLayer,
};
use tower_keep_test::Recorder;
use tower_keep_tests::running_ids;
use tower_keep_tests::servers::{
    Connection, LONG, Server, all_ended, bounded, cause, get, held, parent, reason,
};

use super::{answer, hello, repeat_get};

/// Foreign layers in between, that hand the call down at once, do not split the job: one
/// dispatched, one terminal. A request that is shed is a job that failed.
#[tokio::test]
async fn foreign_layers_in_between_leave_one_job() {
    bounded(async {
        let (held, mut entries) = held();
        let seen = Recorder::new();
        let inner_seen = Recorder::new();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let app = Router::new().route("/held", held.route()).layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(|error: BoxError| async move {
                    let status = if error.is::<Overloaded>() {
                        StatusCode::SERVICE_UNAVAILABLE
                    } else {
                        StatusCode::INTERNAL_SERVER_ERROR
                    };
                    answer(status, error)
                }))
                .layer(LogLayer::to(seen.clone()))
                .layer(LoadShedLayer::new())
                .layer(GlobalConcurrencyLimitLayer::new(1))
                .map_request(|request: Request| request)
                .layer(cancel)
                .layer(ConcurrencyLimitLayer::new(8))
                .map_response(|response: Response| response)
                .layer(CircuitBreakerLayer::new())
                .layer(BoxCloneSyncService::layer())
                .layer(TimeoutLayer::new(LONG))
                .layer(tower::timeout::TimeoutLayer::new(LONG))
                .layer(RetryLayer::new().clone_with(repeat_get))
                .layer(ProgressLayer::new())
                // A second Log, innermost, sees the same job.
                .layer(LogLayer::to(inner_seen.clone())),
        );
        let server = Server::axum(app).await;
        let first = Connection::open(&server).await.spawn(get("/held"));
        let job = entries.job().await;
        assert_eq!(running_ids(&handle), [job]);

        let answer = Connection::open(&server).await.get("/held").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(entries.is_empty());

        held.gate.open();
        assert_eq!(first.await.unwrap().text, job.to_string());
        let endings = all_ended(&seen, 2).await;
        assert_eq!(endings[0], EventKind::Succeeded);
        assert_eq!(cause(endings[1].clone()), FailureCause::Error);
        assert_eq!(seen.count("dispatched"), 2);
        assert_eq!(inner_seen.job(), job);
        inner_seen.assert_one_terminal_each();
    })
    .await;
}

/// Each further `Router::layer` hides the job from the layers below it, which begin a child: as
/// documented.
#[tokio::test]
async fn a_second_router_layer_begins_a_child() {
    bounded(async {
        let (outer, inner) = (Recorder::new(), Recorder::new());
        let app = Router::new()
            .route("/", routing::get(hello))
            .layer(LogLayer::to(inner.clone()))
            .layer(LogLayer::to(outer.clone()));
        let server = Server::axum(app).await;
        Connection::open(&server).await.get("/").await;
        all_ended(&outer, 1).await;
        all_ended(&inner, 1).await;
        assert_eq!(parent(&inner, inner.job()), Some(outer.job()));
    })
    .await;
}

/// A router nested into another, both with clones of the same layers: the inner one begins a child,
/// as any further `Router::layer` does, and one handle reaches both.
#[tokio::test]
async fn nested_routers_with_the_same_layers() {
    bounded(async {
        let seen = Recorder::new();
        let log = LogLayer::to(seen.clone());
        let cancel = CancelLayer::new().respond_with(|why| answer(StatusCode::IM_A_TEAPOT, why));
        let handle = cancel.handle();
        let (held, mut entries) = held();
        let nested = Router::new()
            .route("/held", held.route())
            .layer((log.clone(), cancel.clone()));
        let app = Router::new().nest("/nested", nested).layer((log, cancel));
        let server = Server::axum(app).await;
        let client = Connection::open(&server).await.spawn(get("/nested/held"));
        let child = entries.job().await;
        let outer = parent(&seen, child).expect("the inner job is a child");
        assert_eq!(running_ids(&handle), [outer, child]);
        handle.cancel(outer);
        assert_eq!(client.await.unwrap().status, StatusCode::IM_A_TEAPOT);
        for end in all_ended(&seen, 2).await {
            assert_eq!(reason(end), CancelReason::Requested);
        }
        assert!(handle.jobs().is_empty());
    })
    .await;
}
