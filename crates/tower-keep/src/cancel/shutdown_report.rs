//! The counts of a shutdown. Pure.

use crate::event::CancelReason;

/// What became of the jobs at a [`shutdown`](super::CancelHandle::shutdown): of the running jobs and of later ones.
///
/// Each job that ran is in one of the first three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Came to an end of their own, in success or failure or by a time limit.
    pub finished: usize,
    /// Were cancelled by the shutdown.
    pub cancelled: usize,
    /// Were cancelled for another reason meanwhile: by request, say, or because their callers went away.
    pub cancelled_otherwise: usize,
    /// Calls that were turned away.
    pub refused: usize,
}

impl ShutdownReport {
    /// How a job that ran ended, by why it was cancelled, if it was.
    pub(super) fn count(&mut self, reason: Option<&CancelReason>) {
        match reason {
            // A job that its own time limit stopped ends as failed.
            None | Some(CancelReason::TimedOut) => self.finished += 1,
            Some(CancelReason::Shutdown) => self.cancelled += 1,
            Some(_) => self.cancelled_otherwise += 1,
        }
    }
}
