//! HTTP clients behind the layers.

mod client;
