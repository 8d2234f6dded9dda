//! Guards of admitted calls and reserved slots: an outcome is recorded however the call ends.

use std::{fmt, mem, sync::Arc, time::Duration};

use super::{
    shared_circuit::{CircuitRef, SharedCircuit},
    state::{Admission, LateAdmission, OutcomeEffect, Streak},
};
use crate::{
    classify::Outcome,
    event::JobId,
    job::{
        context,
        core::Core,
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

/// Rules that extend the classifier.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counting {
    pub(super) ignore_timeouts: bool,
    pub(super) count_dropped: bool,
}

/// Records the outcome of an admitted call, however it ends.
pub(super) struct Admitted {
    shared: CircuitRef,
    /// `None` after the outcome is recorded.
    admission: Option<Admission>,
    pub(super) counting: Counting,
    /// The classifier is running. A drop in this state means that it panicked.
    pub(super) classifying: bool,
    /// The stack's job: ambient if a layer of the stack drops this.
    job: Option<JobId>,
}

impl Admitted {
    #[inline(always)]
    pub(super) fn new(
        shared: CircuitRef,
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

    pub(super) fn shared(&self) -> &SharedCircuit {
        &self.shared
    }

    /// Runs code of the inner service, as [`guarded`] does.
    #[inline(always)]
    pub(super) fn guarded<T>(&mut self, known: bool, code: impl FnOnce() -> T) -> T {
        guarded(&self.shared, &mut self.admission, known, code)
    }

    /// Counts the outcome. The caller carries out the returned effect.
    #[inline(always)]
    pub(super) fn record(
        &mut self,
        outcome: Outcome,
        requested: Option<Duration>,
    ) -> Option<OutcomeEffect> {
        let verdict = (self.admission.as_ref()).and_then(|admission| {
            (self.shared).record(admission, outcome, requested, Streak::Ends)
        });
        self.admission = None;
        verdict
    }

    /// Like [`record`](Self::record), for the head of a response: what follows may be one more
    /// outcome.
    pub(super) fn record_head(
        &mut self,
        outcome: Outcome,
        requested: Option<Duration>,
    ) -> (Option<OutcomeEffect>, Option<LateOutcome>) {
        let Some(admission) = self.admission.take() else {
            return (None, None);
        };
        let effect = (self.shared).record(&admission, outcome, requested, Streak::Stays);
        let admission = admission.after_head(outcome, effect.as_ref());
        let late = admission.map(|admission| LateOutcome {
            shared: self.shared.clone(),
            admission,
            counting: self.counting,
        });
        (effect, late)
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
            // The drop may happen in the scope of another job.
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

/// What follows the head of a response: nothing that counts, or one more failure.
pub(crate) struct LateOutcome {
    shared: CircuitRef,
    admission: LateAdmission,
    counting: Counting,
}

#[cfg_attr(not(feature = "http"), allow(dead_code))]
impl LateOutcome {
    /// Whether the layer ignores overall limits.
    pub(crate) fn ignores_timeouts(&self) -> bool {
        self.counting.ignore_timeouts
    }

    /// The call has ended without a failure.
    #[inline]
    pub(crate) fn end(self) {
        self.shared.circuit.record_late_end(self.admission);
    }

    /// The call failed after its head: counts one more failure. `cause` is its text.
    #[cold]
    pub(crate) fn fail(self, cause: impl FnOnce() -> Arc<str>, job: Option<&Core>) {
        let shared = &self.shared;
        let trip = (shared.circuit).record_late_failure(self.admission, shared.now());
        if let Some(trip) = trip {
            let cause = trip.reason.text().unwrap_or_else(cause);
            shared.open_for(trip, cause, job);
        }
    }
}

impl fmt::Debug for LateOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateOutcome").finish_non_exhaustive()
    }
}

/// Runs code of the inner service. If the job is `known`, this is in its scope.
///
/// A panic is recorded before the membership ends the job, so that the job can still emit an event.
#[inline(always)]
pub(super) fn guarded<T>(
    shared: &SharedCircuit,
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

/// Dropped only by a panic.
struct Panicking<'a> {
    shared: &'a SharedCircuit,
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

/// A reserved slot for a later call.
pub(super) struct Reserved {
    shared: CircuitRef,
    /// `None` after the call.
    admission: Option<Admission>,
}

impl Reserved {
    pub(super) fn new(shared: CircuitRef, admission: Admission) -> Self {
        Self {
            shared,
            admission: Some(admission),
        }
    }

    /// Whether the circuit is unchanged since, and the slot has not expired.
    pub(super) fn is_valid(&self) -> bool {
        let shared = &self.shared;
        (self.admission.as_ref())
            .is_some_and(|admission| shared.circuit.is_valid(admission, || shared.now()))
    }

    /// Begins the call. `None` if the circuit was opened manually, which takes effect at once.
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
            // An unused slot does not count.
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
