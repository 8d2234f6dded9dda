//! The stop signal of a grace period: it stops one part of a job's code while the job goes on.
//!
//! Cancelling a job is final and stops all of it. The limit of an attempt is neither: another
//! attempt may follow, and code outside the limit is not affected. So a layer with a grace period
//! has its own signal. It is [ambient](super::context) for the wrapped code, and handles taken
//! there keep it.

use std::sync::{Arc, PoisonError};

use super::verdict::VerdictKind;
use crate::{
    event::JobId,
    sync::{
        CancellationToken, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

/// Signals the code inside one call of a layer to stop.
pub(crate) struct StopSignal {
    job: JobId,
    /// The signal of an outer layer in the same job. It stops this one too.
    outer: Option<Arc<StopSignal>>,
    /// The verdict that inner layers see.
    kind: VerdictKind,
    stopped: AtomicBool,
    /// Made for the first waiter. No other lock is taken under this one.
    token: Mutex<Option<CancellationToken>>,
}

impl StopSignal {
    /// A signal for a call in this job, inside the signal `outer`.
    pub(crate) fn new(job: JobId, kind: VerdictKind, outer: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            job,
            outer,
            kind,
            stopped: AtomicBool::new(false),
            token: Mutex::new(None),
        })
    }

    pub(crate) fn job(&self) -> JobId {
        self.job
    }

    /// Stops the code inside, but not its child jobs: [`Core::stop_by`](super::core::Core::stop_by)
    /// stops both.
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
            self.outer.as_ref().and_then(|outer| outer.stopped_by())
        }
    }

    /// A token that fires with this signal, with an outer signal, or with the job's own token.
    pub(crate) fn token(&self, of_job: impl FnOnce() -> CancellationToken) -> CancellationToken {
        let parent = match &self.outer {
            Some(outer) => outer.token(of_job),
            None => of_job(),
        };
        let token = {
            let mut token = self.lock();
            token.get_or_insert_with(|| parent.child_token()).clone()
        };
        // `fire` sets the flag, then looks for the token under the lock. So one of the two cancels
        // the token.
        if self.is_stopping() {
            token.cancel();
        }
        token
    }

    /// Whether `other` is this signal or an outer one.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || self
                .outer
                .as_ref()
                .is_some_and(|outer| outer.is_within(other))
    }

    fn lock(&self) -> MutexGuard<'_, Option<CancellationToken>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
