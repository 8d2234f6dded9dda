//! The stop signal of the running code: from a time limit, or from the job's token.

use std::sync::Arc;

use super::{Swapped, with};
use crate::{
    event::JobId,
    job::{core::Core, stop_signal::StopSignal, verdict::VerdictKind},
};

/// The ambient signal to stop, whatever its job.
pub(crate) fn signal() -> Option<Arc<StopSignal>> {
    with(|context| context.signal.get())
}

#[inline]
fn with_stop_signal_of<T: Default>(job: JobId, look: impl FnOnce(&Arc<StopSignal>) -> T) -> T {
    with(|context| {
        (context.signal).look(|signal| signal.filter(|signal| signal.job() == job).map(look))
    })
    .unwrap_or_default()
}

/// The stop signal of the running code, if it is in this job.
pub(crate) fn stop_signal_of(job: JobId) -> Option<Arc<StopSignal>> {
    with_stop_signal_of(job, |signal| Some(Arc::clone(signal)))
}

/// Why the running code was stopped, if it is in this job.
pub(crate) fn stopped_by(job: JobId) -> Option<VerdictKind> {
    with_stop_signal_of(job, |signal| signal.stopped_by())
}

/// Whether the running code of this job should stop: the job's token fired, or the code is in its
/// grace period.
#[inline]
pub(crate) fn is_stopping(job: &Core) -> bool {
    job.state().has_fired() || with_stop_signal_of(job.id(), |signal| signal.is_stopping())
}

#[inline(always)]
pub(crate) fn under_stop_signal(slot: &mut Option<Arc<StopSignal>>) -> Swapped<'_, StopSignal> {
    Swapped::new(|context| &context.signal, slot)
}
