//! When a job last showed that it goes on. Noted only for those jobs that an idle limit times.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::{Core, family, nanos};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds from the job's beginning to the last sign of life, after two that are no times.
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

    fn be_timed(&self) {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let _timed = self.0.compare_exchange(UNTIMED, BORN, order.0, order.1);
    }

    /// A child's signs of life are its parent's too.
    pub(super) fn be_timed_as(&self, parent: &Self) {
        if parent.is_timed() {
            self.be_timed();
        }
    }

    fn note(&self, since_born: Duration) {
        let nanos = nanos(since_born).saturating_add(BORN);
        self.0.store(nanos, Ordering::Relaxed);
    }

    fn pause(&self) {
        self.0.store(PAUSED, Ordering::Relaxed);
    }

    fn since_born(&self) -> Option<Duration> {
        let nanos = self.0.load(Ordering::Relaxed).checked_sub(BORN)?;
        Some(Duration::from_nanos(nanos))
    }
}

impl Core {
    /// From now on every sign of life is noted.
    pub(crate) fn be_timed(&self) {
        self.activity.be_timed();
    }

    /// The job goes on: it reported, or a step or an attempt began or ended.
    #[inline]
    pub(crate) fn touch(&self) {
        if self.activity.is_timed() {
            touch_family(self);
        }
    }

    /// The last sign of life; `None` while the job waits for its next attempt.
    pub(crate) fn last_activity(&self) -> Option<Instant> {
        let active = |job: &Self| Some(job.born + job.activity.since_born()?);
        let own = active(self)?;
        let followed = self
            .lock()
            .rare
            .as_ref()
            .and_then(|rare| rare.followed.clone());
        match followed.and_then(|followed| followed.upgrade()) {
            Some(followed) => active(&followed).map(|other| other.max(own)),
            None => Some(own),
        }
    }
}

#[cold]
fn touch_family(job: &Core) {
    let now = Instant::now();
    let note = |job: &Core| job.activity.note(now.saturating_duration_since(job.born));
    note(job);
    family::each_above(job, note);
}

/// An attempt is over; until the next begins there is nothing that could go on.
pub(super) fn pause(job: &Core) {
    if job.activity.is_timed() {
        touch_family(job);
        job.activity.pause();
    }
}

/// Times the job, whose work is under way, and those that work for it. By a list, as the children may be a chain of any
/// length.
pub(super) fn time_with_children(job: &Arc<Core>) {
    let mut next = vec![Arc::downgrade(job)];
    while let Some(job) = next.pop().map(|job| Weak::upgrade(&job)) {
        if let Some(job) = job {
            job.be_timed();
            next.extend(family::children(&job));
        }
    }
}
