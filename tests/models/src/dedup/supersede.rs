//! The library's own files, by the names that they have there.

#[path = "../../../../crates/tower-keep/src/dedup/supersede/slot/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod slot;
#[path = "../../../../crates/tower-keep/src/dedup/supersede/slot_table.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
pub(super) mod slot_table;
