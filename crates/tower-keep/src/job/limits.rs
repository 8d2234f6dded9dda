//! Limits set by layers of a stack that has no job so far, kept for the job that a layer below them begins.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

thread_local! {
    static LIMITED: Cell<bool> = const { Cell::new(false) };
    /// Of use only where `LIMITED` is set.
    static LIMITS: Cell<Limits> = const { Cell::new(Limits { deadline: None, step: None }) };
}

/// Limits of a stack that has no job yet, for the job that begins below them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) deadline: Option<Instant>,
    pub(crate) step: Option<Duration>,
}

impl Limits {
    /// The nearer of each.
    fn and(self, other: Self) -> Self {
        fn nearest<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            match (one, other) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            }
        }
        Self {
            deadline: nearest(self.deadline, other.deadline),
            step: nearest(self.step, other.step),
        }
    }
}

/// The limits in force, if there are any.
pub(crate) fn limits() -> Option<Limits> {
    LIMITED.get().then(|| LIMITS.get())
}

/// Puts limits in force, beside those that are or in their place, for as long as the guard lives. It holds those to go
/// back to, of which there are mostly none.
pub(crate) struct InForce(Option<Limits>);

impl InForce {
    /// Adds limits to those of the layers around.
    #[inline(always)]
    pub(crate) fn narrowed(by: Limits) -> Self {
        let around = limits();
        LIMITS.set(around.map_or(by, |around| around.and(by)));
        LIMITED.set(true);
        Self(around)
    }

    /// Lets none be in force: another stack begins.
    #[inline(always)]
    pub(crate) fn none() -> Option<Self> {
        LIMITED.replace(false).then(|| Self(Some(LIMITS.get())))
    }
}

impl Drop for InForce {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(around) = self.0 {
            LIMITS.set(around);
        }
        LIMITED.set(self.0.is_some());
    }
}
