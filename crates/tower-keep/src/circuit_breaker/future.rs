use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{
    error::Open,
    shared::Shared,
    state::{Admission, Transition},
};
use crate::{
    classify::{Classify, Outcome},
    event::{CancelReason, JobId},
    job::{
        halt, scope,
        seat::Seat,
        stop::{self, Stop, StopKind},
    },
    reject::OnReject,
};

pin_project! {
    /// The response future of [`CircuitBreaker`](super::CircuitBreaker).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, C, O> {
        #[pin]
        state: State<F>,
        classify: C,
        on_reject: O,
        seat: Seat,
    }
}

pin_project! {
    #[project = StateProj]
    pub(super) enum State<F> {
        Calling { #[pin] future: F, admitted: Admitted },
        Rejected { open: Option<Open> },
    }
}

impl<F, C, O> ResponseFuture<F, C, O> {
    #[inline(always)]
    pub(super) fn new(state: State<F>, classify: C, on_reject: O, seat: Seat) -> Self {
        Self {
            state,
            classify,
            on_reject,
            seat,
        }
    }
}

impl<F, C, O, T, E> Future for ResponseFuture<F, C, O>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
    O: OnReject<Open, T, E>,
    O::Error: fmt::Display,
{
    type Output = Result<T, O::Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.state.project() {
            StateProj::Calling { future, admitted } => {
                let known = this.seat.has_job();
                let result = ready!(
                    this.seat
                        .run(|| admitted.guarded(known, || future.poll(cx)))
                );
                // The classifier may panic too.
                admitted.guarding = true;
                let outcome = outcome(&result, this.classify, this.seat, admitted);
                let asked = match outcome {
                    Outcome::Failure => this.classify.retry_after(&result),
                    _ => None,
                };
                admitted.record(outcome, asked, |transition, shared| {
                    this.seat.announce(|job| shared.announce(transition, job));
                });
                result.map_err(|error| this.on_reject.pass(error))
            }
            StateProj::Rejected { open } => {
                let Some(open) = open.take() else {
                    panic!("a rejected call was polled after it was ready");
                };
                // First, as the closure may panic: its job has not started.
                stop::leave(StopKind::CircuitOpen, this.on_reject.responds());
                this.on_reject.reject(open)
            }
        };
        this.seat.finish(&result);
        Poll::Ready(result)
    }
}

/// What the result says about the service behind the circuit.
#[inline(always)]
fn outcome<T, E, C: Classify<T, E>>(
    result: &Result<T, E>,
    classify: &C,
    seat: &Seat,
    admitted: &Admitted,
) -> Outcome {
    // Whatever the work returns in its grace period, the caller gets the limit's error.
    if let Some(kind) = halt::halted_by(|| seat.ambient_id()) {
        return of_stop(kind, admitted.counting);
    }
    let outcome = match stop::read().filter(|stop| stop.holds(result)) {
        // What a classifier of another layer thinks of the result is not this circuit's measure.
        None
        | Some(Stop {
            kind: StopKind::Failure | StopKind::Forbidden,
            ..
        }) => classify.classify(result),
        Some(stop) => of_stop(stop.kind, admitted.counting),
    };
    let decides = outcome == Outcome::Failure || admitted.is_probe();
    if decides && cancelled(seat) {
        Outcome::Ignored
    } else {
        outcome
    }
}

fn of_stop(kind: StopKind, counting: Counting) -> Outcome {
    match kind {
        StopKind::TimedOut if counting.ignore_timeouts => Outcome::Ignored,
        StopKind::TimedOut
        | StopKind::AttemptTimedOut
        | StopKind::Panicked
        | StopKind::Failure
        | StopKind::Forbidden => Outcome::Failure,
        StopKind::CircuitOpen | StopKind::Duplicate | StopKind::Cancelled => Outcome::Ignored,
    }
}

/// Whether the outcome is that of code that heeded its cancellation.
#[cold]
fn cancelled(seat: &Seat) -> bool {
    let mut cancelled = false;
    seat.with_job(|job| {
        cancelled = job.is_cancelled() && job.reason() != Some(CancelReason::TimedOut);
    });
    cancelled
}

/// What counts, beside what the classifier says.
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
    counting: Counting,
    /// Code of the inner service or of the classifier runs: if this is dropped now, it panicked.
    guarding: bool,
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

    fn is_probe(&self) -> bool {
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
        self.shared.circuit.is_forced_open()
    }

    /// The call for which the place was reserved is made.
    pub(super) fn begin(&mut self) {
        if let Some(admission) = &mut self.admission {
            self.shared.circuit.begin(admission, || self.shared.now());
        }
    }

    /// Runs code of the inner service, within the scope of its job if that is `known`. A panic is recorded while the
    /// job can be told of it: its end is what the seat around makes of the panic.
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

    #[inline(always)]
    fn record(
        &mut self,
        outcome: Outcome,
        asked: Option<Duration>,
        announce: impl FnOnce(Transition, &Shared),
    ) {
        let Some(admission) = self.admission.take() else {
            return;
        };
        let shared = &*self.shared;
        match (shared.circuit).record(&admission, outcome, asked, || shared.now()) {
            Some(transition) => announce(transition, shared),
            // Its place is free for another.
            None if admission.is_probe() => shared.wake(),
            None => {}
        }
    }
}

impl Drop for Admitted {
    #[inline(always)]
    fn drop(&mut self) {
        if self.admission.is_some() {
            let outcome = match stop::dropped_by() {
                _ if self.guarding => Outcome::Failure,
                Some(kind) if self.called => of_stop(kind, self.counting),
                None if self.called && self.counting.count_dropped => Outcome::Failure,
                // Also of a place that was reserved and never called, whoever drops it.
                _ => Outcome::Ignored,
            };
            // Whoever drops this may do so in the scope of another job.
            let job = scope::current().filter(|job| self.job == Some(job.id()));
            self.record(outcome, None, |transition, shared| {
                shared.announce(transition, job.as_deref());
            });
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
            let job = scope::current().filter(|_| self.known);
            admitted.record(Outcome::Failure, None, |transition, shared| {
                shared.announce(transition, job.as_deref());
            });
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

impl<F, C, O> fmt::Debug for ResponseFuture<F, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
