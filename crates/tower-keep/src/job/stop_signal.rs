//! Telling a part of a job's code to stop, while the job itself may go on: the grace period of a time limit.
//!
//! The cancellation of a job is for good and for all of it. A limit of one attempt is neither: another attempt follows,
//! and code outside that limit is not meant. So a layer that gives a grace period has a signal of its own, which is
//! [ambient](super::context) for what it wraps, and which handles that are taken in there carry along.

use std::sync::{Arc, PoisonError};

use super::verdict::VerdictKind;
use crate::{
    event::JobId,
    sync::{
        CancellationToken, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

/// Tells the code inside one call of a layer to stop.
pub(crate) struct StopSignal {
    job: JobId,
    /// That of a layer around, in the same job: whatever signals it signals this one.
    around: Option<Arc<StopSignal>>,
    /// What it means to the layers inside.
    kind: VerdictKind,
    stopped: AtomicBool,
    /// Made only when somebody waits. No other lock is taken under this one.
    token: Mutex<Option<CancellationToken>>,
}

impl StopSignal {
    /// For what is called in this job, inside the signal `around`.
    pub(crate) fn new(job: JobId, kind: VerdictKind, around: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            job,
            around,
            kind,
            stopped: AtomicBool::new(false),
            token: Mutex::new(None),
        })
    }

    pub(crate) fn job(&self) -> JobId {
        self.job
    }

    /// Stops the code inside, but not the jobs that work for it: [`Core::stop_by`](super::core::Core::stop_by) does both.
    pub(super) fn fire(&self) {
        let token = {
            let token = self.lock();
            self.stopped.store(true, Ordering::Release);
            token.clone()
        };
        if let Some(token) = token {
            token.cancel();
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopped_by().is_some()
    }

    /// The kind of the innermost signal that fired.
    pub(crate) fn stopped_by(&self) -> Option<VerdictKind> {
        if self.stopped.load(Ordering::Acquire) {
            Some(self.kind)
        } else {
            self.around.as_ref().and_then(|around| around.stopped_by())
        }
    }

    /// Fires when this is stopped, or one around, or with the job's own token.
    pub(crate) fn token(&self, of_job: impl FnOnce() -> CancellationToken) -> CancellationToken {
        let parent = match &self.around {
            Some(around) => around.token(of_job),
            None => of_job(),
        };
        let token = {
            let mut token = self.lock();
            token.get_or_insert_with(|| parent.child_token()).clone()
        };
        // `fire` looks for the token after it set the flag, under the lock: one of the two cancels it.
        if self.is_stopping() {
            token.cancel();
        }
        token
    }

    /// Whether `other` is this one or around it.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || self
                .around
                .as_ref()
                .is_some_and(|around| around.is_within(other))
    }

    fn lock(&self) -> MutexGuard<'_, Option<CancellationToken>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
