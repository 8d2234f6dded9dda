//! `ShutdownReport`: how the jobs ended at a shutdown. Pure.

use crate::event::CancelReason;

/// How the jobs ended at a [`shutdown`](super::CancelHandle::shutdown), running jobs and later
/// calls.
///
/// Each running job is counted in one of the first three fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Jobs that ended by themselves: with success, with failure or by a time limit.
    pub finished: usize,
    /// Jobs that the shutdown cancelled.
    pub cancelled: usize,
    /// Jobs that were cancelled for another reason meanwhile, such as a request or a caller that
    /// left.
    pub cancelled_otherwise: usize,
    /// Calls that were refused.
    pub refused: usize,
}

impl ShutdownReport {
    /// Counts a job that ran, by its cancellation reason.
    pub(super) fn count(&mut self, reason: Option<&CancelReason>) {
        match reason {
            // A job that its own time limit stopped ends as failed.
            None | Some(CancelReason::TimedOut) => self.finished += 1,
            Some(CancelReason::Shutdown) => self.cancelled += 1,
            Some(_) => self.cancelled_otherwise += 1,
        }
    }
}
