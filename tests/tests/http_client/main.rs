//! HTTP clients behind the layers.

mod client;
mod hints;
mod log;
