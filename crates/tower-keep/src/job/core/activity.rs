//! When a job last showed that it goes on. Noted only for those jobs that somebody times.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Core, TIMED, nanos};
use crate::sync::atomic::Ordering;

/// Instead of a time: the job waits for its next attempt.
const PAUSED: u64 = u64::MAX;

impl Core {
    /// From now on every sign of life is noted.
    pub(crate) fn be_timed(&self) {
        self.set(TIMED);
    }

    /// As [`be_timed`](Self::be_timed), where the work is under way. By a list, as the children may be a chain of any
    /// length.
    pub(super) fn be_timed_with_children(self: &Arc<Self>) {
        let mut next = vec![Arc::downgrade(self)];
        while let Some(job) = next.pop() {
            if let Some(job) = job.upgrade() {
                job.be_timed();
                next.extend(job.children());
            }
        }
    }

    /// A child's signs of life are its parent's too.
    pub(super) fn be_timed_for(&self, parent: &Self) {
        if parent.has(TIMED) {
            self.set(TIMED);
        }
    }

    /// The job goes on: it reported, or a step or an attempt began or ended.
    #[inline]
    pub(crate) fn touch(&self) {
        if self.has(TIMED) {
            self.touch_family();
        }
    }

    #[cold]
    fn touch_family(&self) {
        let now = Instant::now();
        self.touch_at(now);
        let mut parent = self.parent();
        while let Some(job) = parent {
            job.touch_at(now);
            parent = job.parent();
        }
    }

    fn touch_at(&self, now: Instant) {
        let nanos = nanos(now.saturating_duration_since(self.born));
        self.activity.store(nanos, Ordering::Relaxed);
    }

    /// An attempt is over; until the next begins there is nothing that could go on.
    pub(super) fn pause(&self) {
        if self.has(TIMED) {
            self.touch_family();
            self.activity.store(PAUSED, Ordering::Relaxed);
        }
    }

    /// The last sign of life; `None` while the job waits for its next attempt.
    pub(crate) fn last_activity(&self) -> Option<Instant> {
        let own = self.own_activity()?;
        let followed = self.state().followed.clone();
        match followed.and_then(|followed| followed.upgrade()) {
            Some(followed) => followed.own_activity().map(|other| other.max(own)),
            None => Some(own),
        }
    }

    fn own_activity(&self) -> Option<Instant> {
        match self.activity.load(Ordering::Relaxed) {
            PAUSED => None,
            nanos => Some(self.born + Duration::from_nanos(nanos)),
        }
    }
}
