//! HTTP clients: what a status or an error means, which requests may be repeated, and when.

mod authority;
#[cfg(feature = "circuit-breaker")]
mod circuit_breaker;
mod classify;
mod error_kind;
mod hint;
#[cfg(feature = "hyper-1")]
mod hyper;
mod hint;
mod message;
#[cfg(feature = "retry")]
mod policy;
mod repeat;
#[cfg(feature = "reqwest-0-13")]
mod reqwest;
mod status;

pub use self::{
    authority::{Authority, InvalidAuthority},
    error_kind::ErrorKind,
    hint::{Hint, RetryHint, StandardHints},
    message::{HttpRequest, HttpResponse},
    repeat::RepeatRequest,
};
