//! HTTP clients: what a status or an error means, which requests may be repeated, and when.

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
