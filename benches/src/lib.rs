//! What the benchmarks of tower-keep share: the cases, and how they are driven.
//!
//! `benches/overhead` measures a call, `benches/instructions.rs` counts its instructions,
//! `benches/threads.rs` has two threads call one service, and `benches/server.rs` puts the layers
//! into an axum server.

pub mod cases;
mod drive;
mod inner;

pub use cases::{ADDED, Added, COMPARISONS, Case, Comparison, Goal, Stack, all};
pub use drive::{Subject, calls};
pub use inner::{Broken, Inner};

/// Whether this is a run that shows that everything works, and measures little, by the arguments
/// that cargo passes and criterion knows.
pub fn quick() -> bool {
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    given("--test") || given("--quick") || !given("--bench")
}

/// What the best tenth of the rounds took at most. A round in which the machine had other work is
/// none of these.
pub fn best_tenth(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 10]
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
