//! HTTP clients behind the layers.

mod client;
mod errors;
mod exchanges;
mod hints;
mod log;
