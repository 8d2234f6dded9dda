use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::{
    deadline::Deadline,
    limit::{Limit, LimitBy},
};
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

/// What the limit measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// The time since the call.
    Total,
    /// The time without progress.
    Idle,
}

/// Limits how long a call may take, or how long it may go without progress. One layer is one limit: several compose.
#[derive(Clone)]
pub struct TimeoutLayer<L = Option<Duration>, O = Fail, M = AtOnce> {
    pub(crate) limit: L,
    pub(crate) span: Span,
    pub(crate) measure: Measure,
    pub(crate) step_limit: Option<Duration>,
    pub(crate) grace: Option<Duration>,
    pub(super) on_reject: O,
    mode: M,
}

/// The work is dropped at the limit. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct AtOnce;

/// The work is watched: for its progress, or for its own end within a grace period. Set by [`TimeoutLayer::idle`] and
/// the like, and by [`TimeoutLayer::grace`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched;

impl<L> TimeoutLayer<L> {
    const fn total(limit: L, span: Span) -> Self {
        Self {
            limit,
            span,
            measure: Measure::Total,
            step_limit: None,
            grace: None,
            on_reject: Fail,
            mode: AtOnce,
        }
    }
}

impl<L> TimeoutLayer<L, Fail, Watched> {
    const fn of_idleness(limit: L, span: Span) -> Self {
        Self {
            limit,
            span,
            measure: Measure::Idle,
            step_limit: None,
            grace: None,
            on_reject: Fail,
            mode: Watched,
        }
    }
}

impl TimeoutLayer {
    /// One limit over all attempts and waits. When it expires the job is over.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self::total(Some(limit), Span::Overall)
    }

    /// A limit for each attempt: inside a retry, it starts anew with each.
    #[must_use]
    pub const fn per_attempt(limit: Duration) -> Self {
        Self::total(Some(limit), Span::Attempt)
    }

    /// No limit over the call: for a layer that only sets a [`step_limit`](Self::step_limit).
    #[must_use]
    pub const fn none() -> Self {
        Self::total(None, Span::Overall)
    }

    /// An overall limit that comes from the request; `None` is none.
    #[must_use]
    pub fn per_request<F, Request>(limit: F) -> TimeoutLayer<LimitBy<F>>
    where
        F: Fn(&Request) -> Option<Duration>,
    {
        TimeoutLayer::total(LimitBy(limit), Span::Overall)
    }

    /// A limit for each attempt that comes from the request; `None` is none.
    #[must_use]
    pub fn per_attempt_by<F, Request>(limit: F) -> TimeoutLayer<LimitBy<F>>
    where
        F: Fn(&Request) -> Option<Duration>,
    {
        TimeoutLayer::total(LimitBy(limit), Span::Attempt)
    }

    /// A limit on the time without progress, over all attempts. When it expires the job is over.
    ///
    /// Progress is a [report](crate::Job::progress), the beginning or the end of a [step](crate::Job::step) or of an
    /// attempt, and whatever is progress of a job that works for this one. The wait before the next attempt does not
    /// count. The layer joins the stack's job or begins one.
    #[must_use]
    pub const fn idle(limit: Duration) -> TimeoutLayer<Option<Duration>, Fail, Watched> {
        TimeoutLayer::of_idleness(Some(limit), Span::Overall)
    }

    /// A limit on the time that an attempt goes without progress, as [`idle`](Self::idle) is for the job. When it
    /// expires the attempt fails and may be retried.
    #[must_use]
    pub const fn idle_per_attempt(
        limit: Duration,
    ) -> TimeoutLayer<Option<Duration>, Fail, Watched> {
        TimeoutLayer::of_idleness(Some(limit), Span::Attempt)
    }

    /// As [`idle`](Self::idle), with the limit from the request; `None` is none.
    #[must_use]
    pub fn idle_by<F, Request>(limit: F) -> TimeoutLayer<LimitBy<F>, Fail, Watched>
    where
        F: Fn(&Request) -> Option<Duration>,
    {
        TimeoutLayer::of_idleness(LimitBy(limit), Span::Overall)
    }

    /// As [`idle_per_attempt`](Self::idle_per_attempt), with the limit from the request; `None` is none.
    #[must_use]
    pub fn idle_per_attempt_by<F, Request>(limit: F) -> TimeoutLayer<LimitBy<F>, Fail, Watched>
    where
        F: Fn(&Request) -> Option<Duration>,
    {
        TimeoutLayer::of_idleness(LimitBy(limit), Span::Attempt)
    }
}

