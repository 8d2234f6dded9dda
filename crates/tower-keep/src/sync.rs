//! What threads meet at in the state machines, by one name, so that the models under `tests/models` can check the same
//! files with loom's in their place.

pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock, atomic};

pub(crate) use futures_util::task::AtomicWaker;
pub(crate) use tokio_util::sync::CancellationToken;

/// How many threads begin jobs without meeting in a table of jobs.
pub(crate) const SHARDS: usize = 16;
