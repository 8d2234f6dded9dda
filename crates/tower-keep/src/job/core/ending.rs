//! How a job ends: once, on every path.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Core, ENDED, OBSERVED};
use crate::event::{CancelReason, EventKind, FailureCause, JobId};

/// How a job ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Succeeded,
    Failed {
        cause: FailureCause,
        error: Arc<str>,
    },
    Cancelled {
        reason: CancelReason,
    },
}
/// A job whose work goes on without its caller. The first of the two to end waits for the other.
#[derive(Default)]
pub(super) struct Detached {
    owner_gone: bool,
    outcome: Option<Ending>,
}
impl Core {
    /// Ends the job, once. `make` runs only if somebody watches, and outside the lock.
    ///
    /// A cancelled job ends as cancelled whatever its result, except that an overall timeout ends it as failed.
    pub(crate) fn end(&self, make: impl FnOnce() -> Ending) {
        self.end_as(make, false);
    }

    /// The caller dropped the job's future. What is not detached or shared stops.
    pub(crate) fn caller_gone(&self) {
        {
            let mut state = self.state();
            if let Some(detached) = &mut state.detached {
                detached.owner_gone = true;
                let Some(outcome) = detached.outcome.take() else {
                    return;
                };
                drop(state);
                self.end(|| outcome);
                return;
            }
        }
        self.cancel_as(CancelReason::CallerGone, true);
        self.end_as(
            || Ending::Cancelled {
                reason: CancelReason::CallerGone,
            },
            true,
        );
    }

    fn end_as(&self, make: impl FnOnce() -> Ending, dropped: bool) {
        let ending = if self.has(OBSERVED) {
            Some(make())
        } else {
            None
        };
        let parent = {
            let mut state = self.state();
            if self.set(ENDED) {
                return;
            }
            if let Some(ending) = ending {
                let at = Instant::now();
                let cancelled = state
                    .reason
                    .clone()
                    .filter(|reason| *reason != CancelReason::TimedOut);
                let dropped = dropped || state.dropped;
                let kind = match (cancelled, ending) {
                    (Some(reason), _) => EventKind::Cancelled { reason, dropped },
                    (None, Ending::Succeeded) => EventKind::Succeeded,
                    (None, Ending::Failed { cause, error }) => EventKind::Failed { cause, error },
                    // Cancelled because the job around it timed out: the reason is known after all.
                    (None, Ending::Cancelled { reason }) => EventKind::Cancelled {
                        reason: state.reason.clone().unwrap_or(reason),
                        dropped,
                    },
                };
                self.push(&mut state, kind, at);
            }
            state.children = None;
            let parent = state.parent.take();
            self.deliver(state);
            parent
        };
        if let Some(parent) = parent {
            parent.forget_child(self.id);
        }
    }

    fn forget_child(&self, child: JobId) {
        if let Some(children) = &mut self.state().children {
            children.remove(&child);
        }
    }

    /// The work goes on without its caller and ends through [`detached_done`](Self::detached_done).
    pub(crate) fn detach(&self) {
        self.state().detached = Some(Box::default());
    }

    /// The detached work ended; if its caller is gone, so does the job.
    pub(crate) fn detached_done(&self, outcome: Ending) {
        {
            let mut state = self.state();
            match &mut state.detached {
                Some(detached) if !detached.owner_gone => {
                    detached.outcome = Some(outcome);
                    return;
                }
                _ => {}
            }
        }
        self.end(|| outcome);
    }
}
