//! The layers around an HTTP client.

mod client;
mod hints;
mod log;
mod table;
