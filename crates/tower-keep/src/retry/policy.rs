//! Retry policies: `Policy`, `Decision`, `Attempt`, and the built-in policies.

use std::{borrow::Cow, fmt, time::Duration};

use tokio::time::Instant;

use crate::{
    classify::{Classify, Outcome, WithRetryAfter},
    job::{Job, context, membership::Membership, verdict::VerdictKind},
};

/// The result of a [`Policy`]: whether and when to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Return this result. An outer retry decides by its own policy.
    Stop,
    /// Retry after the backoff.
    Retry,
    /// Retry after the delay that the service requested, as with HTTP's `Retry-After`.
    ///
    /// The wait is never shorter; with jitter it is up to 10 % longer. Zero, as from a date in the
    /// past, means the backoff. If the delay is above the layer's
    /// [`max_requested_delay`](super::RetryLayer::max_requested_delay), the retry gives up at once.
    RetryAfter(Duration),
    /// Retry after exactly this delay, without cap and jitter.
    ///
    /// Zero means at once, without a timer. After 16 attempts in a row the task yields.
    RetryIn(Duration),
    /// Return this result, and forbid further attempts to the outer retries of this library in the
    /// same stack.
    ///
    /// Use it if a repetition would do harm, or if the server forbids it. It emits an event, so use
    /// [`Stop`](Self::Stop) for a success. A response is a success unless
    /// [`is_failure`](Policy::is_failure) says otherwise.
    Never,
}

/// Decides whether and when to retry.
///
/// A policy sees three things: the data that it kept from the request, the result, and the
/// [`Attempt`].
///
/// It runs after every attempt that reached the service or that a time limit ended. This includes
/// the last attempt, responses of inner layers, and calls whose
/// [`max_retries`](super::RetryLayer::max_retries) is 0.
///
/// It does not run for results that are [never retried](super#when-to-retry).
///
/// Any `Fn(&Result<Response, Error>, &Attempt<'_>) -> Decision` is a policy that keeps nothing from
/// the request. For closures, use [`RetryLayer::decide_with`](super::RetryLayer::decide_with) and
/// [`RetryLayer::decide_with_request`](super::RetryLayer::decide_with_request).
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
#[diagnostic::on_unimplemented(
    message = "the retry policy does not fit the service: it decides on other requests, responses or errors",
    label = "the service takes `{Request}` and answers with `Result<{Response}, {Error}>`",
    note = "`{Self}` has to implement `retry::Policy<{Request}, {Response}, {Error}>`",
    note = "the policy of `RetryLayer::http` does for HTTP requests and HTTP responses"
)]
pub trait Policy<Request, Response, Error> {
    /// The data that the policy keeps from the request until the call ends.
    type Seen;

    /// Reads the request once, before the first attempt.
    fn see(&self, request: &Request) -> Self::Seen;

    /// Decides what follows this result of this attempt.
    fn decide(
        &self,
        seen: &Self::Seen,
        result: &Result<Response, Error>,
        attempt: &Attempt<'_>,
    ) -> Decision;

    /// Whether a response that the policy does not retry is a failure all the same: of the attempt,
    /// and, unless the log decides otherwise, of the job. Default: no.
    ///
    /// It runs after [`Stop`](Decision::Stop) and [`Never`](Decision::Never) on an `Ok`. An example
    /// is a server error after a request that must not be sent twice.
    #[inline(always)]
    fn is_failure(&self, response: &Response) -> bool {
        let _ = response;
        false
    }

    /// Reads the request of a resumption, before its first attempt: see
    /// [`RetryLayer::resume`](super::RetryLayer::resume). `None`: the response must not be resumed.
    /// Default: as [`see`](Self::see).
    #[cfg(feature = "http")]
    fn see_resumption(&self, request: &Request) -> Option<Self::Seen> {
        Some(self.see(request))
    }

    /// Describes a result that the policy does not accept, for events: see [`Classify::describe`].
    /// Default: the text of the error, or a general sentence for a response.
    fn describe(&self, result: &Result<Response, Error>) -> Option<Cow<'static, str>> {
        let _ = result;
        None
    }
}

#[diagnostic::do_not_recommend]
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

/// The attempt that a [`Policy`] decides on, or that a hook
/// [prepares](super::RetryLayer::before_attempt).
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    pub(super) number: u32,
    pub(super) max_retries: u32,
    pub(super) membership: &'a Membership,
    /// The verdict of an inner layer on the result.
    pub(super) verdict: Option<VerdictKind>,
}

