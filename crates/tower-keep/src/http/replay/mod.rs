//! Sends request bodies again: [`ReplayLayer`] makes `http::Request<B>` repeatable for bodies that
//! are not `Clone`, such as streams and boxed bodies, up to a cap.
//!
//! # When to use it
//!
//! A retry needs a copy of the request, and a streamed body has none. This layer keeps what the
//! first attempt sends, up to 64 KiB, and later attempts send it again. A request whose body is
//! `Clone`, such as `Full<Bytes>`, does not need it. Nor does reqwest's request, because
//! `RetryLayer::http()` keeps its streamed bodies itself.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::{BodyExt, Full, combinators::BoxBody};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, ReplayLayer, RetryLayer, http::replay::ReplayBody};
//!
//! type Body = BoxBody<Bytes, BoxError>;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! // Reads the body, and rejects the first attempt.
//! let server = service_fn(|request: Request<ReplayBody<Body>>| async move {
//!     let attempt = tower_keep::Job::current().attempt();
//!     let body = request.into_body().collect().await?.to_bytes();
//!     let mut response = Response::new(Full::new(body));
//!     if attempt == 1 {
//!         *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
//!     }
//!     Ok::<_, BoxError>(response)
//! });
//!
//! let client = ServiceBuilder::new()
//!     .layer(tower_keep::JobLayer::new("upload"))
//!     .layer(ReplayLayer::new())
//!     .layer(RetryLayer::http())
//!     .service(server);
//!
//! let body = Full::from("an upload").map_err(|never| match never {}).boxed();
//! let response = client.oneshot(Request::put("https://example.com/").body(body).unwrap()).await.unwrap();
//! assert_eq!(response.status(), StatusCode::OK);
//! assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "an upload");
//! # });
//! ```
//!
//! # Larger bodies
//!
//! A body above the cap is streamed to the first attempt, and its record is freed at once. It is
//! then not replayable, and a retry must return the last outcome. `RetryLayer::http()` does so.
//! Your own policy has to ask [`ReplayBody::is_replayable`], or [`BodyReplay::is_replayable`] in
//! the extensions of the request. If it does not ask, the next attempt fails with
//! [`NotReplayable`].
//!
//! For a larger cap, set [`max_body`](ReplayLayer::max_body) of this layer. The retry then keeps
//! these bodies too.
//!
//! # Early responses
//!
//! A server can respond before it has read the whole body. The next attempt then sends the record,
//! and continues to read the same body. The transport of the earlier attempt gets the error
//! [`Superseded`], and closes its stream. The limits of the attempts stay independent.
//!
//! # Content-Length and trailers
//!
//! Each attempt has the size hint of the inner body, so the client sends the same `Content-Length`,
//! or none. Trailers are sent again too. They do not count towards the cap.
//!
//! # Place in the order
//!
//! Outside the retry: `ReplayLayer`, then [`RetryLayer`](crate::RetryLayer). Inside a retry it
//! would have no effect. A layer of your own that reads the body belongs outside it. A
//! `ProgressLayer` with [`uploads`](super::upload) goes between the two.
//!
//! With a pipeline:
//! `ServiceBuilder::new().layer(ReplayLayer::new()).layer(pipeline).service(client)`, where the
//! client sends `http::Request<ReplayBody<B>>`. For hyper-util's client, the service has the type
//! `Replay<HttpClient<Client<HttpConnector, ReplayBody<B>>>>`.
//!
//! # Errors
//!
//! The layer has no errors of its own. The body fails with the error of the inner body, with
//! [`Superseded`] or with [`NotReplayable`]. The client wraps them; [`find`](crate::find) finds
//! them.
//!
//! # Cost
//!
//! A body of up to four frames costs two allocations, and a longer one a third. Its data is not
//! copied. The kept data lives as long as the request, at most 64 KiB by default. A body whose size
//! is unknown or above the cap also costs an entry in the extensions of the request.
//!
//! # Cancel safety
//!
//! Dropping the response future, or any body, at any time leaves nothing behind. The inner body is
//! dropped as soon as no attempt can continue to read it, at the latest with the last body.
//!
//! # Under axum
//!
//! `Router::layer` takes it, as axum accepts any request body. Use it in front of a proxy handler
//! that retries.

mod body;
mod error;
mod layer;
mod record;
mod service;
mod shared;
#[cfg(test)]
mod tests;

pub use self::{
    body::{BodyReplay, ReplayBody},
    error::{NotReplayable, Superseded},
    layer::ReplayLayer,
    service::Replay,
};
