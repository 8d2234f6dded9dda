//! HTTP clients: what a status or an error means, which requests may be repeated, and when.

mod authority;
mod exchange;
#[cfg(feature = "log")]
mod log;
mod message;
#[cfg(feature = "reqwest-0-13")]
mod reqwest;

#[cfg(feature = "serde")]
pub(crate) use self::exchange::known_method;
pub use self::{
    authority::{Authority, InvalidAuthority},
    exchange::HttpExchange,
    message::{HttpRequest, HttpResponse},
};
