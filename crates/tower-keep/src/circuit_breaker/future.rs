//! `ResponseFuture` of the circuit breaker: polls the admitted call and records its outcome.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{
    admitted::{Admitted, of_stop},
    call_end::{FinishCall, Head},
    error::Open,
    opening_reason::RejectionFacts,
    shared_circuit::SharedCircuit,
    state::{OutcomeEffect, Trip},
};
use crate::{
    classify::{Classify, Outcome, describe},
    error::unharmed,
    error_text::describe_error,
    event::CancelReason,
    job::{
        call_end::AtResponse,
        context,
        membership::Membership,
        verdict::{self, VerdictKind},
    },
    reject::OnReject,
};

pin_project! {
    /// The response future of [`CircuitBreaker`](super::CircuitBreaker).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, C, O, R = AtResponse> {
        #[pin]
        state: State<F>,
        classify: C,
        on_reject: O,
        end: PhantomData<fn() -> R>,
        pub(super) membership: Membership,
    }
}

pin_project! {
    #[project = StateProj]
    pub(super) enum State<F> {
        Calling { #[pin] future: F, admitted: Admitted },
        // The parts of an `Open`: reading it as a whole would stall on the separate writes of its
        // parts.
        Rejected { facts: Option<Arc<RejectionFacts>>, remaining: Option<Duration> },
    }
}

impl<F, C, O, R> ResponseFuture<F, C, O, R> {
    #[inline(always)]
    pub(super) fn new(state: State<F>, classify: C, on_reject: O, membership: Membership) -> Self {
        Self {
            state,
            classify,
            on_reject,
            end: PhantomData,
            membership,
        }
    }
}

impl<F, C, O, R, T, E> Future for ResponseFuture<F, C, O, R>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
    O: OnReject<Open, T, E>,
    O::Error: fmt::Display,
    R: FinishCall<T>,
{
    type Output = Result<R::Response, O::Error>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut late = None;
        let result = match this.state.project() {
            StateProj::Calling { future, admitted } => {
                let known = this.membership.has_job();
                let result = ready!(
                    this.membership
                        .run(|| admitted.guarded(known, || future.poll(cx)))
                );
                admitted.classifying = true;
                let (classify, on_reject, membership) =
                    (&*this.classify, &*this.on_reject, &*this.membership);
                let (judgement, requested) = membership.ask(|| {
                    let judgement = judge(&result, classify, membership, admitted);
                    let requested = match judgement.outcome {
                        Outcome::Failure => classify.retry_after(&result),
                        _ => None,
                    };
                    (judgement, requested)
                });
                let effect;
                if R::GOES_ON && result.is_ok() {
                    (effect, late) = admitted.record_head(judgement.outcome, requested);
                } else {
                    effect = admitted.record(judgement.outcome, requested);
                }
                let trip = match effect {
                    None => None,
                    Some(OutcomeEffect::Trips(trip)) => Some(trip),
                    Some(OutcomeEffect::Closed(transition)) => {
                        let shared = admitted.shared();
                        membership.announce(|job| shared.announce(&transition, job));
                        None
                    }
                };
                match (trip, result) {
                    (None, Ok(response)) => Ok(response),
                    (None, Err(error)) => membership.ask(|| Err(on_reject.pass(error))),
                    (Some(trip), result) => {
                        let opening = Opening::new(admitted.shared(), membership, trip);
                        membership
                            .ask(|| opening.settle(judgement.verdict, classify, on_reject, result))
                    }
                }
            }
            StateProj::Rejected { facts, remaining } => {
                let Some(facts) = facts.take() else {
                    panic!("a rejected call was polled after it was ready");
                };
                // Before the closure, which may panic: its job has not started.
                verdict::leave(VerdictKind::CircuitOpen, this.on_reject.responds());
                let remaining =
                    remaining.map(|left| Duration::new(left.as_secs(), left.subsec_nanos()));
                let open = Open::of(facts, remaining);
                this.membership.ask(|| this.on_reject.reject(open))
            }
        };
        if !R::GOES_ON || result.is_err() {
            this.membership
                .finish_known(&result, |error| this.on_reject.as_error(error));
        }
        let membership = this.membership;
        Poll::Ready(R::finish(result, Head { membership, late }))
    }
}

