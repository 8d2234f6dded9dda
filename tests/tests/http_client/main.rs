//! HTTP clients behind the layers.

mod asks;
mod client;
mod drain;
mod hints;
mod log;
