//! Telling a part of a job's code to stop, while the job itself may go on: the grace period of a time limit.
//!
//! The cancellation of a job is for good and for all of it. A limit of one attempt is neither: another attempt follows,
//! and code outside that limit is not meant. So a layer that gives a grace period has a halt of its own, which is
//! ambient for what it wraps, and which handles that are taken in there carry along.

use std::sync::{Arc, PoisonError};

use super::{core::Core, local::Slot, stop::StopKind};
use crate::{
    event::JobId,
    sync::{
        CancellationToken, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

thread_local! {
    static HALT: Slot<Halt> = const { Slot::new() };
}

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
    /// For what is called now, in this job.
    pub(crate) fn new(job: &Core, kind: StopKind) -> Arc<Self> {
        Arc::new(Self {
            job: job.id(),
            kind,
            around: current_of(job.id()),
            halted: AtomicBool::new(false),
            token: Mutex::new(None),
        })
    }

    /// Stops the code inside, and the jobs that work for it.
    pub(crate) fn fire(&self, job: &Core) {
        let token = {
            let token = self.lock();
            self.halted.store(true, Ordering::Release);
            token.clone()
        };
        if let Some(token) = token {
            token.cancel();
        }
        job.halt_children(self);
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
            || self
                .around
                .as_ref()
                .is_some_and(|around| around.is_halted())
    }

    fn halted_by(&self) -> Option<StopKind> {
        if self.halted.load(Ordering::Acquire) {
            Some(self.kind)
        } else {
            self.around.as_ref().and_then(|around| around.halted_by())
        }
    }

    /// Fires when this is halted, or one around, or the job is cancelled.
    pub(crate) fn token(&self, job: &Core) -> CancellationToken {
        let parent = match &self.around {
            Some(around) => around.token(job),
            None => job.token().clone(),
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

/// `look` must not enter or leave a halt.
#[inline]
fn with_current<T: Default>(look: impl FnOnce(Option<&Arc<Halt>>) -> T) -> T {
    HALT.try_with(|halt| halt.look(look)).unwrap_or_default()
}

/// The halt of the code that runs now, whatever its job.
pub(crate) fn current() -> Option<Arc<Halt>> {
    with_current(|halt| halt.cloned())
}

/// The halt of the code that runs now, if it is in this job.
pub(crate) fn current_of(job: JobId) -> Option<Arc<Halt>> {
    with_current(|halt| halt.filter(|halt| halt.job == job).cloned())
}

/// Whether the code that runs now is in this job and told to stop.
#[inline]
pub(crate) fn is_halted_in(job: JobId) -> bool {
    with_current(|halt| halt.is_some_and(|halt| halt.job == job && halt.is_halted()))
}

/// What told the code that runs now to stop, if it is in the job of which `job` gives the id.
#[inline]
pub(crate) fn halted_by(job: impl FnOnce() -> Option<JobId>) -> Option<StopKind> {
    with_current(|halt| {
        let halt = halt?;
        let by = halt.halted_by()?;
        (Some(halt.job) == job()).then_some(by)
    })
}

/// Exchanges the ambient halt with the one in `slot` for as long as the guard lives.
pub(crate) struct Entered<'a>(&'a mut Option<Arc<Halt>>);

impl<'a> Entered<'a> {
    pub(crate) fn new(slot: &'a mut Option<Arc<Halt>>) -> Self {
        exchange(slot);
        Self(slot)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        exchange(self.0);
    }
}

fn exchange(slot: &mut Option<Arc<Halt>>) {
    let _ = HALT.try_with(|halt| halt.swap(slot));
}
