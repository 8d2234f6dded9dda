//! Limits in force for the code that runs now.
//!
//! They are ambient, like the job, and not kept with it: a limit is on a piece of code, and the next attempt of the same
//! job, or a layer outside, may be under another. So they nest as the layers do, whoever calls again. Those who take
//! code elsewhere take them along as far as they hold there.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

use super::{local::Local as _, scope};

thread_local! {
    static LIMITED: Cell<bool> = const { Cell::new(false) };
    /// Of use only where `LIMITED` is set.
    static LIMITS: Cell<Limits> = const { Cell::new(Limits::NONE) };
}

/// Limits of a stack, or of a piece of code.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// When the whole job is to be over.
    pub(crate) deadline: Option<Instant>,
    /// When the attempt or the step that runs is to be over, which the job may survive.
    pub(crate) until: Option<Instant>,
    /// Of each step that sets none itself.
    pub(crate) step: Option<Duration>,
}

impl Limits {
    const NONE: Self = Self {
        deadline: None,
        until: None,
        step: None,
    };

    /// Only a time at which the code that runs is to be over.
    pub(crate) fn until(until: Instant) -> Self {
        Self {
            until: Some(until),
            ..Self::NONE
        }
    }

    /// When the code under these limits is stopped.
    pub(crate) fn nearest(&self) -> Option<Instant> {
        nearest(self.deadline, self.until)
    }

    /// What these limits are to a stack that the code under them calls. A limit on a job is for those that work for it
    /// too; any other ends the code, and only what the code itself polls.
    fn for_callee(&self) -> Self {
        let is_jobs = scope::with_current(|job| job.is_some());
        Self {
            deadline: self.deadline.filter(|_| is_jobs),
            until: if is_jobs { self.until } else { self.nearest() },
            step: None,
        }
    }

    /// The nearer of each.
    fn and(self, other: Self) -> Self {
        Self {
            deadline: nearest(self.deadline, other.deadline),
            until: nearest(self.until, other.until),
            step: nearest(self.step, other.step),
        }
    }
}

/// The lesser, if there are two.
pub(crate) fn nearest<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// When the code that runs now is to be over.
pub(crate) fn nearest_in_force() -> Option<Instant> {
    limits().and_then(|limits| limits.nearest())
}

/// The limits in force, if there are any.
pub(crate) fn limits() -> Option<Limits> {
    LIMITED.read().then(|| LIMITS.read())
}

/// Puts limits in force, beside those that are or in their place, for as long as the guard lives. It holds those to go
/// back to, of which there are mostly none.
pub(crate) struct InForce(Option<Limits>);

impl InForce {
    /// Adds limits to those of the layers around.
    #[inline(always)]
    pub(crate) fn narrowed(by: Limits) -> Self {
        let around = limits();
        LIMITS.write(around.map_or(by, |around| around.and(by)));
        LIMITED.write(true);
        Self(around)
    }

    /// Another stack begins.
    #[inline(always)]
    pub(crate) fn for_callee() -> Option<Self> {
        limits().map(|around| {
            LIMITS.write(around.for_callee());
            Self(Some(around))
        })
    }

    /// In the place of all that are.
    pub(crate) fn only(only: Limits) -> Self {
        let around = limits();
        LIMITS.write(only);
        LIMITED.write(true);
        Self(around)
    }
}

impl Drop for InForce {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(around) = self.0 {
            LIMITS.write(around);
        }
        LIMITED.write(self.0.is_some());
    }
}
