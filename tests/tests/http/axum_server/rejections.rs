//! What a client gets from a layer that stops its request, wherever the layers were put.

use std::future::pending;

use axum::{
    Router,
    error_handling::HandleErrorLayer,
    handler::Handler,
    response::Response,
    routing::{any, get},
};
use http::StatusCode;
use tower::ServiceBuilder;
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, LogLayer, ProgressLayer, RetryLayer,
    TimeoutLayer, cancel::Cancelled, circuit_breaker::Open, dedup::Duplicate, find,
    timeout::Elapsed,
};
use tower_keep_tests::servers::{Connection, Held, LONG, Server, bounded, held};

use super::{answer, repeat_get};
use crate::layers::{
    AppError, Keep, answering_layers, assert_four_answers, failing_layers, idempotency_key,
    patience,
};

/// The routes that `assert_four_answers` asks for.
fn routes(held: &Held) -> Router {
    Router::new()
        .route("/pending", get(pending::<()>))
        .route("/held", held.route())
}

/// In `Router::layer` the layers answer with the right status, no adapter needed.
#[tokio::test]
async fn router_layer_needs_no_adapter() {
    bounded(async {
        let (held, entries) = held();
        let (layers, keep) = answering_layers!(answer, repeat_get);
        let app = routes(&held).layer(layers);
        assert_four_answers(Server::axum(app).await, keep, held, entries).await;
    })
    .await;
}

/// As in `Router::route_layer`, which leaves the fallback alone: a 404 is no job there.
#[tokio::test]
async fn route_layer_needs_no_adapter() {
    bounded(async {
        let (held, entries) = held();
        let (layers, keep) = answering_layers!(answer, repeat_get);
        let app = routes(&held).route_layer(layers);
        let server = Server::axum(app.clone()).await;
        let answer = Connection::open(&server).await.get("/unknown").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(keep.seen.events().is_empty());
        assert_four_answers(Server::axum(app).await, keep, held, entries).await;
    })
    .await;
}

/// As in `MethodRouter::layer`: two method routers with clones of one stack share its state.
#[tokio::test]
async fn method_router_layer_needs_no_adapter() {
    bounded(async {
        let (held, entries) = held();
        let (layers, keep) = answering_layers!(answer, repeat_get);
        let app = Router::new()
            .route("/pending", get(pending::<()>).layer(layers.clone()))
            .route("/held", held.route().layer(layers));
        assert_four_answers(Server::axum(app).await, keep, held, entries).await;
    })
    .await;
}

/// As in `Handler::layer`, which makes a service for each request: the state is the layer's, so it
/// holds all the same.
#[tokio::test]
async fn handler_layer_needs_no_adapter() {
    bounded(async {
        let (held, entries) = held();
        let (layers, keep) = answering_layers!(answer, repeat_get);
        let work = held.clone();
        let handler = move || async move { work.run().await };
        let app = Router::new()
            .route("/pending", any(pending::<()>.layer(layers.clone())))
            .route("/held", any(handler.layer(layers)));
        assert_four_answers(Server::axum(app).await, keep, held, entries).await;
    })
    .await;
}

/// Around the whole app, outside the router (`into_make_service` of a layered router service).
#[tokio::test]
async fn layers_outside_the_router_need_no_adapter() {
    bounded(async {
        let (held, entries) = held();
        let (layers, keep) = answering_layers!(answer, repeat_get);
        let router = routes(&held);
        let app = Router::new().fallback_service(layers.service(router));
        assert_four_answers(Server::axum(app).await, keep, held, entries).await;
    })
    .await;
}

/// The default mode: a `BoxError` with the reason inside, for which a `HandleErrorLayer` picks the
/// status with `find`.
#[tokio::test]
async fn find_tells_boxed_errors_apart() {
    async fn explain(error: BoxError) -> Response {
        let status = if find::<Elapsed>(&*error).is_some() {
            StatusCode::GATEWAY_TIMEOUT
        } else if find::<Open>(&*error).is_some() || find::<Cancelled>(&*error).is_some() {
            StatusCode::SERVICE_UNAVAILABLE
        } else if find::<Duplicate>(&*error).is_some() {
            StatusCode::CONFLICT
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        answer(status, error)
    }

    bounded(async {
        let (held, entries) = held();
        let progress = ProgressLayer::new();
        let cancel = CancelLayer::new();
        let circuit = CircuitBreakerLayer::new().named("app");
        let keep = Keep::new(&progress, &cancel, circuit.handle());
        let app = routes(&held).layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(explain))
                .layer(LogLayer::to(keep.seen.clone()))
                .layer(progress)
                .layer(cancel)
                .layer(DedupLayer::new(idempotency_key))
                .layer(circuit)
                .layer(TimeoutLayer::none().limit_by(patience))
                .layer(RetryLayer::new().clone_with(repeat_get))
                .layer(TimeoutLayer::new(LONG).per_attempt()),
        );
        assert_four_answers(Server::axum(app).await, keep, held, entries).await;
    })
    .await;
}

/// One flat enum of the user's own, through `MethodRouter::layer` and a `HandleErrorLayer` in the
/// same way.
#[tokio::test]
async fn one_flat_enum_of_errors() {
    async fn explain(error: AppError) -> Response {
        answer(error.status(), error)
    }

    bounded(async {
        let (held_work, entries) = held();
        let (layers, keep) = failing_layers!(repeat_get);
        let app = routes(&held_work).layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(explain))
                .layer(layers),
        );
        assert_four_answers(Server::axum(app).await, keep, held_work, entries).await;

        let (held_work, entries) = held();
        let (layers, keep) = failing_layers!(repeat_get);
        let app = Router::new()
            .route(
                "/pending",
                get(pending::<()>)
                    .layer(layers.clone())
                    .handle_error(explain),
            )
            .route(
                "/held",
                held_work.route().layer(layers).handle_error(explain),
            );
        assert_four_answers(Server::axum(app).await, keep, held_work, entries).await;
    })
    .await;
}
