//! HTTP clients behind the layers.

mod idempotency_key;
mod passes_through;
mod replay;
mod send_deadline;
