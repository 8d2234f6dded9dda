//! `TimeoutLayer` and its settings: limit, kind, grace period, error or response.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::{
    body::UntilHead,
    deadline::Deadline,
    limit::{LimitBy, Measure, Span},
};
use crate::{
    for_request::ForRequest,
    job::Elapsed,
    reject::{Fail, FailWith, RespondWith},
};

/// Limits the time of a call, or its time without progress. One layer is one limit; several layers
/// compose.
///
/// To store a layer in a struct: without closures its type is `TimeoutLayer`. With a closure, use a
/// type parameter, `impl Layer<S>`, or a boxed service such as tower's `BoxCloneSyncService`.
///
/// `L` gives the limit of a call, `T` the limit of a step, `O` the error or response for the
/// caller, and `B` says what limits the body of an HTTP response.
#[derive(Clone)]
pub struct TimeoutLayer<L = Option<Duration>, T = Option<Duration>, O = Fail, B = UntilHead> {
    pub(crate) limit: L,
    pub(crate) span: Span,
    pub(crate) measure: Measure,
    pub(crate) step_limit: T,
    pub(super) name: Option<&'static str>,
    // The grace period, in two parts as in `Deadline`; zero means none.
    grace_secs: u64,
    grace_nanos: u32,
    pub(super) on_reject: O,
    pub(crate) body: B,
}

impl TimeoutLayer {
    /// An overall limit: one limit over all attempts and waits. When it expires, the job ends.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self::of(Some(limit))
    }

    /// A layer without a fixed limit. Add [`limit_by`](Self::limit_by) or
    /// [`step_limit`](Self::step_limit).
    #[must_use]
    pub const fn none() -> Self {
        Self::of(None)
    }
}

impl<L> TimeoutLayer<L> {
    const fn of(limit: L) -> Self {
        Self {
            limit,
            span: Span::Overall,
            measure: Measure::Total,
            step_limit: None,
            name: None,
            grace_secs: 0,
            grace_nanos: 0,
            on_reject: Fail,
            body: UntilHead,
        }
    }
}

impl<T, O, B> TimeoutLayer<Option<Duration>, T, O, B> {
    /// The fixed limit, if there is one.
    #[must_use]
    pub const fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Takes the limit from the request, for every kind of limit: overall, per attempt, idle.
    ///
    /// `None` falls back to the layer's limit. [`Duration::MAX`] means no limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::Request;
    /// use tower_keep::TimeoutLayer;
    ///
    /// /// How long this call may take.
    /// #[derive(Clone, Copy)]
    /// struct Patience(Duration);
    ///
    /// let limit = TimeoutLayer::new(Duration::from_secs(10)).limit_by(|request: &Request<String>| {
    ///     request.extensions().get().map(|Patience(limit)| *limit)
    /// });
    /// # let _ = limit;
    /// ```
    #[must_use]
    pub fn limit_by<F, Request>(self, limit: F) -> TimeoutLayer<LimitBy<F>, T, O, B>
    where
        F: Fn(&Request) -> Option<Duration>,
    {
        TimeoutLayer {
            limit: LimitBy {
                by: ForRequest(limit),
                default: self.limit,
            },
            span: self.span,
            measure: self.measure,
            step_limit: self.step_limit,
            name: self.name,
            grace_secs: self.grace_secs,
            grace_nanos: self.grace_nanos,
            on_reject: self.on_reject,
            body: self.body,
        }
    }
}

impl<L, O, B> TimeoutLayer<L, Option<Duration>, O, B> {
    /// Limits each named step of the job, unless the step sets its own limit. Default: none.
    ///
    /// It needs a stack that tracks a job. With several such layers, the shortest limit applies.
    #[must_use]
    pub const fn step_limit(mut self, limit: Duration) -> Self {
        self.step_limit = Some(limit);
        self
    }

    /// Takes the [`step_limit`](Self::step_limit) from the request.
    ///
    /// `None` falls back to the layer's step limit, if it has one. [`Duration::MAX`] means no step
    /// limit from this layer.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, Job, JobLayer, TimeoutLayer};
    ///
    /// struct Import {
    ///     is_large: bool,
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let limits = TimeoutLayer::none()
    ///     .step_limit(Duration::from_secs(10))
    ///     .step_limit_by(|import: &Import| import.is_large.then_some(Duration::from_secs(600)));
    /// let import = service_fn(|_: Import| async {
    ///     let minute = async {
    ///         tokio::time::sleep(Duration::from_secs(60)).await;
    ///         Ok::<_, BoxError>(())
    ///     };
    ///     Job::current().step("parse", minute).await
    /// });
    /// let service = JobLayer::new("import").layer(limits.layer(import));
    /// service.clone().oneshot(Import { is_large: true }).await.unwrap();
    /// service.oneshot(Import { is_large: false }).await.unwrap_err();
    /// # });
    /// ```
    #[must_use]
    pub fn step_limit_by<F, Request>(self, limit: F) -> TimeoutLayer<L, LimitBy<F>, O, B>
    where
        F: Fn(&Request) -> Option<Duration>,
    {
        TimeoutLayer {
            limit: self.limit,
            span: self.span,
            measure: self.measure,
            step_limit: LimitBy {
                by: ForRequest(limit),
                default: self.step_limit,
            },
            name: self.name,
            grace_secs: self.grace_secs,
            grace_nanos: self.grace_nanos,
            on_reject: self.on_reject,
            body: self.body,
        }
    }
}

impl<L, F, O, B> TimeoutLayer<L, LimitBy<F>, O, B> {
    /// Limits each named step, unless the step or the request sets a limit.
    #[must_use]
    pub const fn step_limit(mut self, limit: Duration) -> Self {
        self.step_limit.default = Some(limit);
        self
    }
}