impl<O, M> TimeoutLayer<Option<Duration>, O, M> {
    /// The limit, if there is one.
    #[must_use]
    pub const fn limit(&self) -> Option<Duration> {
        self.limit
    }
}

impl<L, O, M> TimeoutLayer<L, O, M> {
    /// The limit of each named step inside the job, where the step sets none itself. Needs a stack that tracks a job;
    /// of several layers the shortest limit holds.
    #[must_use]
    pub fn step_limit(mut self, limit: Duration) -> Self {
        self.step_limit = Some(limit);
        self
    }

    /// At the limit, tells the work to stop and lets it run on for this long, so that it can clean up; then it is
    /// dropped. Default: it is dropped at the limit.
    ///
    /// The work sees it as a cancellation, by [`Job::is_cancelled`](crate::Job::is_cancelled),
    /// [`Job::cancelled`](crate::Job::cancelled), [`Job::token`](crate::Job::token) and
    /// [`Job::checkpoint`](crate::Job::checkpoint); after the limit of an attempt, the next attempt does not. The call
    /// ends in [`Elapsed`] whatever the work returns meanwhile: a caller must be able to rely on a limit, and work that
    /// was told to stop seldom has the whole result. The event says, once it is over, whether the work came to its own
    /// end. There is no grace where nothing that this call could stop is running: where it waits for an execution that
    /// other callers share, or for a gate.
    ///
    /// The layer joins the stack's job or begins one. Zero is none.
    ///
    /// A client stack that the clean-up calls would work for the stopped code, and so be cancelled at once: run it in
    /// `Job::default().scope(..)`, as nobody's child.
    #[must_use]
    pub fn grace(self, grace: Duration) -> TimeoutLayer<L, O, Watched> {
        TimeoutLayer {
            limit: self.limit,
            span: self.span,
            measure: self.measure,
            step_limit: self.step_limit,
            grace: (!grace.is_zero()).then_some(grace),
            on_reject: self.on_reject,
            mode: Watched,
        }
    }

    /// Fails with the user's own error instead of a [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn fail_with<F, E>(self, fail: F) -> TimeoutLayer<L, FailWith<F>, M>
    where
        F: Fn(Elapsed) -> E,
    {
        self.on_reject(FailWith(fail))
    }

    /// Answers with a response instead of an error, and leaves the inner error type untouched.
    #[must_use]
    pub fn respond_with<F, Response>(self, respond: F) -> TimeoutLayer<L, RespondWith<F>, M>
    where
        F: Fn(Elapsed) -> Response,
    {
        self.on_reject(RespondWith(respond))
    }

    fn on_reject<P>(self, on_reject: P) -> TimeoutLayer<L, P, M> {
        TimeoutLayer {
            limit: self.limit,
            span: self.span,
            measure: self.measure,
            step_limit: self.step_limit,
            grace: self.grace,
            on_reject,
            mode: self.mode,
        }
    }

    /// The limit of this request's call, which begins now. One past the end of time is none.
    #[inline(always)]
    pub(super) fn deadline<Request>(&self, request: &Request) -> Option<Deadline>
    where
        L: Limit<Request>,
    {
        let limit = self.limit.limit(request)?;
        Some(Deadline {
            limit,
            at: Instant::now().checked_add(limit)?,
            span: self.span,
            measure: self.measure,
        })
    }
}

impl<L: fmt::Debug, O, M> fmt::Debug for TimeoutLayer<L, O, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutLayer")
            .field("limit", &self.limit)
            .field("span", &self.span)
            .field("measure", &self.measure)
            .field("step_limit", &self.step_limit)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}
