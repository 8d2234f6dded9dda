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
//! `api` is cheap to clone, and all clones share the circuits and budgets. Its type is
//! [`HttpClient<reqwest::Client>`](HttpClient), to keep it in a struct. Each setter of the pipeline
//! replaces a layer, such as `.retry(RetryLayer::http().max_retries(1))`.
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
//!     BoxError, CancelLayer, CircuitBreakerLayer, DedupLayer, LogLayer, ProgressLayer, RetryLayer,
//!     SendDeadlineLayer, SendThrough, TimeoutLayer,
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
//!     // The bytes of bodies.
//!     .layer(ProgressLayer::http())
//!     // A cancellation ends the body too.
//!     .layer(CancelLayer::http())
//!     // Equal GETs at the same time share one exchange.
//!     .layer(DedupLayer::http_get())
//!     // One circuit for each server.
//!     .layer(CircuitBreakerLayer::http())
//!     .layer(TimeoutLayer::http(Duration::from_secs(60)))
//!     // Repeats only what is safe to repeat, and not before the time that the server asks for.
//!     // A download that breaks off goes on where it stopped.
//!     .layer(RetryLayer::http().resume())
//!     .layer(TimeoutLayer::http_attempt(Duration::from_secs(10)))
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
//! | [`DedupLayer::http_get`](crate::DedupLayer::http_get) | which GETs share one exchange; no pipeline has it unless you [add it](shared_get#place-in-the-order) |
//! | [`CircuitBreakerLayer::http`](crate::CircuitBreakerLayer::http) | what counts against a server; its cooldown |
//! | [`CancelLayer::http`](crate::CancelLayer::http) | that a cancellation reaches the response body |
//! | [`ProgressLayer::http`](crate::ProgressLayer::http) | that the bytes of bodies are progress, in [both directions](upload) |
//! | [`RetryLayer::http`](crate::RetryLayer::http) | which requests are repeated, after what, and when |
//! | [`ResumeLayer`](crate::ResumeLayer), [`RetryLayer::resume`](crate::RetryLayer::resume) | which downloads go on after a cut |
//! | [`TimeoutLayer::http`](crate::TimeoutLayer::http), [`http_attempt`](crate::TimeoutLayer::http_attempt) | limits that include the body |
//! | [`Dispatcher::http`](crate::Dispatcher::http) | that a dispatched job, and its permit, last until the end of the response body |
//! | [`IdempotencyKeyLayer`](crate::IdempotencyKeyLayer) | makes a POST repeatable, if the server honours the key |
//! | [`ReplayLayer`](crate::ReplayLayer) | makes streamed bodies of an `http::Request` repeatable up to a cap; reqwest's need no layer |
//! | [`SendDeadlineLayer`](crate::SendDeadlineLayer) | sends the remaining time |
//!
//! # Statuses
//!
//! One table serves all three layers:
//!
//! | answer | retried | the circuit counts | the job in the log |
//! |---|---|---|---|
//! | 408, 425 | yes | a success | fails if a Retry layer is inside, otherwise succeeds |
//! | 429, gRPC `resource exhausted` | yes; gRPC only if the server says when | nothing | fails if a Retry layer is inside, otherwise succeeds |
//! | 502, 503, 504, gRPC `unavailable`, `deadline exceeded`, `cancelled` | yes | a failure | fails |
//! | 501, 505, gRPC `unimplemented` | no | a success | fails |
//! | other 5xx; gRPC `unknown`, `internal`, `data loss` | no | a failure | fails |
//! | anything else | no | a success | succeeds |
//!
//! The retry also depends on the request: see [`RetryLayer::http`], which names the sections of the
//! RFCs. If a retry gives up on a response, the job fails, whatever the status.
//!
//! The status of a gRPC call is in the headers of a response without messages, and else in the
//! trailers. The layers that [follow the body](body#grpc) read both. The retry reads only the
//! headers, as nothing is retried after the head.
//!
//! [`retry_status`](crate::RetryLayer::retry_status) and [`hints`](crate::RetryLayer::hints) change
//! what the retry does, and the end of the job. They change nothing for the circuit.
//!
//! # What the caller gets
//!
//! | what happened | result |
//! |---|---|
//! | the server answered, with any status | `Ok` with the response; after retries, with the last one |
//! | the client failed | the client's error, in a [`BoxError`](crate::BoxError) |
//! | a limit of the stack expired | a `BoxError` with [`Rejection::TimedOut`](crate::Rejection::TimedOut) |
//! | the circuit was open | a `BoxError` with [`Rejection::CircuitOpen`](crate::Rejection::CircuitOpen) |
//!
//! [`Rejection::of`](crate::Rejection::of) gets the reason of a layer out of an error, and
//! [`find`](crate::find) gets the client's error. A limit of reqwest itself is not a rejection:
//! there `reqwest::Error::is_timeout` is true.
//!
#![cfg_attr(all(feature = "pipeline", feature = "reqwest-0-13"), doc = "```")]
#![cfg_attr(
    not(all(feature = "pipeline", feature = "reqwest-0-13")),
    doc = "```ignore"
)]
//! use std::time::Duration;
//! use tower::Layer;
//! use tower_keep::{
//!     BoxError, CircuitBreakerLayer, Pipeline, Rejection, RetryLayer, SendThrough, find,
//! };
//! use tower_keep_test::http::{Origin, Reply};
//!
//! fn reason(error: &BoxError) -> &'static str {
//!     let client = find::<reqwest::Error>(&**error);
//!     match (Rejection::of(&**error), client.and_then(reqwest::Error::status)) {
//!         (Some(Rejection::CircuitOpen), _) => "the circuit is open",
//!         (Some(Rejection::TimedOut), _) => "too slow",
//!         (_, Some(status)) if status.is_client_error() => "our fault",
//!         _ if client.is_some_and(reqwest::Error::is_timeout) => "too slow",
//!         _ => "unavailable",
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let server = Origin::start().await?.script([
//!     Reply::status(404),
//!     Reply::status(200).body("a long page").stall_after(4),
//!     Reply::status(503),
//! ]);
//! let client = reqwest::Client::builder()
//!     .retry(reqwest::retry::never())
//!     .read_timeout(Duration::from_millis(100)) // of the body
//!     .build()?;
//! let api = Pipeline::http_client()
//!     // Opens at the second failure in a row. The first is the body that stalls.
//!     .circuit_breaker(CircuitBreakerLayer::http().failure_threshold(1))
//!     .retry(RetryLayer::http().max_retries(0))
//!     .build()?
//!     .layer(client.clone());
//! let get = async || {
//!     let response = client.get(server.url("/page")).send_through(&api).await?;
//!     Ok::<_, BoxError>(response.error_for_status()?.text().await?)
//! };
//!
//! assert_eq!(reason(&get().await.unwrap_err()), "our fault");
//! assert_eq!(reason(&get().await.unwrap_err()), "too slow");
//! assert_eq!(reason(&get().await.unwrap_err()), "unavailable");
//! assert_eq!(reason(&get().await.unwrap_err()), "the circuit is open");
//! # Ok(())
//! # }
//! ```
//!
//! # The body of a response
//!
//! A call returns at the head of the response. Its job ends with the [response body](body) if the
//! outermost layer [follows it](body#which-layer-ends-the-job), as `LogLayer::http` and
//! [`JobLayer::http`](crate::JobLayer::http) do. [`TimeoutLayer::http`] and
//! [`TimeoutLayer::http_attempt`] [limit the body](crate::timeout#http-bodies), too: the whole call,
//! and each wait for the server.
//! `CancelLayer::http` cancels the body, and `CircuitBreakerLayer::http` counts a body that fails as
//! one more failure. A retry covers the body only with [`resume`], which asks for the rest of a
//! download that broke off.
//!
//! # Your own error types
//!
//! [`ErrorKind`] says what an error means for its request. The layers look into a
//! [`BoxError`](crate::BoxError), and into the errors of the known clients. They cannot look into
//! your own error type: convert errors outside these layers. A `map_err` inside them compiles, but
//! the retry then repeats only idempotent requests, and the circuit counts every error.
//!
//! # Hidden retries of clients
//!
//! A retry inside the client is in no log and no budget. Switch it off:
//!
//! | client | what it repeats by itself | off |
//! |---|---|---|
//! | reqwest | POSTs too, after `REFUSED_STREAM` or a graceful `GOAWAY` | `.retry(reqwest::retry::never())` |
//! | hyper-util | requests that it could not send on a used connection | `.retry_canceled_requests(false)` |
//! | kube | POSTs too, after 429, 503 and 504, up to 15 times | `Client::new` with your stack |
//!
//! # The server of a request
//!
//! Circuits, budgets and logs go by the host and port in the URI of the request, or in its `Host`
//! header. Some clients add them below the stack. Add them outside: with kube by its
//! `base_uri_layer`, with tonic by `with_origin` of the generated client. Otherwise all servers
//! share one circuit and one budget.
//!
//! # Redirects
//!
//! A client that follows redirects hides the first answer. A server that processed a POST often
//! answers with 303. If the client then cannot connect to the next URL, its error says that nothing
//! was sent, and **the retry repeats the POST**. So a client for such requests must not follow
//! redirects below the stack: with reqwest, `.redirect(reqwest::redirect::Policy::none())`.
//!
//! reqwest follows 307 and 308 only with a body that it can send again. A stream is none, nor is a
//! body above 64 KiB whose bytes a Progress layer [counts](upload). The caller then gets the
//! redirect as the answer.
//!
//! # Secrets
//!
//! Logs and events contain the method, the host, the port and the status, and texts of errors. No
//! header reaches them. Texts of errors lose the user information, the query and the fragment of
//! their URLs, and the debug data of HTTP/2. They keep the path. To see which operation failed, give
//! the job a [name](crate::JobLayer::named_by).
//!
//! The error that the caller gets is the client's own. Its text contains the whole URL, with the
//! query. [`describe_error`](crate::describe_error) makes a text without it, for your own logs. If
//! your paths contain secrets, use reqwest's `without_url`.
//!
//! # Testing
//!
//! `tower_keep_test::http::Origin` is a server that misbehaves on demand, as in the examples above.
//! With reqwest it needs a socket and the real clock. With the header `retry-after: 0`, retries
//! wait only their backoff of less than half a second. hyper's client also works in memory, on a
//! paused clock: the module of `Origin` has an example.
//!
//! # Place in the order
//!
//! As without HTTP: see the [order of the layers](crate#the-order-of-the-layers). `ReplayLayer` and
//! `IdempotencyKeyLayer` go outside the retry, `SendDeadlineLayer` is the innermost layer.
//!
//! # Under axum
//!
//! These layers are for clients. Keep the client in axum's `State`, for the handlers.
//!
//! [`Pipeline::http_client`]: crate::Pipeline::http_client
//! [`RetryLayer::http`]: crate::RetryLayer::http
//! [`TimeoutLayer::http`]: crate::TimeoutLayer::http
//! [`TimeoutLayer::http_attempt`]: crate::TimeoutLayer::http_attempt

mod authority;
pub mod body;
#[cfg(feature = "cancel")]
mod cancel;
#[cfg(feature = "circuit-breaker")]
mod circuit_breaker;
mod classify;
#[cfg(feature = "pipeline")]
mod client;
mod content_length;
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
pub mod resume;
#[cfg(feature = "retry")]
mod retry;
pub mod send_deadline;
#[cfg(feature = "reqwest-0-13")]
mod send_through;
#[cfg(feature = "dedup")]
pub mod shared_get;
mod status;
#[cfg(feature = "timeout")]
mod timeout;
#[cfg(feature = "progress")]
pub mod upload;

#[cfg(feature = "pipeline")]
pub use self::client::{HttpClient, HttpClientPipeline};
#[cfg(feature = "serde")]
pub(crate) use self::exchange::known_method;
#[cfg(feature = "reqwest-0-13")]
pub use self::send_through::{SendThrough, Sending};
#[cfg(feature = "timeout")]
pub use self::timeout::{ThenIdle, UntilEnd};
pub use self::{
    authority::{Authority, InvalidAuthority},
    error_kind::ErrorKind,
    exchange::HttpExchange,
    hint::{Hint, RetryHint, StandardHints},
    message::{HttpRequest, HttpResponse},
    repeat::RepeatRequest,
};
