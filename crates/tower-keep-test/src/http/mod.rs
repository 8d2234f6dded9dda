//! An HTTP origin that misbehaves on demand, for tests of HTTP clients. Feature `http`.
//!
//! [`Origin`] is a server in the test. It plays a script of [`Reply`]s and records each
//! [`Received`] request: what arrived, and when. It speaks HTTP/1.1, and HTTP/2 without a handshake
//! (prior knowledge). There is no TLS. It writes faults itself, byte for byte or frame for frame.
//!
//! | client | on a socket, real clock: [`Origin::start`] | in memory, paused clock: [`Origin::in_memory`] |
//! |---|---|---|
//! | reqwest | yes | no: reqwest opens its connections itself |
//! | hyper's `client::conn` | yes | yes: see [the example](#hypers-client-on-a-paused-clock) |
//! | hyper-util's `legacy::Client` | yes | only if you wrap the stream in a type that implements `Connection` of hyper-util |
//! | any other | yes | if it takes a stream of tokio's `AsyncRead` and `AsyncWrite` |
//!
//! On a socket, keep the waits of retries short: send the header `retry-after: 0`.
//!
//! | task | tool |
//! |---|---|
//! | play a script | [`Origin::then`], [`script`](Origin::script), [`repeat_last`](Origin::repeat_last) |
//! | answer by path, method or body | [`Origin::answer_with`] |
//! | see what arrived when | [`Origin::received`], [`connections`](Origin::connections), [`until`](Origin::until) |
//! | use a paused clock | [`Origin::in_memory`] with [`connect`](Origin::connect) |
//! | refuse connections | [`Origin::refuse`], [`accept`](Origin::accept) |
//!
//! # Faults, and what a client sees
//!
//! The columns show what reqwest 0.13 sees without its own retries; `request` and `decode` are its
//! error classes. hyper-util's client sees the same causes without the classes, and has no timeout.
//! Tests of this project prove this table.
//!
//! | fault | HTTP/1.1 | HTTP/2 |
//! |---|---|---|
//! | [`Origin::refuse`] | connect and request: `ConnectionRefused` | the same |
//! | [`Origin::close_on_connect`], [`reset_on_connect`](Origin::reset_on_connect) | request: canceled, incomplete message or `ConnectionReset`, by chance | the same, or `BrokenPipe` |
//! | [`Origin::hang_on_connect`] | request and timeout | the same |
//! | [`Reply::close`] | request: incomplete message | request: `BrokenPipe` |
//! | [`Reply::reset`] | request: `ConnectionReset` | the same |
//! | [`Reply::hang`] | request and timeout | the same |
//! | [`Reply::garbage`] | request: parse error | request: the client's own GOAWAY, FRAME_SIZE_ERROR |
//! | [`Reply::refused_stream`] | as `close` | request: REFUSED_STREAM |
//! | [`Reply::rst_stream`] | as `close` | request: RST_STREAM with the code |
//! | [`Reply::go_away`] | as `close` | request: GOAWAY with the code |
//! | [`Reply::go_away_processed`] | as `close` | request: `BrokenPipe`, when the connection ends |
//! | [`Reply::upgrade`] | status 101 | request: RST_STREAM, HTTP_1_1_REQUIRED |
//! | [`close_after_head_bytes`](Reply::close_after_head_bytes) | request: incomplete message | request: an I/O error of kind `Other` |
//! | [`truncate_after`](Reply::truncate_after) | decode: `UnexpectedEof` | decode: RST_STREAM, INTERNAL_ERROR |
//! | the same, at the last byte of `content-length` | success | decode: RST_STREAM, INTERNAL_ERROR |
//! | the same, [close-delimited](Reply::close_delimited) | success with a part of the body | decode: RST_STREAM, INTERNAL_ERROR |
//! | [`close_after`](Reply::close_after) | as `truncate_after` | decode: `BrokenPipe` |
//! | [`reset_after`](Reply::reset_after) | decode: `ConnectionReset` | the same |
//! | [`rst_stream_after`](Reply::rst_stream_after) | as `truncate_after` | decode: RST_STREAM with the code |
//! | [`stall_after`](Reply::stall_after), [`pause_after`](Reply::pause_after) | decode and timeout | the same |
//! | [`content_length`](Reply::content_length), too large | decode: `UnexpectedEof` | decode: the client's own PROTOCOL_ERROR |
//! | [`content_length`](Reply::content_length), too small | success with a part of the body | decode: the client's own PROTOCOL_ERROR |
//! | [`close_on_reuse`](Reply::close_on_reuse), next request | request: canceled, incomplete message or `ConnectionReset`, by chance | the same, or `BrokenPipe` |
//!
//! These answers are unusual but valid, and a client must accept them: [`early`](Reply::early),
//! [`informational`](Reply::informational), [`chunked`](Reply::chunked), [`trailer`](Reply::trailer),
//! [`trickle`](Reply::trickle), [`close_connection`](Reply::close_connection) and
//! [`close_idle_after`](Reply::close_idle_after).
//!
//! reqwest sends a request again by itself after REFUSED_STREAM and after a GOAWAY with NO_ERROR. Its
//! setting `.retry(reqwest::retry::never())` turns that off. hyper-util's client has
//! `.retry_canceled_requests(false)`. reqwest also uses the proxy of the environment, unless its
//! builder has `.no_proxy()`.
//!
//! # hyper's client on a paused clock
//!
//! In memory, a wait of half a minute takes no time. In a test suite, `main` would be a
//! `#[tokio::test(start_paused = true)]`.
//!
//! ```
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::{BodyExt, Full};
//! use hyper_util::rt::TokioIo;
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_keep::{BoxError, RetryLayer};
//! use tower_keep_test::{
//!     http::{Origin, Reply},
//!     secs,
//! };
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() -> Result<(), BoxError> {
//!     let origin = Origin::in_memory()
//!         .then(Reply::status(503).header("retry-after", "30"))
//!         .then(Reply::status(200).body("the page"));
//!
//!     // A connection for each request.
//!     let connector = origin.connector();
//!     let client = service_fn(move |request: Request<Full<Bytes>>| {
//!         let stream = connector.connect();
//!         async move {
//!             let stream = TokioIo::new(stream?);
//!             let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
//!             tokio::spawn(connection);
//!             Ok::<_, BoxError>(sender.send_request(request).await?)
//!         }
//!     });
//!
//!     let api = RetryLayer::http().layer(client);
//!     let request = Request::get(origin.url("/page")).body(Full::default())?;
//!     let response = api.oneshot(request).await?;
//!     assert_eq!(response.into_body().collect().await?.to_bytes(), "the page");
//!
//!     let received = origin.received();
//!     let waited = received[1].at - received[0].at;
//!     assert!(waited >= secs(30) && waited < secs(34));
//!     origin.assert_finished();
//!     Ok(())
//! }
//! ```
//!
//! # Without a client
//!
//! The stream of [`connect`](Origin::connect) takes bytes too.
//!
//! ```
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tower_keep_test::{
//!     http::{Origin, Reply},
//!     secs,
//! };
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() -> std::io::Result<()> {
//!     let origin = Origin::in_memory()
//!         .then(Reply::status(503).header("retry-after", "60").after(secs(5)))
//!         .answer_with(|request| Reply::status(200).body(format!("{} was read", request.path())));
//!
//!     let mut client = origin.connect()?;
//!     let mut answers = Vec::new();
//!     for ending in [&b"HTTP/1.1 503"[..], b"/page was read"] {
//!         client.write_all(b"GET /page HTTP/1.1\r\nhost: origin.test\r\n\r\n").await?;
//!         while !answers.windows(ending.len()).any(|bytes| bytes == ending) {
//!             client.read_buf(&mut answers).await?;
//!         }
//!     }
//!
//!     let received = origin.received();
//!     assert_eq!(received.len(), 2);
//!     assert_eq!(received[1].at - received[0].at, secs(5));
//!     origin.assert_finished();
//!     Ok(())
//! }
//! ```

mod answer;
mod body;
mod connection;
mod error_code;
mod h1;
mod h2;
mod listener;
mod origin;
mod received;
mod reply;
mod script;
mod socket;
mod state;

pub use self::{
    error_code::ErrorCode,
    origin::{Connector, Origin},
    received::Received,
    reply::Reply,
    socket::InMemoryStream,
};
