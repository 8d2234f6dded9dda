//! The library's own files, by the names that they have there.

#[path = "../../../../crates/tower-keep/src/dedup/supersede/place/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod place;
#[path = "../../../../crates/tower-keep/src/dedup/supersede/places.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
pub(super) mod places;
