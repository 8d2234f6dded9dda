//! What tells the code that runs now to stop: a signal of a time limit, or the job's token.

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

/// That of the code that runs now, if it is in this job.
pub(crate) fn stop_signal_of(job: JobId) -> Option<Arc<StopSignal>> {
    with_stop_signal_of(job, |signal| Some(Arc::clone(signal)))
}

/// What told the code that runs now to stop, if it is in this job.
pub(crate) fn stopped_by(job: JobId) -> Option<VerdictKind> {
    with_stop_signal_of(job, |signal| signal.stopped_by())
}

/// Whether the code that runs now, in this job, is to stop: the job's token fired, or a limit gives this code a last
/// grace period.
#[inline]
pub(crate) fn is_stopping(job: &Core) -> bool {
    job.state().has_fired() || with_stop_signal_of(job.id(), |signal| signal.is_stopping())
}

#[inline(always)]
pub(crate) fn under_stop_signal(slot: &mut Option<Arc<StopSignal>>) -> Swapped<'_, StopSignal> {
    Swapped::new(|context| &context.signal, slot)
}
