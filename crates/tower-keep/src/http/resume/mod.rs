//! Downloads that go on where they broke off: [`ResumeLayer`] and
//! [`RetryLayer::resume`](crate::RetryLayer::resume).
//!
//! # When to use it
//!
//! The error of a response body is outside every retry: the caller has the head already. For a large
//! download that means to begin again. This layer asks the server for the rest instead, with a
//! *range request*, and the reader sees one body without an error. It does so only if the server
//! proves that the rest belongs to the same representation.
//!
//! With a retry, add one call: `RetryLayer::http().resume()`. The range requests are then attempts
//! of that retry. Without one, use [`ResumeLayer`].
//!
//! ```
//! use std::time::Duration;
//!
//! use http::Request;
//! use http_body_util::{BodyExt, Empty};
//! use hyper_util::rt::TokioIo;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_keep::{BoxError, LogLayer, RetryLayer, TimeoutLayer};
//! use tower_keep_test::http::{Origin, Reply};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! let server = Origin::in_memory().script([
//!     // The connection is cut after four bytes.
//!     Reply::status(200).header("etag", "\"v1\"").body("0123456789").truncate_after(4),
//!     Reply::status(206)
//!         .header("etag", "\"v1\"")
//!         .header("content-range", "bytes 4-9/10")
//!         .body("456789"),
//! ]);
//! # let connector = server.connector();
//! # let client = service_fn(move |request: Request<Empty<bytes::Bytes>>| {
//! #     let stream = connector.connect();
//! #     async move {
//! #         let stream = TokioIo::new(stream?);
//! #         let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
//! #         tokio::spawn(connection);
//! #         Ok::<_, BoxError>(sender.send_request(request).await?)
//! #     }
//! # });
//! let files = ServiceBuilder::new()
//!     .layer(LogLayer::http())
//!     .layer(TimeoutLayer::http(Duration::from_secs(600)))
//!     .layer(RetryLayer::http().resume())
//!     .layer(TimeoutLayer::http_attempt(Duration::from_secs(10)))
//!     .service(client);
//!
//! let request = Request::get(server.url("/file")).body(Empty::new())?;
//! let response = files.oneshot(request).await?;
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "0123456789");
//!
//! let requests = server.received();
//! assert_eq!(requests[1].header("range"), Some("bytes=4-"));
//! assert_eq!(requests[1].header("if-range"), Some("\"v1\""));
//! # Ok(())
//! # }
//! ```
//!
//! # What is resumed
//!
//! All of this must hold. Otherwise the body is passed on as it is, and so is its error.
//!
//! | | |
//! |---|---|
//! | request | a GET without a body, for which [`RepeatRequest`](crate::RepeatRequest) does not forbid a repetition |
//! | status | 200; or 206 with one range, if the caller asked for it: it is resumed within that range |
//! | validator | a strong `ETag`; or no `ETag`, and a `Last-Modified` at least 60 s before `Date` ([RFC 9110, 8.8.2.2]) |
//! | length | known from `Content-Length` or from the body itself; without it, the body may be a decoded one |
//! | other headers | no `Content-Encoding`, no `Accept-Ranges: none`; without `Accept-Ranges`, it is tried |
//! | error | it may pass: not [`Permanent`](crate::http::ErrorKind::Permanent), no cancellation, no overall limit, no rejection |
//!
//! A body that ends before its length is resumed too, also if it has no error. An error after the
//! last byte is ignored, because nothing is missing. A slow reader uses up only the overall limit
//! and [`max_total_time`](crate::RetryLayer::max_total_time), because both run while it reads.
//!
//! A body without a declared length that the server ends with its connection looks complete: this
//! layer cannot see that it was cut.
//!
//! # What each answer does
//!
//! The range request is the caller's request with `Range: bytes=n-` and `If-Range`. Nothing is
//! delivered twice, and nothing is left out.
//!
//! | answer to the range request | what follows |
//! |---|---|
//! | 206 that begins at n, with the same validator; the length and a `Last-Modified` may be missing | the body goes on |
//! | 206 that ends early ([RFC 9110, 15.3.7]) | the body goes on, then another range request |
//! | 206 with another validator or another complete length, or without the `ETag` of the first response | [`Changed`](NotResumedReason::Changed) |
//! | 206 that begins elsewhere, ends too late, brings more bytes than its range, is encoded or has several parts | [`WrongRange`](NotResumedReason::WrongRange) |
//! | 200 with another validator; or with another length, if nothing was delivered | [`Changed`](NotResumedReason::Changed) |
//! | 200 with the same ones, the first status was 200, and nothing was delivered | the body begins again |
//! | 200 with the same ones, otherwise | [`RangeIgnored`](NotResumedReason::RangeIgnored) |
//! | a status that a retry repeats, such as 503 or 429 | a failed attempt: another one follows, not before `Retry-After` |
//! | another status, such as 416 | [`Status`](NotResumedReason::Status) |
//! | an error that a retry repeats after a GET | a failed attempt: another one follows |
//! | another error | [`Failed`](NotResumedReason::Failed) |
//!
//! # Attempts, budget and limits
//!
//! | | |
//! |---|---|
//! | maximum | attempts in a row that bring no byte; each byte resets the count and the backoff. With `RetryLayer`, attempts before the first byte count too |
//! | backoff | before each range request, also the first |
//! | budget | each range request withdraws from it, like a retry |
//! | overall limit outside | holds for the whole body; a wait that would reach it is not begun, also if `Retry-After` asks for it |
//! | limit of an attempt inside | holds for each range request; its idle limit ends a stalled body, which is then resumed |
//! | idle limit outside | also counts the waits before range requests: put it inside |
//!
//! The old body is dropped before the wait, so its connection is free. Each range request waits for
//! the readiness of the inner service.
//!
//! # Events
//!
//! An attempt whose response can be resumed ends with its body: `AttemptEnded` comes then. Each
//! resumption is a `RetryScheduled` with the error of the body, and a `Retrying`. It raises the
//! job's attempt number, which can exceed the maximum, because the count begins again with each
//! byte. The status of the exchange is that of the last response, such as 206.
//!
//! # Place in the order
//!
//! Where a retry is: inside the overall limit and the circuit, outside the limit of an attempt.
//! `LogLayer::http`, `CircuitBreakerLayer::http`, `TimeoutLayer::http`,
//! `RetryLayer::http().resume()`, `TimeoutLayer::http_attempt`, client. The layers outside see one
//! body. Those inside see each response. A circuit inside can reject a range request, because it
//! counts the broken body.
//!
//! If it is the outermost layer, the job ends with the [body](crate::http::body).
//!
//! A [`ResumeLayer`] belongs inside a retry. Two resumptions in one stack are harmless: the inner
//! one resumes.
//!
//! # Errors
//!
//! The errors of the body, or [`NotResumed`] with the reason and the number of bytes that the reader
//! has got. Errors of the head are those of the inner service.
//!
//! # Cancel safety
//!
//! Dropping the body, or cancelling it with a [`CancelLayer::http`](crate::CancelLayer::http)
//! outside, ends the wait or the range request at once. The reader keeps the bytes that it has got.
//!
//! # Cost
//!
//! A body that does not break off costs no allocation beyond that of the kept request, and no clock.
//! The body keeps the request, and a clone of the inner service, with reqwest also the URL. A
//! resumption allocates once.
//!
//! # reqwest
//!
//! The response stays a `reqwest::Response`, whose body is boxed once more. reqwest decodes
//! compressed bodies, which then have no length, so they are not resumed.
//!
//! reqwest follows redirects. The range request goes to the first URL and is redirected too. If it
//! ends at another URL than the first response, an equal validator proves nothing ([RFC 9110,
//! 8.8.1]): the reader gets [`Changed`](NotResumedReason::Changed). The query may differ, because
//! signed URLs have another one each time. With other clients, put a layer that follows redirects
//! outside this one.
//!
//! # Under axum
//!
//! This layer is for clients. A handler can pass the body of the response on to its own caller.
//!
//! [RFC 9110, 8.8.1]: https://www.rfc-editor.org/rfc/rfc9110.html#section-8.8.1
//! [RFC 9110, 8.8.2.2]: https://www.rfc-editor.org/rfc/rfc9110.html#section-8.8.2.2
//! [RFC 9110, 15.3.7]: https://www.rfc-editor.org/rfc/rfc9110.html#section-15.3.7

mod body;
mod call;
mod content_range;
mod error;
mod hook;
mod layer;
mod policy;
mod representation;
mod validator;

pub use self::{
    body::ResumedBody,
    error::{NotResumed, NotResumedReason},
    layer::ResumeLayer,
};
