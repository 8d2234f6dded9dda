//! The workspace's own tasks, run as `cargo xtask <task>`.
//!
//! `cargo xtask test` runs every test: it sees to the programs that the tests need, starts the
//! servers among them, runs `cargo test` over the workspace, and ends with one line of counts.
//!
//! `cargo xtask public-api` holds the public API of the published packages against the lists of it.

pub mod api;
pub mod counts;
pub mod install;
pub mod needs;
pub mod problem;
pub mod program;
mod scratch;
pub mod server;
pub mod suite;
pub mod task;
mod wait;
