//! Cloning a request for another attempt: by `Clone`, or by `clone_with`.

use std::fmt;

/// Clones a request for another attempt.
#[diagnostic::on_unimplemented(
    message = "`{Request}` cannot be repeated: implement `Clone` or set `clone_with`",
    label = "a retry has to repeat `{Request}`",
    note = "a closure given to `clone_with` has to be an `Fn(&{Request}) -> Option<{Request}>`"
)]
pub trait CloneRequest<Request>: sealed::Sealed {
    /// A clone of the request; `None` means that the request cannot be repeated.
    fn clone_request(&self, request: &Request) -> Option<Request>;
}

/// Uses the request's `Clone`. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByClone;

#[diagnostic::do_not_recommend]
impl<Request: Clone> CloneRequest<Request> for ByClone {
    #[inline(always)]
    fn clone_request(&self, request: &Request) -> Option<Request> {
        Some(request.clone())
    }
}

/// Uses a closure. Made by [`RetryLayer::clone_with`](super::RetryLayer::clone_with).
#[derive(Clone, Copy)]
pub struct CloneWith<F>(pub(super) F);

#[diagnostic::do_not_recommend]
impl<F, Request> CloneRequest<Request> for CloneWith<F>
where
    F: Fn(&Request) -> Option<Request>,
{
    fn clone_request(&self, request: &Request) -> Option<Request> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for CloneWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloneWith").finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ByClone {}
    impl<F> Sealed for super::CloneWith<F> {}
}
