//! The layers around an HTTP client.

mod hints;
