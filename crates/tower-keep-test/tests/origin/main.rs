//! The origin that misbehaves, byte for byte and frame for frame.

mod connections;
mod every_fault;
mod h1;
mod h2_client;
mod http2;
mod script;
