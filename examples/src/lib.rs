//! The examples of tower-keep: see `examples/fetch`.
