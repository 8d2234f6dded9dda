//! The retry budget counts calls without a lock, and gives retries out under one.

#[path = "../../../../crates/tower-keep/src/retry/budget/ledger/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod ledger;

pub mod withdrawals;
