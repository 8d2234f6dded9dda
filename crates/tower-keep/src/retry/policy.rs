//! Whether and when to try again.

use std::{borrow::Cow, fmt, time::Duration};

use tokio::time::Instant;

use crate::{
    classify::{Classify, Outcome, WithRetryAfter},
    job::{Job, context, membership::Membership, verdict::VerdictKind},
};

/// Whether and when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// This result is final here. A retry around this one goes by its own policy.
    Stop,
    /// Try again after the backoff.
    Retry,
    /// Try again after the time that the service asked for, as by HTTP's `Retry-After`.
    ///
    /// The wait is never shorter than that; with jitter it is up to 10 % longer. Zero, as of a date
    /// in the past, means the backoff. A time beyond the layer's
    /// [`max_requested_delay`](super::RetryLayer::max_requested_delay) gives the retry up at once.
    RetryAfter(Duration),
    /// Try again after exactly this long, which the policy itself has chosen: no cap and no jitter.
    /// Zero means at once, without a timer; after 16 attempts in a row the task yields.
    RetryIn(Duration),
    /// This result is final, and retries of ours around this one in the same stack may not try again
    /// either: as where the request did harm, or a server forbade to come back. There is an
    /// event, so a success had better be [`Stop`](Self::Stop).
    Never,
}

/// Decides whether and when to try again.
///
/// The policy sees three things: what it kept of the request, the result, and the [`Attempt`].
///
/// It is asked after every attempt that reached the service, or that a limit cut off: the last one
/// too, also where [`max_retries`](super::RetryLayer::max_retries) is 0, and also where a layer
/// inside answered with a response. It is not asked about what is never retried: a rejection by a
/// gate (an open circuit, a duplicate), an overall limit inside the retry, a cancelled job.
///
/// Any `Fn(&Result<Response, Error>, &Attempt<'_>) -> Decision` is a policy that keeps nothing of
/// the request. For closures there are [`RetryLayer::decide_with`](super::RetryLayer::decide_with)
/// and [`RetryLayer::decide_with_request`](super::RetryLayer::decide_with_request).
///
/// ```
/// use tower_keep::{RetryLayer, retry::{Attempt, Decision, Policy}};
///
/// struct Request {
///     is_read: bool,
/// }
///
/// /// Repeats reads only.
/// #[derive(Clone)]
/// struct Reads;
///
/// impl<Response, Error> Policy<Request, Response, Error> for Reads {
///     type Seen = bool;
///
///     fn see(&self, request: &Request) -> bool {
///         request.is_read
///     }
///
///     fn decide(&self, is_read: &bool, result: &Result<Response, Error>, _: &Attempt<'_>) -> Decision {
///         if *is_read && result.is_err() { Decision::Retry } else { Decision::Stop }
///     }
/// }
///
/// let retry = RetryLayer::new().policy(Reads);
/// ```
pub trait Policy<Request, Response, Error> {
    /// What the policy keeps of the request, for as long as the call lasts.
    type Seen;

    /// Looks at the request, once, before the first attempt.
    fn see(&self, request: &Request) -> Self::Seen;

    /// What to do after this result of this attempt.
    fn decide(
        &self,
        seen: &Self::Seen,
        result: &Result<Response, Error>,
        attempt: &Attempt<'_>,
    ) -> Decision;

    /// What is wrong with a result that the policy does not accept, for events: see
    /// [`Classify::describe`]. Default: the error's own text, or a general sentence for a response.
    fn describe(&self, result: &Result<Response, Error>) -> Option<Cow<'static, str>> {
        let _ = result;
        None
    }
}

impl<F, Request, Response, Error> Policy<Request, Response, Error> for F
where
    F: Fn(&Result<Response, Error>, &Attempt<'_>) -> Decision,
{
    type Seen = ();

    #[inline(always)]
    fn see(&self, _: &Request) {}

    #[inline]
    fn decide(&self, (): &(), result: &Result<Response, Error>, attempt: &Attempt<'_>) -> Decision {
        self(result, attempt)
    }
}

/// The attempt that a [`Policy`] decides on, or that a hook [prepares](super::RetryLayer::before_attempt).
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    pub(super) number: u32,
    pub(super) max_retries: u32,
    pub(super) membership: &'a Membership,
    /// What a layer inside noted of the result.
    pub(super) verdict: Option<VerdictKind>,
}

impl<'a> Attempt<'a> {
    /// The first, which begins now.
    pub(super) fn first(max_retries: u32, membership: &'a Membership) -> Self {
        Self {
            number: 1,
            max_retries,
            membership,
            verdict: None,
        }
    }
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

