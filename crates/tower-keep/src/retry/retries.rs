//! How many retries a call may make: one number for all, or one from the request.

use std::fmt;

/// How many retries a call may make.
pub trait ChooseRetries<Request>: sealed::Sealed {
    /// As many as this request says; `None` is the layer's own number.
    #[doc(hidden)]
    fn choose(&self, request: &Request) -> Option<u32>;
}

/// Every call has the layer's [`max_retries`](super::RetryLayer::max_retries). The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedRetries;

impl<Request> ChooseRetries<Request> for FixedRetries {
    #[inline(always)]
    fn choose(&self, _: &Request) -> Option<u32> {
        None
    }
}

/// A closure says how many. Made by [`RetryLayer::max_retries_by`](super::RetryLayer::max_retries_by).
#[derive(Clone, Copy)]
pub struct RetriesBy<F>(pub(super) F);

impl<F, Request> ChooseRetries<Request> for RetriesBy<F>
where
    F: Fn(&Request) -> Option<u32>,
{
    #[inline(always)]
    fn choose(&self, request: &Request) -> Option<u32> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for RetriesBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetriesBy").finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::FixedRetries {}
    impl<F> Sealed for super::RetriesBy<F> {}
}
