//! Telling a part of a job's code to stop, while the job itself may go on: the grace period of a time limit.
//!
//! The cancellation of a job is for good and for all of it. A limit of one attempt is neither: another attempt follows,
//! and code outside that limit is not meant. So a layer that gives a grace period has a halt of its own, which is
//! [ambient](super::context) for what it wraps, and which handles that are taken in there carry along.

use std::sync::{Arc, PoisonError};

use super::verdict::StopKind;
use crate::{
    event::JobId,
    sync::{
        CancellationToken, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

/// Tells the code inside one call of a layer to stop.
pub(crate) struct Halt {
    job: JobId,
    /// That of a layer around, in the same job: whatever halts it halts this one.
    around: Option<Arc<Halt>>,
    /// What it means to the layers inside.
    kind: StopKind,
    halted: AtomicBool,
    /// Made only when somebody waits. No other lock is taken under this one.
    token: Mutex<Option<CancellationToken>>,
}

impl Halt {
    /// For what is called in this job, inside the halt `around`.
    pub(crate) fn new(job: JobId, kind: StopKind, around: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            job,
            around,
            kind,
            halted: AtomicBool::new(false),
            token: Mutex::new(None),
        })
    }

    pub(crate) fn job(&self) -> JobId {
        self.job
    }

    /// Stops the code inside, but not the jobs that work for it: [`Core::halt`](super::core::Core::halt) does both.
    pub(super) fn fire(&self) {
        let token = {
            let token = self.lock();
            self.halted.store(true, Ordering::Release);
            token.clone()
        };
        if let Some(token) = token {
            token.cancel();
        }
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted_by().is_some()
    }

    /// The kind of the innermost halt that fired.
    pub(crate) fn halted_by(&self) -> Option<StopKind> {
        if self.halted.load(Ordering::Acquire) {
            Some(self.kind)
        } else {
            self.around.as_ref().and_then(|around| around.halted_by())
        }
    }

    /// Fires when this is halted, or one around, or with the job's own token.
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
        if self.is_halted() {
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
