//! The jobs that run, of a whole layer and of a group.

pub mod replacing;
pub mod shutting_down;

// The library's own files, of which the models use a part. They are linted at home.

#[path = "../../../../crates/tower-keep/src/cancel/group_handle.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod group_handle;
#[path = "../../../../crates/tower-keep/src/cancel/groups.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod groups;
#[path = "../../../../crates/tower-keep/src/cancel/registry.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod registry;
#[path = "../../../../crates/tower-keep/src/cancel/running_job.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod running_job;
#[path = "../../../../crates/tower-keep/src/cancel/shutdown_report.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod shutdown_report;
