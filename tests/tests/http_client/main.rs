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
mod follow_dispatch;
mod follow_frames;
mod follow_timeout;
mod grpc_deadlines;
mod grpc_trailers;
mod hints;
mod http_get;
mod idempotency_key;
mod log;
mod origin;
mod passes_through;
mod replay;
mod resume;
mod review;
mod send_deadline;
mod table;
mod uploads;
