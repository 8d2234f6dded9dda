//! HTTP clients: what a status or an error means, which requests may be repeated, and when.
//!
//! # A client in two lines
//!
//! [`Pipeline::http_client`] is the whole stack with settings for production. With the feature
//! `reqwest-0-13`, [`send_through`](SendThrough::send_through) sends a request of reqwest's builder
//! through it. Here the server fails first:
//!
#![cfg_attr(all(feature = "pipeline", feature = "reqwest-0-13"), doc = "```")]
#![cfg_attr(
    not(all(feature = "pipeline", feature = "reqwest-0-13")),
    doc = "```ignore"
)]
//! use tower::Layer;
//! use tower_keep::{BoxError, Pipeline, SendThrough};
//! use tower_keep_test::http::{Origin, Reply};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let server = Origin::start().await?.then(Reply::close()).then(Reply::status(200).body("the page"));
//! let (url, q) = (server.url("/search"), [("q", "keep")]);
//!
//! // The stack retries, so reqwest itself must not.
//! let client = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
//!
//! let api = Pipeline::http_client().build()?.layer(client.clone());
//! let page = client.get(url).query(&q).send_through(&api).await?;
//!
//! assert_eq!(page.text().await?, "the page");
//! assert_eq!(server.received().len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! `api` is cheap to clone. Its type is [`HttpClient<reqwest::Client>`](HttpClient), to keep it in a
//! struct.
//!
//! # Layer by layer
//!
//! Each layer also works alone, around any client that is a `Service` of [`http::Request`] or of
//! reqwest's `Request`.
//!
#![cfg_attr(all(feature = "pipeline", feature = "reqwest-0-13"), doc = "```")]
#![cfg_attr(
    not(all(feature = "pipeline", feature = "reqwest-0-13")),
    doc = "```ignore"
)]
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_keep::{
//!     BoxError, CircuitBreakerLayer, LogLayer, RetryLayer, SendDeadlineLayer, SendThrough, TimeoutLayer,
//! };
//! use tower_keep_test::http::{Origin, Reply};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let server = Origin::start().await?.then(Reply::status(503)).then(Reply::status(200));
//! let client = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
//! let api = ServiceBuilder::new()
//!     // Method, host, status and number of resends of each request.
//!     .layer(LogLayer::http())
//!     // One circuit for each server.
//!     .layer(CircuitBreakerLayer::http())
//!     .layer(TimeoutLayer::new(Duration::from_secs(60)))
//!     // Only requests that may be repeated, when the server wants them.
//!     .layer(RetryLayer::http())
//!     .layer(TimeoutLayer::new(Duration::from_secs(10)).per_attempt())
//!     // The remaining time, as a header.
//!     .layer(SendDeadlineLayer::new())
//!     .service(client.clone());
//!
//! let response = client.delete(server.url("/orders/7")).send_through(&api).await?;
//! assert_eq!(response.status(), 200);
//!
//! let requests = server.received();
//! assert_eq!(requests.len(), 2);
//! let left: u64 = requests[1].header("x-envoy-expected-rq-timeout-ms").unwrap().parse()?;
//! assert!(left <= 10_000);
//! # Ok(())
//! # }
//! ```
//!
//! | constructor | what it decides |
//! |---|---|
//! | [`LogLayer::http`](crate::LogLayer::http) | which responses fail a job; fields of the records |
//! | [`CircuitBreakerLayer::http`](crate::CircuitBreakerLayer::http) | what counts against a server; its cooldown |
//! | [`RetryLayer::http`](crate::RetryLayer::http) | which requests are repeated, after what, and when |
//! | [`IdempotencyKeyLayer`](crate::IdempotencyKeyLayer) | makes a POST repeatable, if the server honours the key |
//! | [`ReplayLayer`](crate::ReplayLayer) | makes streamed bodies repeatable up to a cap |
//! | [`SendDeadlineLayer`](crate::SendDeadlineLayer) | sends the remaining time |
//!
//! # Statuses
//!
//! One table serves all three layers:
//!
//! | answer | retried | the circuit counts | the job in the log |
//! |---|---|---|---|
//! | 408, 425 | yes | a success | is left to the retry |
//! | 429, gRPC `resource exhausted` | yes; gRPC only if the server says when | nothing | is left to the retry |
//! | 502, 503, 504, gRPC `unavailable` | yes | a failure | fails |
//! | 501, 505, gRPC `unimplemented` | no | a success | fails |
//! | other 5xx; gRPC `unknown`, `deadline exceeded`, `internal`, `data loss` | no | a failure | fails |
//! | anything else | no | a success | succeeds |
//!
//! If a retry gives up on a response, the job fails, whatever its status. The status of a gRPC call
//! counts if it is in the headers, as that of a call without messages is. [`RetryLayer::http`] names
//! the sections of the RFCs.
//!
//! # Errors
//!
//! [`ErrorKind`] says what an error means for its request. The layers look into a
//! [`BoxError`](crate::BoxError), and into the errors of the known clients. They cannot look into an
//! error type of your own: convert errors outside these layers, such as with tower's `map_err`.
//!
//! # Retries that clients make in secret
//!
//! A retry below a stack is in no log, no budget and no attempt limit. Switch them off:
//!
//! | client | what it repeats by itself | off |
//! |---|---|---|
//! | reqwest | POSTs too, after `REFUSED_STREAM` or a graceful `GOAWAY` | `.retry(reqwest::retry::never())` |
//! | hyper-util | requests that it could not send on a used connection | `.retry_canceled_requests(false)` |
//!
//! # Redirects
//!
//! A client that follows redirects hides the first answer. A server that processed a POST often
//! answers with 303. If the client then cannot connect to the next URL, its error says that nothing
//! was sent, and **the retry repeats the POST**. So a client for such requests must not follow
//! redirects below the stack: with reqwest, `.redirect(reqwest::redirect::Policy::none())`.
//!
//! # Secrets
//!
//! Logs and events contain the method, the host, the port and the status, and texts of errors. No
//! header reaches them. Texts of errors lose the user information, the query and the fragment of
//! their [URLs](crate::describe_error), and the debug data of HTTP/2. They keep the path: a client
//! whose URLs have secrets there needs reqwest's `without_url`.
//!
//! # Testing
//!
//! `tower_keep_test::http::Origin` is a server that misbehaves on demand: see the examples above.
//!
//! # Place in the order
//!
//! As without HTTP: see the [order of the layers](crate#the-order-of-the-layers). `ReplayLayer` and
//! `IdempotencyKeyLayer` go outside the retry, `SendDeadlineLayer` is the innermost layer.
//!
//! # Under axum
//!
//! These layers are for clients. A handler uses such a client through axum's `State`.
//!
//! [`Pipeline::http_client`]: crate::Pipeline::http_client
//! [`RetryLayer::http`]: crate::RetryLayer::http

mod authority;
#[cfg(feature = "circuit-breaker")]
mod circuit_breaker;
mod classify;
#[cfg(feature = "pipeline")]
mod client;
#[cfg(feature = "retry")]
mod drain;
mod error_kind;
mod exchange;
mod hint;
#[cfg(feature = "hyper-1")]
mod hyper;
pub mod idempotency_key;
#[cfg(feature = "retry")]
mod keep;
#[cfg(feature = "log")]
mod log;
mod message;
#[cfg(feature = "retry")]
mod policy;
mod repeat;
pub mod replay;
#[cfg(feature = "reqwest-0-13")]
mod reqwest;
#[cfg(feature = "retry")]
mod retry;
pub mod send_deadline;
#[cfg(feature = "reqwest-0-13")]
mod send_through;
mod status;

#[cfg(feature = "pipeline")]
pub use self::client::{HttpClient, HttpClientPipeline};
#[cfg(feature = "serde")]
pub(crate) use self::exchange::known_method;
#[cfg(feature = "reqwest-0-13")]
pub use self::send_through::{SendThrough, Sending};
pub use self::{
    authority::{Authority, InvalidAuthority},
    error_kind::ErrorKind,
    exchange::HttpExchange,
    hint::{Hint, RetryHint, StandardHints},
    message::{HttpRequest, HttpResponse},
    repeat::RepeatRequest,
};
