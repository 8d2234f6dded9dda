//! HTTP clients behind the layers.

mod asks;
mod body_traps;
mod client;
mod drain;
mod errors;
mod exchanges;
mod follow;
mod follow_cancel;
mod follow_circuit;
mod follow_timeout;
mod grpc_deadlines;
mod grpc_trailers;
mod hints;
mod idempotency_key;
mod log;
mod origin;
mod passes_through;
mod replay;
mod review;
mod send_deadline;
mod table;
