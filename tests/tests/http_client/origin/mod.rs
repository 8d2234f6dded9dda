//! What clients see of each fault of the origin, over HTTP/1.1 and HTTP/2.

pub(super) mod clients;
mod connections;
mod in_memory;
mod readme;
mod table;