    /// Whether a time limit cut this attempt off, whatever the result looks like: an error, or the
    /// response with which the limit's layer answered. Of an attempt that only begins: no.
    ///
    /// Of an attempt that was cut off nobody knows whether the service did the work.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.verdict == Some(VerdictKind::AttemptTimedOut)
    }

    /// Whether a layer inside put an end to the attempt.
    #[inline(always)]
    pub(super) fn was_cut_off(&self) -> bool {
        matches!(
            self.verdict,
            Some(VerdictKind::AttemptTimedOut | VerdictKind::Panicked)
        )
    }

    /// The job that the call belongs to, or else the one whose code made the call. Unwatched if there is neither.
    #[must_use]
    pub fn job(&self) -> Job {
        let mut job = None;
        self.membership
            .with_job(|core| job = Some(Job::of(core.clone())));
        job.unwrap_or_else(Job::current)
    }

    /// When the limits around the retry expire, the nearest of them, with a job or without. Of an execution that several
    /// callers joined: the limit that is set within it, for all of them.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        // The policy is asked outside the attempt, so that the attempt's own limit is not among them.
        context::nearest_limit()
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
            .field("timed_out", &self.timed_out())
            .field("job", &self.job())
            .finish()
    }
}

/// Retries every error, and every attempt that a limit cut off. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnError;

impl<Request, Response, Error> Policy<Request, Response, Error> for OnError {
    type Seen = ();

    #[inline(always)]
    fn see(&self, _: &Request) {}

    #[inline(always)]
    fn decide(&self, (): &(), result: &Result<Response, Error>, attempt: &Attempt<'_>) -> Decision {
        if result.is_err() || attempt.was_cut_off() {
            Decision::Retry
        } else {
            Decision::Stop
        }
    }
}

/// Retries the errors that a closure picks. Made by [`RetryLayer::should_retry`](super::RetryLayer::should_retry).
#[derive(Clone, Copy)]
pub struct ErrorsIf<F>(pub(super) F);

impl<F, Request, Response, Error> Policy<Request, Response, Error> for ErrorsIf<F>
where
    F: Fn(&Error) -> bool,
{
    type Seen = ();

    #[inline(always)]
    fn see(&self, _: &Request) {}

    fn decide(&self, (): &(), result: &Result<Response, Error>, _: &Attempt<'_>) -> Decision {
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

impl<C, Request, Response, Error> Policy<Request, Response, Error> for OnClass<C>
where
    C: Classify<Response, Error>,
{
    type Seen = ();

    #[inline(always)]
    fn see(&self, _: &Request) {}

    fn decide(&self, (): &(), result: &Result<Response, Error>, attempt: &Attempt<'_>) -> Decision {
        let is_failure = match self.0.classify(result) {
            Outcome::Failure => true,
            Outcome::Success => !self.0.judges_responses() && attempt.was_cut_off(),
            Outcome::Ignored => false,
        };
        if !is_failure {
            return Decision::Stop;
        }
        self.0
            .retry_after(result)
            .map_or(Decision::Retry, Decision::RetryAfter)
    }

    fn describe(&self, result: &Result<Response, Error>) -> Option<Cow<'static, str>> {
        self.0.describe(result)
    }
}

/// Decides by what one closure kept of the request and another makes of it. Made by
/// [`RetryLayer::decide_with_request`](super::RetryLayer::decide_with_request).
#[derive(Clone, Copy)]
pub struct WithRequest<V, D> {
    pub(super) see: V,
    pub(super) decide: D,
}

impl<V, D, Seen, Request, Response, Error> Policy<Request, Response, Error> for WithRequest<V, D>
where
    V: Fn(&Request) -> Seen,
    D: Fn(&Seen, &Result<Response, Error>, &Attempt<'_>) -> Decision,
{
    type Seen = Seen;

    fn see(&self, request: &Request) -> Seen {
        (self.see)(request)
    }

    fn decide(
        &self,
        seen: &Seen,
        result: &Result<Response, Error>,
        attempt: &Attempt<'_>,
    ) -> Decision {
        (self.decide)(seen, result, attempt)
    }
}

/// What decides here is added how long the service asks to be left alone. Made by
/// [`RetryLayer::retry_after`](super::RetryLayer::retry_after).
impl<P, F, Request, Response, Error> Policy<Request, Response, Error> for WithRetryAfter<P, F>
where
    P: Policy<Request, Response, Error>,
    F: Fn(&Result<Response, Error>) -> Option<Duration>,
{
    type Seen = P::Seen;

    #[inline]
    fn see(&self, request: &Request) -> P::Seen {
        self.classify.see(request)
    }

    #[inline]
    fn decide(
        &self,
        seen: &P::Seen,
        result: &Result<Response, Error>,
        attempt: &Attempt<'_>,
    ) -> Decision {
        match self.classify.decide(seen, result, attempt) {
            decision @ (Decision::Retry | Decision::RetryAfter(_)) => {
                (self.retry_after)(result).map_or(decision, Decision::RetryAfter)
            }
            decision => decision,
        }
    }

    fn describe(&self, result: &Result<Response, Error>) -> Option<Cow<'static, str>> {
        self.classify.describe(result)
    }
}

impl<F> fmt::Debug for ErrorsIf<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorsIf").finish_non_exhaustive()
    }
}

impl<V, D> fmt::Debug for WithRequest<V, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithRequest").finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for OnClass<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnClass").finish_non_exhaustive()
    }
}
