//! HTTP clients behind the layers.

mod client;
//! The layers around an HTTP client.

mod hints;
//! The layers of an HTTP client.

mod log;
