//! The time of a job's last activity, for idle limits. Recorded only for jobs under an idle limit.
//! Pure.

use std::time::Duration;

use super::nanos;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds from the job's beginning to its last activity. The two lowest values are states, not
/// times.
pub(super) struct Activity(AtomicU64);

const UNTIMED: u64 = 0;
/// The job waits for its next attempt.
const PAUSED: u64 = 1;
const BORN: u64 = 2;

impl Activity {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(UNTIMED))
    }

    pub(super) fn is_timed(&self) -> bool {
        self.0.load(Ordering::Acquire) != UNTIMED
    }

    pub(super) fn be_timed(&self) {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let _timed = self.0.compare_exchange(UNTIMED, BORN, order.0, order.1);
    }

    /// A child's activity also counts for its parent.
    pub(super) fn be_timed_as(&self, parent: &Self) {
        if parent.is_timed() {
            self.be_timed();
        }
    }

    pub(super) fn note(&self, since_born: Duration) {
        if self.is_timed() {
            let nanos = nanos(since_born).saturating_add(BORN);
            self.0.store(nanos, Ordering::Relaxed);
        }
    }

    pub(super) fn pause(&self) {
        self.0.store(PAUSED, Ordering::Relaxed);
    }

    pub(super) fn since_born(&self) -> Option<Duration> {
        let nanos = self.0.load(Ordering::Relaxed).checked_sub(BORN)?;
        Some(Duration::from_nanos(nanos))
    }
}
