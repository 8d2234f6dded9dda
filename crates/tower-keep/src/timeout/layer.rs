//! The layer and its settings.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::{
    deadline::Deadline,
    limit::{LimitBy, Measure, Span},
};
use crate::{
    for_request::ForRequest,
    job::Elapsed,
    reject::{Fail, FailWith, RespondWith},
};

/// Limits how long a call may take, or how long it may go without progress. One layer is one limit: several compose.
///
/// To keep a layer in a struct: `TimeoutLayer` alone is its type as long as it has no closure. With a closure use a type
/// parameter, `impl Layer<S>`, or a boxed service such as tower's `BoxCloneSyncService`.
///
/// `L` is where the limit of a call comes from, `T` where that of each step comes from, `O` what the caller sees.
#[derive(Clone)]
pub struct TimeoutLayer<L = Option<Duration>, T = Option<Duration>, O = Fail> {
    pub(crate) limit: L,
    pub(crate) span: Span,
    pub(crate) measure: Measure,
    pub(crate) step_limit: T,
    name: Option<&'static str>,
    // The grace period, in two parts as in `Deadline`; zero is none.
    grace_secs: u64,
    grace_nanos: u32,
    pub(super) on_reject: O,
}

impl TimeoutLayer {
    /// One limit over all attempts and waits. When it expires the job is over.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self::of(Some(limit))
    }

    /// No limit of the layer's own: what is limited is said by [`limit_by`](Self::limit_by) the request, or by a
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
        }
    }
}

impl<T, O> TimeoutLayer<Option<Duration>, T, O> {
    /// The limit, if there is one.
    #[must_use]
    pub const fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// A request may set the limit itself: `None` is the layer's own, [`Duration::MAX`] none at all. Of any kind:
    /// overall, of an attempt, idle.
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
    pub fn limit_by<F, Request>(self, limit: F) -> TimeoutLayer<LimitBy<F>, T, O>
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
        }
    }
}

impl<L, O> TimeoutLayer<L, Option<Duration>, O> {
    /// The limit of each named step inside the job, where the step sets none itself. Needs a stack that tracks a job;
    /// of several layers the shortest limit holds.
    #[must_use]
    pub const fn step_limit(mut self, limit: Duration) -> Self {
        self.step_limit = Some(limit);
        self
    }

    /// A request may set the [`step_limit`](Self::step_limit) itself: `None` is the layer's own, if it has one,
    /// [`Duration::MAX`] none from this layer.
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
    pub fn step_limit_by<F, Request>(self, limit: F) -> TimeoutLayer<L, LimitBy<F>, O>
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
        }
    }
}

impl<L, F, O> TimeoutLayer<L, LimitBy<F>, O> {
    /// The limit of each named step, where neither the step nor the request sets one.
    #[must_use]
    pub const fn step_limit(mut self, limit: Duration) -> Self {
        self.step_limit.default = Some(limit);
        self
    }
}

impl<L, T, O> TimeoutLayer<L, T, O> {
    /// Names the limit, so that an error, an event and a log line say which of several it was. Default: no name.
    ///
    /// Of the limits that steps have, each has its step's name instead.
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

    /// The limit is on each attempt: inside a retry, it starts again with each. When it expires the attempt fails and
    /// may be retried.
    #[must_use]
    pub const fn per_attempt(mut self) -> Self {
        self.span = Span::Attempt;
        self
    }

    /// The limit is on the time without progress.
    ///
    /// Progress is a [report](crate::Job::progress), the beginning or the end of a [step](crate::Job::step) or of an
    /// attempt, and whatever is progress of a job that works for this one. The wait before the next attempt does not
    /// count. The layer joins the stack's job or begins one.
    #[must_use]
    pub const fn idle(mut self) -> Self {
        self.measure = Measure::Idle;
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
    /// Zero is none. With any other the layer joins the stack's job or begins one.
    ///
    /// A client stack that the clean-up calls would work for the stopped code, and so be cancelled at once: run it in
    /// `Job::default().scope(..)`, as nobody's child.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace_secs = grace.as_secs();
        self.grace_nanos = grace.subsec_nanos();
        self
    }

    /// Fails with the user's own error instead of a [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn fail_with<F, E>(self, fail: F) -> TimeoutLayer<L, T, FailWith<F>>
    where
        F: Fn(Elapsed) -> E,
    {
        self.on_reject(FailWith(fail))
    }

    /// Answers with a response instead of an error, and leaves the inner error type untouched.
    #[must_use]
    pub fn respond_with<F, Response>(self, respond: F) -> TimeoutLayer<L, T, RespondWith<F>>
    where
        F: Fn(Elapsed) -> Response,
    {
        self.on_reject(RespondWith(respond))
    }

    fn on_reject<R>(self, on_reject: R) -> TimeoutLayer<L, T, R> {
        TimeoutLayer {
            limit: self.limit,
            span: self.span,
            measure: self.measure,
            step_limit: self.step_limit,
            name: self.name,
            grace_secs: self.grace_secs,
            grace_nanos: self.grace_nanos,
            on_reject,
        }
    }

    #[inline(always)]
    pub(crate) fn grace_period(&self) -> Option<Duration> {
        let grace = Duration::new(self.grace_secs, self.grace_nanos);
        (!grace.is_zero()).then_some(grace)
    }

    /// Whether the layer joins the job or begins one.
    #[inline(always)]
    pub(super) fn tracks(&self) -> bool {
        self.measure == Measure::Idle || self.grace_period().is_some()
    }

    /// The limit of a call that began at this time.
    #[inline(always)]
    pub(super) fn deadline(&self, limit: Duration, began: Instant) -> Option<Deadline> {
        Deadline::new(limit, self.span, self.measure, self.name, began)
    }
}

impl<L: fmt::Debug, T: fmt::Debug, O> fmt::Debug for TimeoutLayer<L, T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutLayer")
            .field("name", &self.name)
            .field("limit", &self.limit)
            .field("span", &self.span)
            .field("measure", &self.measure)
            .field("step_limit", &self.step_limit)
            .field("grace", &self.grace_period())
            .finish_non_exhaustive()
    }
}
