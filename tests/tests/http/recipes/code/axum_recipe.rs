//! README: add it to axum.

use std::{borrow::Cow, convert::Infallible, fmt::Display, io, time::Duration};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_keep::{
    CancelLayer, CircuitBreakerLayer, Classify, Job, LogLayer, Outcome, ProgressLayer,
    TimeoutLayer, cancel::CancelHandle,
};

fn answer(status: StatusCode, why: impl Display) -> Response {
    (status, why.to_string()).into_response()
}

/// What failed, for the log and the circuits alike.
#[derive(Clone, Copy)]
struct ServerErrors;

impl Classify<Response, Infallible> for ServerErrors {
    fn classify(&self, result: &Result<Response, Infallible>) -> Outcome {
        match result {
            Ok(response) if response.status().is_server_error() => Outcome::Failure,
            _ => Outcome::Success,
        }
    }

    fn describe(&self, result: &Result<Response, Infallible>) -> Option<Cow<'static, str>> {
        let response = result.as_ref().ok()?;
        Some(format!("answered {}", response.status()).into())
    }
}

/// One circuit for each route, so that a broken route does not take the others down.
fn route(request: &Request) -> String {
    let path = request.extensions().get::<MatchedPath>();
    path.map_or_else(String::new, |path| path.as_str().to_owned())
}

pub(crate) async fn report() -> String {
    let job = Job::current();
    tokio::time::sleep(Duration::from_millis(50)).await; // the work
    job.progress(0.5);
    format!("report of job {:?}", job.id())
}

/// These routes behind the layers, and a handle that cancels their jobs. Once `stopping` fires,
/// nothing new begins, and what runs has this long to end.
pub(crate) fn defend(
    routes: Router,
    stopping: CancellationToken,
    within: Duration,
) -> (Router, CancelHandle) {
    let cancel = CancelLayer::new()
        .shutdown_on(stopping, within)
        .respond_with(|why| answer(StatusCode::SERVICE_UNAVAILABLE, why));
    let handle = cancel.handle();
    let layers = ServiceBuilder::new()
        .layer(LogLayer::new().classify(ServerErrors))
        .layer(ProgressLayer::new())
        .layer(cancel)
        .layer(
            CircuitBreakerLayer::new()
                .per_key(route)
                .classify(ServerErrors)
                .respond_with(|why| answer(StatusCode::SERVICE_UNAVAILABLE, why)),
        )
        .layer(
            TimeoutLayer::new(Duration::from_secs(30))
                .respond_with(|why| answer(StatusCode::GATEWAY_TIMEOUT, why)),
        );
    (routes.layer(layers), handle)
}

/// Serves until `stopping` fires, and ends when the last job has.
pub(crate) async fn serve(listener: TcpListener, stopping: CancellationToken) -> io::Result<()> {
    let routes = Router::new().route("/report", get(report));
    let (app, _) = defend(routes, stopping.clone(), Duration::from_secs(30));
    axum::serve(listener, app)
        .with_graceful_shutdown(stopping.cancelled_owned())
        .await
}
