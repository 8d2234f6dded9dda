//! An admitted call: its outcome is recorded whichever way it ends.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    shared::Shared,
    state::{Admission, Verdict},
};
use crate::{
    classify::Outcome,
    event::JobId,
    job::{
        context,
        core::Core,
        stop::{self, StopKind},
    },
};

pub(super) fn of_stop(kind: StopKind, counting: Counting) -> Outcome {
    match kind {
        StopKind::TimedOut if counting.ignore_timeouts => Outcome::Ignored,
        StopKind::TimedOut
        | StopKind::AttemptTimedOut
        | StopKind::Panicked
        | StopKind::Failure
        | StopKind::Forbidden => Outcome::Failure,
        StopKind::CircuitOpen | StopKind::Duplicate | StopKind::Cancelled | StopKind::Rejected => {
            Outcome::Ignored
        }
    }
}

/// What counts in addition to what the classifier says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counting {
    pub(super) ignore_timeouts: bool,
    pub(super) count_dropped: bool,
}

/// Records the outcome of an admitted call, whichever way it ends.
pub(super) struct Admitted {
    shared: Arc<Shared>,
    /// `None` once it is recorded.
    admission: Option<Admission>,
    pub(super) counting: Counting,
    /// Code of the inner service or of the classifier runs: if this is dropped now, it panicked.
    pub(super) guarding: bool,
    /// The call was made, rather than only reserved.
    called: bool,
    /// The job that is ambient where a layer of the stack drops this.
    job: Option<JobId>,
}

impl Admitted {
    pub(super) fn new(shared: Arc<Shared>, admission: Admission, counting: Counting) -> Self {
        Self {
            shared,
            admission: Some(admission),
            counting,
            guarding: false,
            called: false,
            job: None,
        }
    }

    pub(super) fn set_job(&mut self, job: Option<JobId>) {
        self.job = job;
    }

    pub(super) fn is_probe(&self) -> bool {
        self.admission.as_ref().is_some_and(Admission::is_probe)
    }

    pub(super) fn is_uncounted(&self) -> bool {
        self.admission.as_ref().is_some_and(Admission::is_uncounted)
    }

    /// Whether nothing has happened to the circuit since, and the place is still this one's.
    pub(super) fn is_valid(&self) -> bool {
        let shared = &self.shared;
        (self.admission.as_ref())
            .is_some_and(|admission| shared.circuit.is_valid(admission, || shared.now()))
    }

    /// Whether the circuit was opened by hand.
    pub(super) fn is_forced_open(&self) -> bool {
        self.shared.circuit.is_forced_open(|| self.shared.now())
    }

    /// The call for which the place was reserved is made.
    pub(super) fn begin(&mut self) {
        if let Some(admission) = &mut self.admission {
            self.shared.circuit.begin(admission, || self.shared.now());
        }
    }

    /// Runs code of the inner service, within the scope of its job if that is `known`. A panic is
    /// recorded while the job can still get an event of it: the seat around ends the job.
    #[inline(always)]
    pub(super) fn guarded<T>(&mut self, known: bool, code: impl FnOnce() -> T) -> T {
        self.called = true;
        let mut guard = Panicking {
            admitted: Some(self),
            known,
        };
        let done = code();
        guard.admitted = None;
        done
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Counts the outcome. The caller carries the verdict out.
    #[inline(always)]
    pub(super) fn record(&mut self, outcome: Outcome, asked: Option<Duration>) -> Option<Verdict> {
        let admission = self.admission.take()?;
        let shared = &*self.shared;
        let verdict = (shared.circuit).record(&admission, outcome, asked, || shared.now());
        if verdict.is_none() && admission.is_probe() {
            // Its place is free for another.
            shared.wake();
        }
        verdict
    }

    /// Counts the outcome of a call that has no result.
    #[inline(always)]
    fn record_without_result(&mut self, outcome: Outcome, cause: &str, job: Option<&Core>) {
        match self.record(outcome, None) {
            None => {}
            Some(Verdict::Closed(transition)) => self.shared.announce(&transition, job),
            Some(Verdict::Trips(trip)) => {
                let cause = trip.reason.text().unwrap_or_else(|| cause.into());
                self.shared.open_for(trip, cause, job);
            }
        }
    }
}

impl Drop for Admitted {
    #[inline(always)]
    fn drop(&mut self) {
        if self.admission.is_some() {
            let (outcome, cause) = match stop::dropped_by() {
                _ if self.guarding => (Outcome::Failure, "the classification of a call panicked"),
                Some(kind) if self.called => (of_stop(kind, self.counting), kind.describe()),
                None if self.called && self.counting.count_dropped => {
                    (Outcome::Failure, "the caller dropped a call")
                }
                // Nor does a place count that was reserved and never called.
                _ => (Outcome::Ignored, ""),
            };
            // The drop may come in the scope of another job.
            let job = context::current().filter(|job| self.job == Some(job.id()));
            self.record_without_result(outcome, cause, job.as_deref());
        }
    }
}

/// Records a failure if it is dropped by a panic.
struct Panicking<'a> {
    admitted: Option<&'a mut Admitted>,
    known: bool,
}

impl Drop for Panicking<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(admitted) = self.admitted.take() {
            let job = context::current().filter(|_| self.known);
            admitted.record_without_result(Outcome::Failure, "a call panicked", job.as_deref());
        }
    }
}

impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted")
            .field("admission", &self.admission)
            .finish_non_exhaustive()
    }
}
