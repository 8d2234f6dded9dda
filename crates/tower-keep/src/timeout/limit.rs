//! The source of a limit (layer or request), its span (call or attempt) and its measure (total or
//! idle).

use std::{fmt, time::Duration};

use crate::for_request::{AskRequest, ForRequest};

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

/// The source of a limit.
#[diagnostic::on_unimplemented(
    message = "the closure given to `limit_by` or `step_limit_by` does not take `&{Request}`",
    label = "the service takes `{Request}`",
    note = "the closure has to be an `Fn(&{Request}) -> Option<Duration>`"
)]
pub trait Limit<Request>: sealed::Sealed {
    /// The limit for this request; `None` means no limit.
    fn limit(&self, request: &Request) -> Option<Duration>;
}

impl<Request> Limit<Request> for Option<Duration> {
    #[inline(always)]
    fn limit(&self, _: &Request) -> Option<Duration> {
        *self
    }
}

/// A limit that may be known without a request.
#[cfg(feature = "pipeline")]
pub trait FixedLimit: sealed::Sealed {
    /// The limit of a request that sets none.
    fn fixed_limit(&self) -> Option<Duration>;
}

#[cfg(feature = "pipeline")]
impl FixedLimit for Option<Duration> {
    fn fixed_limit(&self) -> Option<Duration> {
        *self
    }
}

#[cfg(feature = "pipeline")]
impl<F> FixedLimit for LimitBy<F> {
    fn fixed_limit(&self) -> Option<Duration> {
        self.default
    }
}

/// A limit from the request, or else from the layer. Made by
/// [`limit_by`](super::TimeoutLayer::limit_by) and
/// [`step_limit_by`](super::TimeoutLayer::step_limit_by).
#[derive(Clone)]
pub struct LimitBy<F> {
    pub(super) by: ForRequest<F>,
    pub(super) default: Option<Duration>,
}

#[diagnostic::do_not_recommend]
impl<F, Request> Limit<Request> for LimitBy<F>
where
    ForRequest<F>: AskRequest<Request, Option<Duration>>,
{
    #[inline(always)]
    fn limit(&self, request: &Request) -> Option<Duration> {
        self.by.ask(request).or(self.default)
    }
}

impl<F> fmt::Debug for LimitBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.default {
            Some(default) => write!(f, "from the request, or else {default:?}"),
            None => f.write_str("from the request"),
        }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for Option<std::time::Duration> {}
    impl<F> Sealed for super::LimitBy<F> {}
}