impl<'a> Attempt<'a> {
    /// The first attempt, before its call.
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
    /// The number of the attempt, counted from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The number of retries left after this attempt.
    #[must_use]
    pub fn retries_left(&self) -> u32 {
        // Of n attempts, n - 1 are retries.
        self.max_retries.saturating_sub(self.number - 1)
    }

    /// Whether a time limit ended this attempt, with an error or with a response. `false` before
    /// the attempt.
    ///
    /// Such an attempt does not tell whether the service did the work.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.verdict == Some(VerdictKind::AttemptTimedOut)
    }

    /// Whether an inner layer ended the attempt.
    #[inline(always)]
    pub(super) fn was_cut_off(&self) -> bool {
        matches!(
            self.verdict,
            Some(VerdictKind::AttemptTimedOut | VerdictKind::Panicked)
        )
    }

    /// The job of the call, else the job whose code made the call. Without either, an untracked
    /// job.
    #[must_use]
    pub fn job(&self) -> Job {
        let mut job = None;
        self.membership
            .with_job(|core| job = Some(Job::of(core.clone())));
        job.unwrap_or_else(Job::current)
    }

    /// The nearest deadline of the limits outside the retry, with or without a job.
    ///
    /// In an execution that several callers share, only limits inside the execution count.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        // The policy runs outside the attempt, so the limit of the attempt is not included.
        context::nearest_limit()
    }

    /// The time left until [`deadline`](Self::deadline); zero after it.
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

/// Retries every error, and every attempt that a limit ended. The default.
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

/// Retries the errors that a closure selects. Made by
/// [`RetryLayer::should_retry`](super::RetryLayer::should_retry).
#[derive(Clone, Copy)]
pub struct ErrorsIf<F>(pub(super) F);

#[diagnostic::do_not_recommend]
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

/// Retries failures of a classifier, after the delay that the classifier gives. Made by
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

/// Decides with two closures: one keeps data from the request, the other decides. Made by
/// [`RetryLayer::decide_with_request`](super::RetryLayer::decide_with_request).
#[derive(Clone, Copy)]
pub struct WithRequest<V, D> {
    pub(super) see: V,
    pub(super) decide: D,
}

#[diagnostic::do_not_recommend]
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

/// Decides with a closure, or else with another policy. Made by
/// [`RetryLayer::decide_first`](super::RetryLayer::decide_first).
#[derive(Clone, Copy)]
pub struct First<F, P> {
    pub(super) decide: F,
    pub(super) otherwise: P,
}

impl<F, P, Request, Response, Error> Policy<Request, Response, Error> for First<F, P>
where
    P: Policy<Request, Response, Error>,
    F: Fn(&Result<Response, Error>, &Attempt<'_>) -> Option<Decision>,
{
    type Seen = P::Seen;

    #[inline]
    fn see(&self, request: &Request) -> P::Seen {
        self.otherwise.see(request)
    }

    #[inline]
    fn decide(
        &self,
        seen: &P::Seen,
        result: &Result<Response, Error>,
        attempt: &Attempt<'_>,
    ) -> Decision {
        (self.decide)(result, attempt)
            .unwrap_or_else(|| self.otherwise.decide(seen, result, attempt))
    }

    #[cfg(feature = "http")]
    fn see_resumption(&self, request: &Request) -> Option<P::Seen> {
        self.otherwise.see_resumption(request)
    }

    #[inline(always)]
    fn is_failure(&self, response: &Response) -> bool {
        self.otherwise.is_failure(response)
    }

    fn describe(&self, result: &Result<Response, Error>) -> Option<Cow<'static, str>> {
        self.otherwise.describe(result)
    }
}

/// Adds the delay that the service requests to the decision of another policy. Made by
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

    #[cfg(feature = "http")]
    fn see_resumption(&self, request: &Request) -> Option<P::Seen> {
        self.classify.see_resumption(request)
    }

    #[inline(always)]
    fn is_failure(&self, response: &Response) -> bool {
        self.classify.is_failure(response)
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

impl<F, P: fmt::Debug> fmt::Debug for First<F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("First")
            .field("otherwise", &self.otherwise)
            .finish_non_exhaustive()
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
