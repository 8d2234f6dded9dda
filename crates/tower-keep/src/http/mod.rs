//! HTTP clients: what a status or an error means, which requests may be repeated, and when.

mod authority;
mod hint;
mod message;
#[cfg(feature = "reqwest-0-13")]
mod reqwest;

pub use self::{
    authority::{Authority, InvalidAuthority},
    hint::{Hint, RetryHint, StandardHints},
    message::{HttpRequest, HttpResponse},
};
