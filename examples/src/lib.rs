//! The thinking parts of the examples, where `cargo test` reaches them: see `examples/fetch` for what uses them.

pub mod file_name;
pub mod human;
pub mod retry_after;
pub mod table;
