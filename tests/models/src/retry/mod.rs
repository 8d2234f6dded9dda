//! The retry budget counts calls without a lock, and gives retries out under one.

#[path = "../../../../crates/tower-keep/src/retry/budget/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod budget;

pub mod withdrawals;
