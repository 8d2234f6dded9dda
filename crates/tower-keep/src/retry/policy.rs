//! Whether and when to try again.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use crate::{
    classify::{Classify, Outcome, WithRetryAfter},
    job::{Job, limits, seat::Seat},
};

/// Whether and when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// This result is final here. A retry around this one goes by its own policy.
    Stop,
    /// Try again after the backoff.
    Retry,
    /// Try again after this long, as a server may ask for; clamped to the layer's `max_delay`.
    RetryAfter(Duration),
    /// This result is final, and retries of ours around this one may not try again either: as where the request did
    /// harm, or a server forbade to come back. It is told as an event, so a success had better be
    /// [`Stop`](Self::Stop).
    Never,
}

/// Decides whether and when to try again.
///
/// It is asked after every attempt, the last one too, so that a failure that nobody wanted to retry can be told from one
/// for which no retry was left; but never where `max_retries` is 0. Any
/// `Fn(&Result<Response, Error>, &Attempt<'_>) -> Decision` is a policy; for closures there is
/// [`RetryLayer::decide_with`](super::RetryLayer::decide_with).
pub trait Policy<Response, Error> {
    /// What to do after this result of this attempt.
    fn decide(&self, result: &Result<Response, Error>, attempt: &Attempt<'_>) -> Decision;
}

impl<F, Response, Error> Policy<Response, Error> for F
where
    F: Fn(&Result<Response, Error>, &Attempt<'_>) -> Decision,
{
    #[inline]
    fn decide(&self, result: &Result<Response, Error>, attempt: &Attempt<'_>) -> Decision {
        self(result, attempt)
    }
}

/// The attempt that a [`Policy`] decides on.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    pub(super) number: u32,
    pub(super) max_retries: u32,
    pub(super) seat: &'a Seat,
}

impl Attempt<'_> {
    /// Its number, counted from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How many retries are left after it.
    #[must_use]
    pub fn retries_left(&self) -> u32 {
        // Of n attempts, n - 1 are retries.
        self.max_retries.saturating_sub(self.number - 1)
    }

    /// The job that the call belongs to, or else the one whose code made the call. Unwatched if there is neither.
    #[must_use]
    pub fn job(&self) -> Job {
        let mut job = None;
        self.seat.with_job(|core| job = Some(Job::of(core.clone())));
        job.unwrap_or_else(Job::current)
    }

    /// When the limits around the retry expire, the nearest of them, with a job or without. Of an execution that several
    /// callers joined: the limit that is set within it, for all of them.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        // The policy is asked outside the attempt, so that the attempt's own limit is not among them.
        limits::nearest_in_force()
    }

    /// The time left until [`deadline`](Self::deadline), zero once it has passed.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline()
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

impl fmt::Debug for Attempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("number", &self.number)
            .field("retries_left", &self.retries_left())
            .field("job", &self.job())
            .finish()
    }
}

/// Retries every error. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnError;

impl<Response, Error> Policy<Response, Error> for OnError {
    #[inline(always)]
    fn decide(&self, result: &Result<Response, Error>, _: &Attempt<'_>) -> Decision {
        if result.is_err() {
            Decision::Retry
        } else {
            Decision::Stop
        }
    }
}

/// Retries the errors that a closure picks. Made by [`RetryLayer::should_retry`](super::RetryLayer::should_retry).
#[derive(Clone, Copy)]
pub struct ErrorsIf<F>(pub(super) F);

impl<F, Response, Error> Policy<Response, Error> for ErrorsIf<F>
where
    F: Fn(&Error) -> bool,
{
    fn decide(&self, result: &Result<Response, Error>, _: &Attempt<'_>) -> Decision {
        match result {
            Err(error) if (self.0)(error) => Decision::Retry,
            _ => Decision::Stop,
        }
    }
}

/// Retries what a classifier calls a failure, after as long as the classifier says. Made by
/// [`RetryLayer::classify`](super::RetryLayer::classify).
#[derive(Clone, Copy)]
pub struct OnClass<C>(pub(super) C);

impl<C, Response, Error> Policy<Response, Error> for OnClass<C>
where
    C: Classify<Response, Error>,
{
    fn decide(&self, result: &Result<Response, Error>, _: &Attempt<'_>) -> Decision {
        if self.0.classify(result) != Outcome::Failure {
            return Decision::Stop;
        }
        self.0
            .retry_after(result)
            .map_or(Decision::Retry, Decision::RetryAfter)
    }
}

/// What decides here is added how long the service asks to be left alone. Made by
/// [`RetryLayer::retry_after`](super::RetryLayer::retry_after).
impl<P, F, Response, Error> Policy<Response, Error> for WithRetryAfter<P, F>
where
    P: Policy<Response, Error>,
    F: Fn(&Result<Response, Error>) -> Option<Duration>,
{
    #[inline]
    fn decide(&self, result: &Result<Response, Error>, attempt: &Attempt<'_>) -> Decision {
        match self.classify.decide(result, attempt) {
            Decision::Retry => {
                (self.retry_after)(result).map_or(Decision::Retry, Decision::RetryAfter)
            }
            decision => decision,
        }
    }
}

impl<F> fmt::Debug for ErrorsIf<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorsIf").finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for OnClass<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnClass").finish_non_exhaustive()
    }
}
