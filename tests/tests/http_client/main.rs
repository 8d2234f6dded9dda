//! HTTP clients behind the layers.

mod drain;
