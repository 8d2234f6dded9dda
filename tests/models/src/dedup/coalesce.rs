//! The library's own files, by the names that they have there.

#[path = "../../../../crates/tower-keep/src/dedup/coalesce/flight/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
pub(super) mod flight;
