//! HTTP clients behind the layers.

mod client;
mod exchanges;
mod hints;
mod log;
