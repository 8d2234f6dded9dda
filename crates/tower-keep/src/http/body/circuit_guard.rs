//! The guard of a circuit breaker: a body that fails counts as one more failure.

use std::{fmt, pin::Pin, sync::Arc, task::Context};

use http_body::Body;

use super::guard::{End, Guard, PolledFrame, poll_body};
use crate::{
    Rejection,
    circuit_breaker::LateOutcome,
    error::{BoxError, find, unharmed},
    error_text::describe_error,
    event::{CancelReason, LimitScope},
    http::{ErrorKind, status::Answer},
    job::{
        Elapsed,
        membership::Reading,
        verdict::{self, VerdictKind},
    },
};

/// The guard of [`CircuitBreakerLayer::http`](crate::CircuitBreakerLayer::http).
pub struct CircuitGuard {
    reading: Reading,
    /// `None` if nothing that follows the head can count.
    late: Option<LateOutcome>,
}

impl CircuitGuard {
    pub(crate) fn new(reading: Reading, late: Option<LateOutcome>) -> Self {
        Self { reading, late }
    }
}

impl Guard for CircuitGuard {
    #[inline(always)]
    fn poll_frame<B>(
        &mut self,
        body: Pin<&mut Option<B>>,
        cx: &mut Context<'_>,
    ) -> PolledFrame<B::Data>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        self.reading.poll(|| poll_body(body, cx))
    }

    fn ends_job(&self) -> bool {
        self.reading.ends_job()
    }

    fn end(mut self, end: End<'_>) {
        // Before the job ends, because it may emit an event.
        if let Some(late) = self.late.take() {
            record(late, &self.reading, end);
        }
        end.settle(self.reading);
    }
}

#[inline]
fn record(late: LateOutcome, reading: &Reading, end: End<'_>) {
    match end {
        End::Complete(Some(answer)) => record_answer(late, reading, answer),
        End::Complete(None) => late.end(),
        End::Dropped => match verdict::dropped_by() {
            // In a body it is the limit on the time without progress.
            Some(kind @ VerdictKind::AttemptTimedOut) if !late.ignores_timeouts() => {
                fail(late, reading, || kind.describe().into());
            }
            _ => late.end(),
        },
        End::Failed(error) => {
            // A panic of the error's own code loses only the description.
            let mut is_failure = true;
            unharmed(|| is_failure = is_failure_of_server(&**error, late.ignores_timeouts()));
            if is_failure && !is_cancelled(reading) {
                fail(late, reading, || {
                    let mut cause = String::new();
                    unharmed(|| cause = describe_error(&**error).to_string());
                    match cause.is_empty() {
                        true => "a response body failed".into(),
                        false => cause.into(),
                    }
                });
            } else {
                late.end();
            }
        }
        End::Panicked => fail(late, reading, || "a response body panicked".into()),
    }
}

/// What the answer in the trailers counts as: the same as in a head.
fn record_answer(late: LateOutcome, reading: &Reading, answer: Answer) {
    if answer.is_rate_limit() {
        // It counts as nothing, so the failures in a row stay.
        return;
    }
    match answer.is_server_failure() && !is_cancelled(reading) {
        true => fail(late, reading, || answer.describe().into()),
        false => late.end(),
    }
}

#[cold]
fn fail(late: LateOutcome, reading: &Reading, cause: impl FnOnce() -> Arc<str>) {
    let job = reading.with_job(Arc::clone);
    late.fail(cause, job.as_deref());
}

/// Whether this error of a body speaks against the server.
fn is_failure_of_server(error: &(dyn std::error::Error + 'static), ignores_timeouts: bool) -> bool {
    match Rejection::of(error) {
        None | Some(Rejection::GaveUp { .. }) => ErrorKind::of(error) != ErrorKind::Permanent,
        Some(Rejection::TimedOut) => match find::<Elapsed>(error).map(Elapsed::scope) {
            Some(LimitScope::Attempt) => true,
            Some(LimitScope::Idle) => !ignores_timeouts,
            // The reader may have used up the time.
            _ => false,
        },
        Some(_) => false,
    }
}

/// Whether the job was cancelled, so that the error may be a reaction to that.
fn is_cancelled(reading: &Reading) -> bool {
    reading
        .with_job(|job| job.state().has_fired() && job.reason() != Some(CancelReason::TimedOut))
        .unwrap_or(false)
}

impl fmt::Debug for CircuitGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitGuard").finish_non_exhaustive()
    }
}
