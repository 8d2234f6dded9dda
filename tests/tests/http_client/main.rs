//! The layers of an HTTP client.

mod log;
