//! Makes a POST repeatable: [`IdempotencyKeyLayer`] sets the header `Idempotency-Key` once per
//! call.
//!
//! # When to use it
//!
//! Use it if the server promises to execute a request once per key, as the APIs of payment services
//! do. A client must not repeat a POST or a PATCH by itself (RFC 9110, section 9.2.2): the lost
//! response of the first attempt may be the response of a success. With a key, the server
//! recognizes the repetition and sends the response of the first execution.
//!
//! **A server that does not know the header executes each attempt.** The server must:
//!
//! - store the key with the result, before or together with the effect of the request;
//! - answer a known key with the stored result, and a key whose first request still runs with 409;
//! - keep the key for longer than all attempts of a call last.
//!
//! ```
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, IdempotencyKeyLayer, RetryLayer};
//!
//! type Body = Full<&'static [u8]>;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! // The server executes the request, and its first response is lost.
//! let executed = std::cell::RefCell::new(std::collections::HashSet::new());
//! let server = service_fn(|request: Request<Body>| {
//!     let key = request.headers()["idempotency-key"].clone();
//!     let is_first = executed.borrow_mut().insert(key);
//!     async move {
//!         match is_first {
//!             true => Err::<_, BoxError>("connection closed".into()),
//!             false => Ok(Response::new(Body::from(&b"charged once"[..]))),
//!         }
//!     }
//! });
//!
//! let client = ServiceBuilder::new()
//!     .layer(IdempotencyKeyLayer::new())
//!     .layer(RetryLayer::http())
//!     .service(server);
//! let request = Request::post("https://pay.example.com/charges").body(Body::default()).unwrap();
//! let response = client.oneshot(request).await.unwrap();
//! assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "charged once");
//! # });
//! ```
//!
//! # The header
//!
//! The value is a String in the sense of RFC 9651, in quotes, as
//! draft-ietf-httpapi-idempotency-key-header requires:
//! `Idempotency-Key: "8e03978e-40d5-43e8-bc93-6894a57f9324"`. Some services, such as Stripe, take
//! the text without quotes: use [`bare`](IdempotencyKeyLayer::bare).
//!
//! The layer changes only requests whose method is neither safe nor idempotent, such as POST and
//! PATCH. A request that carries the header keeps it. So a request with a key of its own needs no
//! layer: set the header `idempotency-key`, with the quotes inside the value.
//!
//! # Place in the order
//!
//! **Outside the retry**, so that all attempts of a call carry the same key. Inside the retry, each
//! attempt would get another key, and the server would execute each. A `RetryLayer::http()` does
//! not repeat a POST then, because it sees the request without a key.
//!
//! A key belongs to one call. A caller that makes a second call for the same order must pass the
//! key itself, in the header or through [`key_with`](IdempotencyKeyLayer::key_with). Around a
//! pipeline the service has the type `IdempotencyKeys<HttpClient<reqwest::Client>>`.
//!
//! # Errors
//!
//! The layer has none, and passes on those of the inner service. A panic of the closure of
//! `key_with` reaches the caller, and the service is not called.
//!
//! # Cost
//!
//! A key, its header value, and the place in the header map. Other requests cost nothing. The
//! response future is the inner service's.
//!
//! # Cancel safety
//!
//! The layer holds nothing during a call.
//!
//! # Under axum
//!
//! It fits into `Router::layer`, but it is a layer for clients: a server receives the header.

mod key;
mod layer;
mod service;

pub use self::{
    key::{IdempotencyKey, InvalidIdempotencyKey, KeySource, KeyWith, RandomKey},
    layer::IdempotencyKeyLayer,
    service::IdempotencyKeys,
};
