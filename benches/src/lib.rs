//! What the benchmarks of tower-keep share: the cases, how they are driven, and the tables that say what they cost.
//!
//! `benches/overhead.rs` measures a call, `benches/threads.rs` two threads, `benches/server.rs` an axum server.

mod cases;
mod drive;
mod inner;
mod report;

pub use cases::{COMPARISONS, Case, Comparison, Goal, all};
pub use drive::{Subject, calls};
pub use inner::{Broken, Inner};
pub use report::print_tables;
