//! The maximum number of retries of a call: from the layer, or from the request.

use std::fmt;

use crate::for_request::{AskRequest, ForRequest};

/// Chooses the maximum number of retries of a call.
#[diagnostic::on_unimplemented(
    message = "the closure given to `max_retries_by` does not take `&{Request}`",
    label = "the service takes `{Request}`",
    note = "the closure has to be an `Fn(&{Request}) -> Option<u32>`"
)]
pub trait ChooseRetries<Request>: sealed::Sealed {
    /// The number for this request; `None` falls back to the layer's.
    #[doc(hidden)]
    fn choose(&self, request: &Request) -> Option<u32>;
}

/// Uses the layer's [`max_retries`](super::RetryLayer::max_retries). The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerRetries;

impl<Request> ChooseRetries<Request> for LayerRetries {
    #[inline(always)]
    fn choose(&self, _: &Request) -> Option<u32> {
        None
    }
}

/// Chooses the number with a closure. Made by
/// [`RetryLayer::max_retries_by`](super::RetryLayer::max_retries_by).
#[derive(Clone)]
pub struct RetriesBy<F>(pub(super) ForRequest<F>);

#[diagnostic::do_not_recommend]
impl<F, Request> ChooseRetries<Request> for RetriesBy<F>
where
    ForRequest<F>: AskRequest<Request, Option<u32>>,
{
    #[inline(always)]
    fn choose(&self, request: &Request) -> Option<u32> {
        self.0.ask(request)
    }
}

impl<F> fmt::Debug for RetriesBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetriesBy").finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::LayerRetries {}
    impl<F> Sealed for super::RetriesBy<F> {}
}
