use std::{fmt, time::Duration};

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

/// A limit that comes from the request. Made by [`TimeoutLayer::per_request`](super::TimeoutLayer::per_request)
/// and the like.
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
