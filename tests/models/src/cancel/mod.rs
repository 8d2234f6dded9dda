//! The jobs that run, of a whole layer and of a group.

pub mod replacing;
pub mod shutting_down;

// The library's own files, of which the models use a part. They are linted at home.

#[path = "../../../../crates/tower-keep/src/cancel/counts.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod counts;
#[path = "../../../../crates/tower-keep/src/cancel/groups.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod groups;
#[path = "../../../../crates/tower-keep/src/cancel/registry.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod registry;
#[path = "../../../../crates/tower-keep/src/cancel/running.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod running;
