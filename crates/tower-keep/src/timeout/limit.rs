//! Where a limit comes from, and what it is on.

use std::{fmt, time::Duration};

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

/// A limit that comes from the request. Made by [`TimeoutLayer::by`](super::TimeoutLayer::by).
#[derive(Clone, Copy)]
pub struct LimitBy<F>(pub(super) F);

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
        f.write_str("from the request")
    }
}
