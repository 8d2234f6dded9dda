//! The locks and atomics of the pure state machines, by one name, so that the models under `tests/models` can check the
//! same files with loom's in their place.

pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
