use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::cache::Limits;
use crate::classify::{Classify, ErrorsAsFailures, Outcome};

/// Duplicates are rejected. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reject;

/// Duplicates wait for the result. Set by [`DedupLayer::join`](super::DedupLayer::join).
#[derive(Clone, Copy, Debug, Default)]
pub struct Join;

/// A newer call takes the place of the running one. Set by [`DedupLayer::latest`](super::DedupLayer::latest).
#[derive(Clone, Copy, Debug, Default)]
pub struct Latest;

/// Calls wait for quiet, and the last one runs. Set by [`DedupLayer::debounce`](super::DedupLayer::debounce).
#[derive(Clone, Copy, Debug)]
pub struct Debounce {
    pub(super) quiet: Duration,
    pub(super) max_wait: Option<Duration>,
}

impl Debounce {
    /// When a call that comes now may run, if nobody follows and nothing runs; `since` is when the first of its burst
    /// came. `None` is never.
    pub(super) fn due(&self, since: Instant, now: Instant) -> Option<Instant> {
        let quiet = now.checked_add(self.quiet);
        let most = self.max_wait.and_then(|wait| since.checked_add(wait));
        quiet.into_iter().chain(most).min()
    }
}

/// As [`Join`], and a success is cached for calls that come later. Set by [`DedupLayer::keep`](super::DedupLayer::keep).
#[derive(Clone, Copy)]
pub struct Keep<C = ErrorsAsFailures, R = AlwaysRead> {
    pub(super) limits: Limits,
    pub(super) classify: C,
    pub(super) refresh: R,
}

impl<C, R> fmt::Debug for Keep<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limits.fmt(f)
    }
}

/// Which calls are not answered from the cache. Implemented by the modes in which calls join.
pub trait RefreshMode<Request> {
    /// Whether this request is executed, though there may be a cached result.
    #[doc(hidden)]
    fn refreshes(&self, request: &Request) -> bool;
}

impl<Request> RefreshMode<Request> for Join {
    #[inline(always)]
    fn refreshes(&self, _: &Request) -> bool {
        false
    }
}

impl<C, R: Refresh<Request>, Request> RefreshMode<Request> for Keep<C, R> {
    #[inline(always)]
    fn refreshes(&self, request: &Request) -> bool {
        self.refresh.refreshes(request)
    }
}

/// Which requests are not answered from the cache.
pub trait Refresh<Request>: sealed::Sealed {
    #[doc(hidden)]
    fn refreshes(&self, request: &Request) -> bool;
}

/// Every call is answered from the cache, if its result is there. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysRead;

impl<Request> Refresh<Request> for AlwaysRead {
    #[inline(always)]
    fn refreshes(&self, _: &Request) -> bool {
        false
    }
}

/// A closure picks the calls that are executed though there is a cached result. Made by
/// [`DedupLayer::refresh_if`](super::DedupLayer::refresh_if).
#[derive(Clone, Copy)]
pub struct RefreshIf<F>(pub(super) F);

impl<F, Request> Refresh<Request> for RefreshIf<F>
where
    F: Fn(&Request) -> bool,
{
    #[inline(always)]
    fn refreshes(&self, request: &Request) -> bool {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for RefreshIf<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshIf").finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::AlwaysRead {}
    impl<F> Sealed for super::RefreshIf<F> {}
}

/// A mode in which calls join. Implemented by [`Join`] and [`Keep`].
pub trait JoinMode: Clone + Send + 'static {
    /// How long results are cached, if they are.
    fn kept(&self) -> Keeping;
}

/// A mode in which calls join, around a service with these results. Implemented by [`Join`] and [`Keep`].
pub trait KeepMode<Response, Error>: JoinMode {
    /// Whether this result may be cached.
    fn keeps(&self, result: &Result<Response, Error>) -> bool;
}

/// How long results are cached, if they are.
#[derive(Clone, Copy, Debug)]
pub struct Keeping(pub(super) Option<Limits>);

impl JoinMode for Join {
    #[inline(always)]
    fn kept(&self) -> Keeping {
        Keeping(None)
    }
}

impl<Response, Error> KeepMode<Response, Error> for Join {
    #[inline(always)]
    fn keeps(&self, _: &Result<Response, Error>) -> bool {
        false
    }
}

impl<C: Clone + Send + 'static, R: Clone + Send + 'static> JoinMode for Keep<C, R> {
    fn kept(&self) -> Keeping {
        Keeping(Some(self.limits))
    }
}

impl<C, R, Response, Error> KeepMode<Response, Error> for Keep<C, R>
where
    C: Classify<Response, Error> + Clone + Send + 'static,
    R: Clone + Send + 'static,
{
    fn keeps(&self, result: &Result<Response, Error>) -> bool {
        self.classify.classify(result) == Outcome::Success
    }
}
