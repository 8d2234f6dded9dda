//! Holds the README to its word: all its Rust code is compiled and run.

/// The README.
#[doc = include_str!("../../README.md")]
#[cfg(doctest)]
pub struct Readme;
