//! `InFlight`: a key in flight, as the handle lists it.

use std::sync::PoisonError;

use tokio::time::Instant;

use crate::{event::JobId, sync::Mutex};

/// A key in flight, stored for the handle.
pub(super) struct ListedKey<K> {
    /// Locked only to clone the key for the handle, so that it need not be `Sync`. No call waits
    /// for this lock.
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

/// A key in flight, as it was when the handle listed it.
///
/// Returned by [`DedupHandle::in_flight`](super::DedupHandle::in_flight).
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

    /// The number of callers that joined and wait for the result, without the leader.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.followers
    }

    /// When the call came, on tokio's clock.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether the call waits for quiet, or for the running call, in
    /// [`debounce`](super::DedupLayer::debounce) mode. A running call with the same key is listed
    /// separately.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting
    }
}
