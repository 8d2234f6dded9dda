//! An axum server with the layers in front of its handlers.

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};
use tower_keep_tests::servers::Server;

use crate::layers::{Keep, answering_layers};

mod disconnects;
mod ids;
mod jobs;
mod nesting;
mod rejections;
mod shared_state;
mod shutdown;

/// Another GET request like this one; axum's body can be streamed once only.
fn repeat_get(request: &Request) -> Option<Request> {
    (request.method() == Method::GET).then(|| {
        let mut again = Request::new(Body::empty());
        *again.uri_mut() = request.uri().clone();
        *again.version_mut() = request.version();
        *again.headers_mut() = request.headers().clone();
        // Here axum keeps what its extractors read, such as the path's parameters.
        *again.extensions_mut() = request.extensions().clone();
        again
    })
}

fn answer(status: StatusCode, why: impl std::fmt::Display) -> Response {
    (status, why.to_string()).into_response()
}

/// The server of most tests: every layer in front of the whole router.
async fn serve(routes: Router) -> (Server, Keep) {
    let (layers, keep) = answering_layers!(answer, repeat_get);
    (Server::axum(routes.layer(layers)).await, keep)
}

async fn hello() -> &'static str {
    "hello"
}
