//! HTTP clients: what a status or an error means, which requests may be repeated, and when.

mod authority;
pub mod idempotency_key;
mod message;
pub mod replay;
#[cfg(feature = "reqwest-0-13")]
mod reqwest;
pub mod send_deadline;

pub use self::{
    authority::{Authority, InvalidAuthority},
    message::{HttpRequest, HttpResponse},
};
