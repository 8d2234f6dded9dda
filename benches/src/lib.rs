//! Benchmarks of tower-keep: see `benches/overhead.rs`, which measures, and the table that it prints.

mod report;

pub use report::{Case, Peers, Subject, print_table};
