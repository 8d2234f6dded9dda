//! Response bodies that a stack follows to their end: [`FollowedBody`].
//!
//! A response is complete when its body is: a server can fail after the head. So the layers made by
//! `http()` put their guard into the body, and the call ends with it:
//!
//! | the body | [`BodyEnd`] | the job, if the head was a success |
//! |---|---|---|
//! | was read to its end | [`Complete`](BodyEnd::Complete) | succeeds, or fails with the [status of a gRPC call](#grpc) |
//! | was dropped after its whole length was read | [`Complete`](BodyEnd::Complete) | succeeds |
//! | is empty, or answers HEAD, or the status is 1xx, 204 or 304 | [`Complete`](BodyEnd::Complete), at the head | succeeds |
//! | ended with an error | [`Truncated`](BodyEnd::Truncated) | fails |
//! | ended with an error because it took too long | [`Stalled`](BodyEnd::Stalled) | fails |
//! | was dropped by its reader before its end | [`Dropped`](BodyEnd::Dropped) | succeeds |
//! | was cancelled, by a `CancelLayer::http` or a `Dispatcher::http` | none | is cancelled |
//!
//! A time limit of the reader's own job drops the body as its reader does. If the reader's job is
//! cancelled, the job of the body is cancelled, too.
//!
//! If the head was a failure, the job fails with the head's failure.
//!
//! For the circuit of a `CircuitBreakerLayer::http`, the head decides, and a body that fails is one
//! more failure.
//!
//! While the body is read, its job is the current one: the code of the body stream sees it.
//!
//! # gRPC
//!
//! The status of a gRPC call with messages is in the trailers of its response. It counts as the
//! same status in the headers, by the [table of statuses](super#statuses): for the job, and for the
//! circuit. The body is [`Complete`](BodyEnd::Complete), and the reader gets the trailers.
//!
//! A status counts in a response with HTTP status 200 whose content type is that of gRPC, without a
//! status in its headers. A reader that drops the body before the trailers does not see the status,
//! and neither does the job.
//!
//! # Which layer ends the job
//!
//! The outermost layer of the stack. If that layer does not follow the body, the job ends at the
//! head. These layers follow it: [`JobLayer::http`](crate::JobLayer::http), `LogLayer::http`,
//! `ProgressLayer::http`, `CancelLayer::http`, `TimeoutLayer::http`, `TimeoutLayer::http_attempt`,
//! `CircuitBreakerLayer::http`, and a retry with `resume()`. Without `http()` they do not.
//!
//! Around a stack that is dispatched, the `Dispatcher` ends the job. It follows the body with
//! `Dispatcher::http`, and otherwise does not.
//!
//! # Keep or drop
//!
//! A call ends when its response is read or dropped. So drop a response whose body is of no
//! interest, and do not keep it.
//!
//! # Errors
//!
//! The body's own errors, as a [`BoxError`](crate::BoxError) with the error inside. So
//! [`Rejection::of`](crate::Rejection::of), [`find`](crate::find) and
//! [`ErrorKind::of`](super::ErrorKind::of) work on them. A [time limit](crate::timeout#http-bodies)
//! adds an `Elapsed` of its own.
//!
//! # reqwest
//!
//! The response stays a `reqwest::Response`. Each layer that follows its body boxes it once more.

mod at_body_end;
#[cfg(feature = "progress")]
mod byte_count;
#[cfg(feature = "cancel")]
mod cancel_guard;
#[cfg(feature = "circuit-breaker")]
mod circuit_guard;
#[cfg(feature = "dispatch")]
mod dispatch_guard;
mod end;
pub(crate) mod follow;
mod followed;
pub(crate) mod guard;
mod job_guard;
mod left;
#[cfg(feature = "progress")]
mod throttle;
#[cfg(feature = "timeout")]
mod time_guard;

#[cfg(any(feature = "cancel", feature = "circuit-breaker", feature = "timeout"))]
pub(crate) use self::at_body_end::follow;
#[cfg(feature = "progress")]
pub(crate) use self::byte_count::INTERVAL;
#[cfg(feature = "progress")]
pub use self::byte_count::{ByteCount, ByteGuard};
#[cfg(feature = "cancel")]
pub use self::cancel_guard::CancelGuard;
#[cfg(feature = "circuit-breaker")]
pub use self::circuit_guard::CircuitGuard;
#[cfg(feature = "dispatch")]
pub use self::dispatch_guard::DispatchGuard;
#[cfg(feature = "dispatch")]
pub(crate) use self::dispatch_guard::DispatchedBody;
#[cfg(feature = "timeout")]
pub use self::time_guard::TimeGuard;
pub use self::{
    at_body_end::AtBodyEnd, end::BodyEnd, follow::FollowResponse, followed::FollowedBody,
    job_guard::JobGuard,
};
