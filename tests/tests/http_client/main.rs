//! HTTP clients behind the layers.

mod client;
//! The layers around an HTTP client.

mod hints;
