//! Benchmarks of tower-keep: see `benches/overhead.rs`.