impl<L, T, O> TimeoutLayer<L, T, O> {
    /// Limits each attempt instead of the whole call, inside a retry.
    ///
    /// The limit restarts with each attempt. When it expires, the attempt fails and may be retried.
    #[must_use]
    pub const fn per_attempt(mut self) -> Self {
        self.span = Span::Attempt;
        self
    }

    /// Limits the time without progress instead of the total time.
    ///
    /// See the [module](super#idle-limits) for what counts as progress. The layer joins the job of
    /// the stack, or begins one.
    #[must_use]
    pub const fn idle(mut self) -> Self {
        self.measure = Measure::Idle;
        self
    }
}

impl<L, T, O, B> TimeoutLayer<L, T, O, B> {
    /// Names the limit in errors, events and log lines. Default: no name.
    ///
    /// A step limit has the name of its step instead.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, TimeoutLayer, find, timeout::Elapsed};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let hangs = service_fn(|(): ()| std::future::pending::<Result<(), BoxError>>());
    /// let database = TimeoutLayer::new(Duration::from_secs(5)).named("db").layer(hangs);
    /// let error = database.oneshot(()).await.unwrap_err();
    /// assert_eq!(error.to_string(), "overall time limit \"db\" of 5s expired");
    /// assert_eq!(find::<Elapsed>(&*error).unwrap().name(), Some("db"));
    /// # });
    /// ```
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[must_use]
    #[track_caller]
    pub const fn named(mut self, name: &'static str) -> Self {
        assert!(!name.is_empty(), "the name of a limit must not be empty");
        self.name = Some(name);
        self
    }

    /// Sets a grace period: at the limit the work is cancelled, and dropped only after this time,
    /// so that it can clean up. Default: zero, the work is dropped at the limit.
    ///
    /// - The work sees the cancellation through [`Job::is_cancelled`](crate::Job::is_cancelled),
    ///   [`Job::cancelled`](crate::Job::cancelled), [`Job::token`](crate::Job::token) and
    ///   [`Job::checkpoint`](crate::Job::checkpoint). After the limit of an attempt, the next
    ///   attempt does not see it.
    /// - The call ends with [`Elapsed`], whatever the work returns during the grace period. A
    ///   caller can thus rely on the limit.
    /// - The event after the grace period tells whether the work ended by itself.
    /// - There is no grace period while the call runs no work of its own that could clean up. This
    ///   is so while the call waits to start, for its next attempt, or for an execution that other
    ///   callers share.
    /// - With a grace period, the layer joins the job of the stack, or begins one.
    ///
    /// If the clean-up makes a call through another stack, that call becomes a child of the
    /// cancelled job and is cancelled at once. To avoid this, make the call in
    /// `Job::default().scope(..)`, where it has no parent.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace_secs = grace.as_secs();
        self.grace_nanos = grace.subsec_nanos();
        self
    }

    /// Fails with your own error instead of a [`BoxError`](crate::BoxError).
    ///
    /// An HTTP [body](super#http-bodies) still fails with a `BoxError`.
    #[must_use]
    pub fn fail_with<F, E>(self, fail: F) -> TimeoutLayer<L, T, FailWith<F>, B>
    where
        F: Fn(Elapsed) -> E,
    {
        self.on_reject(FailWith(fail))
    }

    /// Returns a response instead of an error, and keeps the inner error type.
    ///
    /// Only until the head of an HTTP response: its [body](super#http-bodies) fails with an error.
    #[must_use]
    pub fn respond_with<F, Response>(self, respond: F) -> TimeoutLayer<L, T, RespondWith<F>, B>
    where
        F: Fn(Elapsed) -> Response,
    {
        self.on_reject(RespondWith(respond))
    }

    fn on_reject<R>(self, on_reject: R) -> TimeoutLayer<L, T, R, B> {
        TimeoutLayer {
            limit: self.limit,
            span: self.span,
            measure: self.measure,
            step_limit: self.step_limit,
            name: self.name,
            grace_secs: self.grace_secs,
            grace_nanos: self.grace_nanos,
            on_reject,
            body: self.body,
        }
    }

    /// The layer that limits the body, too.
    #[cfg(feature = "http")]
    pub(crate) const fn limiting<X>(self, body: X) -> TimeoutLayer<L, T, O, X>
    where
        L: Copy,
        T: Copy,
        O: Copy,
        B: Copy,
    {
        TimeoutLayer {
            limit: self.limit,
            span: self.span,
            measure: self.measure,
            step_limit: self.step_limit,
            name: self.name,
            grace_secs: self.grace_secs,
            grace_nanos: self.grace_nanos,
            on_reject: self.on_reject,
            body,
        }
    }

    #[inline(always)]
    pub(crate) fn grace_period(&self) -> Option<Duration> {
        let grace = Duration::new(self.grace_secs, self.grace_nanos);
        (!grace.is_zero()).then_some(grace)
    }

    /// Whether the layer joins the job of the stack, or begins one.
    #[inline(always)]
    pub(super) fn tracks(&self) -> bool {
        self.measure == Measure::Idle || self.grace_period().is_some()
    }

    /// The deadline of a call that began at this time.
    #[inline(always)]
    pub(super) fn deadline(&self, limit: Duration, began: Instant) -> Option<Deadline> {
        Deadline::new(limit, self.span, self.measure, self.name, began)
    }
}

impl<L, T, O, B> fmt::Debug for TimeoutLayer<L, T, O, B>
where
    L: fmt::Debug,
    T: fmt::Debug,
    B: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutLayer")
            .field("name", &self.name)
            .field("limit", &self.limit)
            .field("span", &self.span)
            .field("measure", &self.measure)
            .field("step_limit", &self.step_limit)
            .field("grace", &self.grace_period())
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
