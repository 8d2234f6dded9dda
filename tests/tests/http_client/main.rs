//! HTTP clients behind the layers.

mod asks;
mod client;
mod hints;
mod log;
