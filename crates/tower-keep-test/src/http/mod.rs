//! An HTTP origin that misbehaves on demand.

mod answer;
mod body;
mod connection;
mod error_code;
mod h1;
mod h2;
mod listener;
mod origin;
mod received;
mod reply;
mod script;
mod socket;
mod state;

pub use self::{
    error_code::ErrorCode,
    origin::{Connector, Origin},
    received::Received,
    reply::Reply,
    socket::InMemoryStream,
};
