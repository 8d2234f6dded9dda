//! HTTP clients: what a status or an error means, which requests may be repeated, and when.

mod authority;
#[cfg(feature = "retry")]
mod drain;
mod message;
#[cfg(feature = "reqwest-0-13")]
mod reqwest;

pub use self::{
    authority::{Authority, InvalidAuthority},
    message::{HttpRequest, HttpResponse},
};
