//! What a result or the events say.

use tower_keep::{
    BoxError, CancelReason, EventKind, GiveUpReason, cancel::Cancelled, dedup::Duplicate, find,
};
use tower_keep_test::Recorder;

/// Why the call was cancelled.
#[track_caller]
#[must_use]
pub fn reason(error: &BoxError) -> CancelReason {
    find::<Cancelled>(&**error)
        .expect("cancelled")
        .reason()
        .clone()
}

/// How a newer call with the same key replaced the call.
#[track_caller]
pub fn replaced(error: &BoxError) -> &Duplicate {
    let duplicate = find::<Duplicate>(&**error).expect("a duplicate");
    let cancelled = duplicate.replaced().expect("it was replaced");
    assert_eq!(cancelled.reason(), &CancelReason::Replaced);
    assert_eq!(find::<Cancelled>(&**error), Some(cancelled));
    assert!(!duplicate.execution_panicked());
    duplicate
}

/// The attempt and the reason of each retry that was given up.
#[must_use]
pub fn given_up(recorder: &Recorder) -> Vec<(u32, GiveUpReason)> {
    recorder
        .kinds()
        .into_iter()
        .filter_map(|kind| match kind {
            EventKind::RetryGivenUp {
                attempt, reason, ..
            } => Some((attempt, reason)),
            _ => None,
        })
        .collect()
}

/// The names of the events of a job that succeeds with its second attempt.
pub const RETRIED_ONCE: [&str; 7] = [
    "dispatched",
    "started",
    "attempt_ended",
    "retry_scheduled",
    "retrying",
    "attempt_ended",
    "succeeded",
];
