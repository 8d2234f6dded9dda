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
pub struct Keep<C = ErrorsAsFailures> {
    pub(super) limits: Limits,
    pub(super) classify: C,
}

impl<C> fmt::Debug for Keep<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limits.fmt(f)
    }
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

impl<C: Clone + Send + 'static> JoinMode for Keep<C> {
    fn kept(&self) -> Keeping {
        Keeping(Some(self.limits))
    }
}

impl<C, Response, Error> KeepMode<Response, Error> for Keep<C>
where
    C: Classify<Response, Error> + Clone + Send + 'static,
{
    fn keeps(&self, result: &Result<Response, Error>) -> bool {
        self.classify.classify(result) == Outcome::Success
    }
}
