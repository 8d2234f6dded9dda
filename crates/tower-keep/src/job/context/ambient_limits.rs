//! The time limits of the running code.

use tokio::time::Instant;

use super::{Restore, current_job::with_current, with};
use crate::job::limits::Limits;

/// The limits of the running code, if any.
#[inline(always)]
pub(crate) fn limits() -> Option<Limits> {
    with(|context| context.limits.get())
}

/// The deadline of the running code.
pub(crate) fn nearest_limit() -> Option<Instant> {
    limits().and_then(|limits| limits.nearest())
}

#[inline(always)]
pub(super) fn under(limits: Option<Limits>) -> Restore<Option<Limits>> {
    Restore::set(|context| &context.limits, limits)
}

/// Adds limits to the outer layers' limits.
#[inline(always)]
pub(crate) fn narrow(by: Limits) -> Restore<Option<Limits>> {
    let before = with(|context| {
        let around = context.limits.get();
        let narrowed = around.map_or(by, |around| around.and(by));
        context.limits.set(Some(narrowed));
        around
    });
    Restore {
        field: |context| &context.limits,
        before,
    }
}

/// Adds the deadline of the job to the outer layers' limits.
#[cfg(all(feature = "http", feature = "timeout"))]
#[inline(always)]
pub(crate) fn narrow_deadline(at: Instant) -> Restore<Option<Limits>> {
    let before = with(|context| {
        let around = context.limits.get();
        let narrowed = around.unwrap_or_default().with_deadline(at);
        context.limits.set(Some(narrowed));
        around
    });
    Restore {
        field: |context| &context.limits,
        before,
    }
}

/// Enters another stack. A limit on a job also bounds its child jobs. Any other limit bounds only
/// the code that it polls itself.
#[inline(always)]
pub(in crate::job) fn narrow_for_callee() -> Option<Restore<Option<Limits>>> {
    limits().map(|around| {
        let has_job = with_current(|job| job.is_some());
        under(Some(around.for_callee(has_job)))
    })
}
