//! A server's handler whose client has layers of its own: each call is a child of the server's job.

use std::future::Future;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::{MethodRouter, any},
};
use http::StatusCode;
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CancelLayer, CircuitBreakerLayer, LogLayer, ProgressLayer, RetryLayer, TimeoutLayer,
    cancel::{CancelHandle, Cancelled},
};
use tower_keep_test::Recorder;
use tower_keep_tests::servers::{Entries, Held, LONG, SOON, Server, held, reqwest_client};

use crate::layers::upstream_errors;

mod cancellation;
mod joined_and_detached;
mod parents;
mod spawned;
mod stacks;

/// A client with layers, in a box so that it fits into a handler, and what it asks for.
#[derive(Clone)]
struct Fetch {
    client: BoxCloneSyncService<reqwest::Request, reqwest::Response, BoxError>,
    url: String,
}

impl Fetch {
    /// All layers but the dedup, as the calls here may be alike.
    fn layered(upstream: &Server) -> (Self, Recorder, CancelHandle) {
        let seen = Recorder::new();
        let cancel = CancelLayer::new();
        let handle = cancel.handle();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .layer(ProgressLayer::new())
            .layer(cancel)
            .layer(CircuitBreakerLayer::new())
            .layer(TimeoutLayer::new(LONG))
            .layer(
                RetryLayer::new()
                    .max_retries(2)
                    .base_delay(SOON)
                    .classify(upstream_errors::<BoxError>)
                    .clone_with(tower_keep_tests::servers::repeat),
            )
            .layer(TimeoutLayer::new(LONG).per_attempt())
            .service(reqwest_client());
        let fetch = Self {
            client: BoxCloneSyncService::new(client),
            url: upstream.url("/"),
        };
        (fetch, seen, handle)
    }

    /// Nothing but a log: no Cancel layer of its own.
    fn plain(upstream: &Server) -> (Self, Recorder) {
        let seen = Recorder::new();
        let client = ServiceBuilder::new()
            .layer(LogLayer::to(seen.clone()))
            .map_err(BoxError::from)
            .service(reqwest_client());
        let fetch = Self {
            client: BoxCloneSyncService::new(client),
            url: upstream.url("/"),
        };
        (fetch, seen)
    }

    /// The same client for another server.
    fn to(&self, upstream: &Server) -> Self {
        Self {
            client: self.client.clone(),
            url: upstream.url("/"),
        }
    }

    async fn text(&self) -> Result<String, BoxError> {
        let request = reqwest::Request::new(reqwest::Method::GET, self.url.parse()?);
        let response = self.client.clone().oneshot(request).await?;
        Ok(response.error_for_status()?.text().await?)
    }

    /// What a handler answers that passes it on.
    async fn reply(&self) -> Response {
        reply(self.text().await)
    }

    /// A route that passes it on.
    fn route(&self) -> MethodRouter {
        let fetch = self.clone();
        any(move || async move { fetch.reply().await })
    }
}

fn reply(result: Result<String, BoxError>) -> Response {
    match result {
        Ok(text) => text.into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

struct Keep {
    seen: Recorder,
    cancel: CancelHandle,
}

/// A server with Log and Cancel in front of one handler, which is handed a client.
async fn serve<C, H, F>(client: C, handler: H) -> (Server, Keep)
where
    C: Clone + Send + Sync + 'static,
    H: Fn(C) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let seen = Recorder::new();
    let cancel = CancelLayer::new().respond_with(|why: Cancelled| {
        (StatusCode::SERVICE_UNAVAILABLE, why.to_string()).into_response()
    });
    let keep = Keep {
        seen: seen.clone(),
        cancel: cancel.handle(),
    };
    let app = Router::new()
        .route("/", any(move || handler(client.clone())))
        .layer((LogLayer::to(seen), cancel));
    (Server::axum(app).await, keep)
}

/// A server that answers when the test lets it.
async fn upstream() -> (Server, Held, Entries) {
    let (held, entries) = held();
    let app = Router::new().route("/", held.route());
    (Server::axum(app).await, held, entries)
}

/// A server that answers at once.
async fn ready_upstream() -> Server {
    let (server, held, _) = upstream().await;
    held.gate.open();
    server
}
