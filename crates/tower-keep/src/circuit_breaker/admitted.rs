//! An admitted call: its outcome is recorded whichever way it ends.

use std::{fmt, mem, time::Duration};

use super::{
    shared::{Shared, SharedRef},
    state::{Admission, OutcomeEffect},
};
use crate::{
    classify::Outcome,
    event::JobId,
    job::{
        context,
        verdict::{self, VerdictKind},
    },
};

pub(super) fn of_stop(kind: VerdictKind, counting: Counting) -> Outcome {
    match kind {
        VerdictKind::TimedOut if counting.ignore_timeouts => Outcome::Ignored,
        VerdictKind::TimedOut
        | VerdictKind::AttemptTimedOut
        | VerdictKind::Panicked
        | VerdictKind::Failure
        | VerdictKind::Forbidden => Outcome::Failure,
        VerdictKind::CircuitOpen
        | VerdictKind::Duplicate
        | VerdictKind::Cancelled
        | VerdictKind::Rejected => Outcome::Ignored,
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
    shared: SharedRef,
    /// `None` once it is recorded.
    admission: Option<Admission>,
    pub(super) counting: Counting,
    /// The classifier runs: if this is dropped now, it panicked.
    pub(super) classifying: bool,
    /// The job that is ambient where a layer of the stack drops this.
    job: Option<JobId>,
}

impl Admitted {
    #[inline(always)]
    pub(super) fn new(
        shared: SharedRef,
        admission: Option<Admission>,
        counting: Counting,
        job: Option<JobId>,
    ) -> Self {
        Self {
            shared,
            admission,
            counting,
            classifying: false,
            job,
        }
    }

    pub(super) fn is_probe(&self) -> bool {
        self.admission.as_ref().is_some_and(Admission::is_probe)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Runs code of the inner service, as [`guarded`] does.
    #[inline(always)]
    pub(super) fn guarded<T>(&mut self, known: bool, code: impl FnOnce() -> T) -> T {
        guarded(&self.shared, &mut self.admission, known, code)
    }

    /// Counts the outcome. The caller carries the verdict out.
    #[inline(always)]
    pub(super) fn record(
        &mut self,
        outcome: Outcome,
        asked: Option<Duration>,
    ) -> Option<OutcomeEffect> {
        let verdict = (self.admission.as_ref())
            .and_then(|admission| self.shared.record(admission, outcome, asked));
        self.admission = None;
        verdict
    }

    #[cold]
    fn dropped(&mut self) {
        let (outcome, cause) = match verdict::dropped_by() {
            _ if self.classifying => (Outcome::Failure, "the classification of a call panicked"),
            Some(kind) => (of_stop(kind, self.counting), kind.describe()),
            None if self.counting.count_dropped => (Outcome::Failure, "the caller dropped a call"),
            None => (Outcome::Ignored, ""),
        };
        if let Some(admission) = self.admission.take() {
            // The drop may come in the scope of another job.
            let job = context::current().filter(|job| self.job == Some(job.id()));
            self.shared.end(&admission, outcome, cause, job.as_deref());
        }
    }
}

impl Drop for Admitted {
    #[inline(always)]
    fn drop(&mut self) {
        if self.admission.is_some() {
            self.dropped();
        }
    }
}

/// Runs code of the inner service, within the scope of its job if that is `known`. A panic is
/// recorded while the job can still get an event of it: the membership around ends the job.
#[inline(always)]
pub(super) fn guarded<T>(
    shared: &Shared,
    admission: &mut Option<Admission>,
    known: bool,
    code: impl FnOnce() -> T,
) -> T {
    let guard = Panicking {
        shared,
        admission,
        known,
    };
    let done = code();
    mem::forget(guard);
    done
}

/// Only a panic drops it.
struct Panicking<'a> {
    shared: &'a Shared,
    admission: &'a mut Option<Admission>,
    known: bool,
}

impl Drop for Panicking<'_> {
    #[cold]
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            let job = context::current().filter(|_| self.known);
            let cause = "a call panicked";
            (self.shared).end(&admission, Outcome::Failure, cause, job.as_deref());
        }
    }
}

/// A place at the circuit, for a call to come.
pub(super) struct Reserved {
    shared: SharedRef,
    /// `None` once the call is made.
    admission: Option<Admission>,
}

impl Reserved {
    pub(super) fn new(shared: SharedRef, admission: Admission) -> Self {
        Self {
            shared,
            admission: Some(admission),
        }
    }

    /// Whether nothing has happened to the circuit since, and the place is still this one's.
    pub(super) fn is_valid(&self) -> bool {
        let shared = &self.shared;
        (self.admission.as_ref())
            .is_some_and(|admission| shared.circuit.is_valid(admission, || shared.now()))
    }

    /// The call begins: `None` if the circuit was opened by hand, which takes effect at once.
    pub(super) fn begin(mut self) -> Option<Admission> {
        let shared = &self.shared;
        if shared.circuit.is_forced_open(|| shared.now()) {
            return None;
        }
        let mut admission = self.admission.take()?;
        shared.circuit.begin(&mut admission, || shared.now());
        Some(admission)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            // A place that was never used does not count.
            self.shared.end(&admission, Outcome::Ignored, "", None);
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

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved")
            .field("admission", &self.admission)
            .finish_non_exhaustive()
    }
}