/// Opens the circuit when the cause is known, or if user code panics before.
struct Opening<'a> {
    shared: &'a SharedCircuit,
    membership: &'a Membership,
    trip: Option<Trip>,
}

impl<'a> Opening<'a> {
    fn new(shared: &'a SharedCircuit, membership: &'a Membership, trip: Trip) -> Self {
        Self {
            shared,
            membership,
            trip: Some(trip),
        }
    }

    /// Opens the circuit with the cause, and converts the inner result for the caller.
    #[cold]
    fn settle<T, E, C, O>(
        mut self,
        verdict: Option<VerdictKind>,
        classify: &C,
        on_reject: &O,
        result: Result<T, E>,
    ) -> Result<T, O::Error>
    where
        C: Classify<T, E>,
        O: OnReject<Open, T, E>,
        O::Error: fmt::Display,
    {
        let mut cause = self.trip.and_then(|trip| trip.reason.text());
        if cause.is_none() {
            // A panic of the user's `describe` loses only the description.
            unharmed(|| cause = describe(classify, &result));
        }
        cause = cause.or_else(|| {
            let limit = verdict.filter(|verdict| *verdict != VerdictKind::Failure)?;
            Some(limit.describe().into())
        });
        // The inner error has no known bounds before this conversion.
        let result = result.map_err(|error| on_reject.pass(error));
        if cause.is_none() {
            unharmed(|| {
                let known = result.as_ref().err().and_then(|e| on_reject.as_error(e));
                cause = Some(match known {
                    Some(error) => describe_error(error).into(),
                    None => verdict::text(&result),
                });
            });
        }
        let cause = cause.filter(|cause| !cause.is_empty());
        self.open(cause.unwrap_or_else(|| "a call failed".into()));
        result
    }

    fn open(&mut self, cause: Arc<str>) {
        if let Some(trip) = self.trip.take() {
            let shared = self.shared;
            self.membership
                .announce(|job| shared.open_for(trip, cause, job));
        }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.open("a call failed, and the conversion of its error panicked".into());
    }
}

/// The judgement on a result.
struct Judgement {
    outcome: Outcome,
    /// The verdict of an inner layer, if one applies.
    verdict: Option<VerdictKind>,
}

#[inline(always)]
fn judge<T, E, C: Classify<T, E>>(
    result: &Result<T, E>,
    classify: &C,
    membership: &Membership,
    admitted: &Admitted,
) -> Judgement {
    // In a grace period the caller gets the limit's error, whatever the work returns.
    if let Some(kind) = membership.ambient_id().and_then(context::stopped_by) {
        return Judgement {
            outcome: of_stop(kind, admitted.counting),
            verdict: Some(kind),
        };
    }
    let verdict = verdict::read().filter(|verdict| verdict.holds(result));
    let verdict = verdict.map(|verdict| verdict.kind);
    let outcome = match verdict {
        None | Some(VerdictKind::Forbidden) => classify.classify(result),
        // A classifier of responses decides whether this one is a success. A failure still counts
        // by its verdict.
        Some(kind) if classify.judges_responses() && !kind.is_gate() => {
            match classify.classify(result) {
                Outcome::Failure => of_stop(kind, admitted.counting),
                outcome => outcome,
            }
        }
        Some(kind) => of_stop(kind, admitted.counting),
    };
    let decides = outcome == Outcome::Failure || admitted.is_probe();
    let outcome = if decides && cancelled(membership) {
        Outcome::Ignored
    } else {
        outcome
    };
    Judgement { outcome, verdict }
}

/// Whether the job was cancelled, so that the outcome may be a reaction to that.
#[cold]
fn cancelled(membership: &Membership) -> bool {
    membership
        .with_job(|job| job.state().has_fired() && job.reason() != Some(CancelReason::TimedOut))
        .unwrap_or(false)
}

impl<F, C, O, R> fmt::Debug for ResponseFuture<F, C, O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
