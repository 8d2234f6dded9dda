//! Limits in force for the code that runs now: for the job that a layer below begins, where the stack has none so far,
//! and for the code's own question how much time is left.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

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

    /// What these limits are to a stack that the code under them calls: whatever ends the code ends that stack's job.
    pub(crate) fn for_callee(&self) -> Self {
        Self {
            deadline: self.nearest(),
            ..Self::NONE
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

    /// Another stack begins.
    #[inline(always)]
    pub(crate) fn for_callee() -> Option<Self> {
        limits().map(|around| {
            LIMITS.set(around.for_callee());
            Self(Some(around))
        })
    }

    /// In the place of all that are.
    pub(crate) fn only(only: Limits) -> Self {
        let around = limits();
        LIMITS.set(only);
        LIMITED.set(true);
        Self(around)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::JobName,
        job::{scope, seat::Seat},
    };

    fn deadline() -> Option<Instant> {
        scope::current().and_then(|job| job.deadline())
    }

    /// What begins a job under a limit on its own code gives the job that much time, and a job below a layer with a
    /// limit on each attempt outlives the attempt.
    #[test]
    fn a_job_is_under_the_limits_of_the_code_that_begins_it() {
        let at = Instant::now() + Duration::from_secs(60);
        let begun = || Seat::begin(JobName::EMPTY, None, None, deadline).1;
        {
            let _step = InForce::narrowed(Limits::until(at));
            assert_eq!(begun(), Some(at));
            assert_eq!(Seat::call(begun).1, Some(at));
        }
        assert_eq!(Seat::call_limited(Limits::until(at), begun).1, None);
        let overall = Limits {
            deadline: Some(at),
            ..Limits::NONE
        };
        assert_eq!(Seat::call_limited(overall, begun).1, Some(at));
        assert!(limits().is_none());
    }
}
