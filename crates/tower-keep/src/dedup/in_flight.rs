//! A key in flight, as it is noted and as the handle shows it.

use std::sync::PoisonError;

use tokio::time::Instant;

use crate::{event::JobId, sync::Mutex};

/// A key in flight, for the handle.
pub(super) struct ListedKey<K> {
    /// Locked only to clone it for the handle, so that it need not be `Sync`; no call waits for that.
    pub(super) key: Mutex<K>,
    pub(super) since: Instant,
}

impl<K: Clone> ListedKey<K> {
    pub(super) fn in_flight(
        &self,
        job: Option<JobId>,
        followers: usize,
        waiting: bool,
    ) -> InFlight<K> {
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        InFlight::new(key.clone(), job, followers, self.since, waiting)
    }
}

/// A key in flight, as it was when the handle was asked. Got from [`DedupHandle::in_flight`](super::DedupHandle::in_flight).
#[derive(Clone, Debug)]
pub struct InFlight<K> {
    key: K,
    job: Option<JobId>,
    followers: usize,
    since: Instant,
    waiting: bool,
}

impl<K> InFlight<K> {
    pub(crate) fn new(
        key: K,
        job: Option<JobId>,
        followers: usize,
        since: Instant,
        waiting: bool,
    ) -> Self {
        Self {
            key,
            job,
            followers,
            since,
            waiting,
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The job that executes it; `None` if no layer of its stack tracks it.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        self.job
    }

    /// How many callers joined and wait for the result. The leader is not counted.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.followers
    }

    /// Since when, on tokio's clock.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether the call waits for quiet, or for the running call, in [`debounce`](super::DedupLayer::debounce) mode. A
    /// running call with the same key is listed separately.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting
    }
}
