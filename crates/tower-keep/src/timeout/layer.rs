use std::{fmt, time::Duration};

use crate::{
    job::Elapsed,
    reject::{Fail, FailWith, RespondWith},
};

/// What the limit spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    Overall,
    Attempt,
}

/// Limits how long a call may take.
#[derive(Clone)]
pub struct TimeoutLayer<L = Option<Duration>, O = Fail> {
    pub(crate) limit: L,
    pub(crate) span: Span,
    pub(crate) step_limit: Option<Duration>,
    pub(super) on_reject: O,
}

impl TimeoutLayer {
    /// One limit over all attempts and waits. When it expires the job is over.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self {
            limit: Some(limit),
            span: Span::Overall,
            step_limit: None,
            on_reject: Fail,
        }
    }

    /// A limit for each attempt: inside a retry, it starts anew with each.
    #[must_use]
    pub const fn per_attempt(limit: Duration) -> Self {
        Self {
            limit: Some(limit),
            span: Span::Attempt,
            step_limit: None,
            on_reject: Fail,
        }
    }

    /// No limit over the call: for a layer that only sets a [`step_limit`](Self::step_limit).
    #[must_use]
    pub const fn none() -> Self {
        Self {
            limit: None,
            span: Span::Overall,
            step_limit: None,
            on_reject: Fail,
        }
    }

    /// An overall limit that comes from the request; `None` is none.
    #[must_use]
    pub fn per_request<F, Request>(limit: F) -> TimeoutLayer<LimitBy<F>>
    where
        F: Fn(&Request) -> Option<Duration>,
    {
        TimeoutLayer {
            limit: LimitBy(limit),
            span: Span::Overall,
            step_limit: None,
            on_reject: Fail,
        }
    }

    /// A limit for each attempt that comes from the request; `None` is none.
    #[must_use]
    pub fn per_attempt_by<F, Request>(limit: F) -> TimeoutLayer<LimitBy<F>>
    where
        F: Fn(&Request) -> Option<Duration>,
    {
        TimeoutLayer {
            limit: LimitBy(limit),
            span: Span::Attempt,
            step_limit: None,
            on_reject: Fail,
        }
    }

    /// The limit, if there is one.
    #[must_use]
    pub const fn limit(&self) -> Option<Duration> {
        self.limit
    }
}

impl<L, O> TimeoutLayer<L, O> {
    /// The limit of each named step inside the job, where the step sets none itself. Needs a stack that tracks a job;
    /// of several layers the shortest limit holds.
    #[must_use]
    pub fn step_limit(mut self, limit: Duration) -> Self {
        self.step_limit = Some(limit);
        self
    }

    /// Fails with the user's own error instead of a [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn fail_with<F, E>(self, fail: F) -> TimeoutLayer<L, FailWith<F>>
    where
        F: Fn(Elapsed) -> E,
    {
        self.on_reject(FailWith(fail))
    }

    /// Answers with a response instead of an error, and leaves the inner error type untouched.
    #[must_use]
    pub fn respond_with<F, Response>(self, respond: F) -> TimeoutLayer<L, RespondWith<F>>
    where
        F: Fn(Elapsed) -> Response,
    {
        self.on_reject(RespondWith(respond))
    }

    fn on_reject<P>(self, on_reject: P) -> TimeoutLayer<L, P> {
        TimeoutLayer {
            limit: self.limit,
            span: self.span,
            step_limit: self.step_limit,
            on_reject,
        }
    }
}

impl<L, O> fmt::Debug for TimeoutLayer<L, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutLayer")
            .field("span", &self.span)
            .field("step_limit", &self.step_limit)
            .finish_non_exhaustive()
    }
}

/// Where the limit of a call comes from.
pub trait Limit<Request> {
    /// The limit for this request; `None` is none.
    fn limit(&self, request: &Request) -> Option<Duration>;
}

impl<Request> Limit<Request> for Option<Duration> {
    #[inline(always)]
    fn limit(&self, _: &Request) -> Option<Duration> {
        *self
    }
}

/// A limit that may be known before there is a request.
pub trait FixedLimit {
    /// The limit, if it is the same for every request.
    fn fixed_limit(&self) -> Option<Duration>;
}

impl FixedLimit for Option<Duration> {
    fn fixed_limit(&self) -> Option<Duration> {
        *self
    }
}

impl<F> FixedLimit for LimitBy<F> {
    fn fixed_limit(&self) -> Option<Duration> {
        None
    }
}

/// A limit that comes from the request. Made by [`TimeoutLayer::per_request`].
#[derive(Clone, Copy)]
pub struct LimitBy<F>(F);

impl<F, Request> Limit<Request> for LimitBy<F>
where
    F: Fn(&Request) -> Option<Duration>,
{
    #[inline(always)]
    fn limit(&self, request: &Request) -> Option<Duration> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for LimitBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitBy").finish_non_exhaustive()
    }
}
