//! The synchronization types of the state machines, under one name. The models under `tests/models`
//! replace them by loom's types and check the same files.

pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock, atomic};

pub(crate) use futures_util::task::AtomicWaker;
pub(crate) use tokio_util::sync::CancellationToken;

/// The number of shards of a table of jobs.
pub(crate) const SHARDS: usize = 16;
