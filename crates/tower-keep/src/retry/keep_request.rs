//! Keeping a request for further attempts: by `Clone`, by `clone_with`, or in a form of its own.

use std::fmt;

/// Keeps a request for further attempts.
#[diagnostic::on_unimplemented(
    message = "`{Request}` cannot be repeated: implement `Clone` or set `clone_with`",
    label = "a retry has to repeat `{Request}`",
    note = "a closure given to `clone_with` has to be an `Fn(&{Request}) -> Option<{Request}>`",
    note = "for an HTTP client, `RetryLayer::http` repeats what may be repeated, and `ReplayLayer` \
            outside it makes every body repeatable"
)]
pub trait KeepRequest<Request>: sealed::Sealed {
    /// The kept request, between the attempts.
    type Kept;

    /// Keeps the request before the first attempt, and may change it, for example to record its
    /// body. `None` means that the request cannot be repeated.
    #[doc(hidden)]
    fn keep(&self, request: &mut Request) -> Option<Self::Kept>;

    /// The request for another attempt, and what is kept for further attempts. After the last
    /// attempt nothing needs to be kept, so that it can take the kept request itself.
    #[doc(hidden)]
    fn again(&self, kept: Self::Kept, is_last: bool) -> (Request, Option<Self::Kept>);

    /// Whether a kept request can still be repeated. The retry asks after each failed attempt,
    /// before it plans the wait. It calls [`again`](Self::again) after the wait.
    #[doc(hidden)]
    #[inline(always)]
    fn can_repeat(&self, kept: &Self::Kept) -> bool {
        let _ = kept;
        true
    }

    /// Another attempt is certain. From now on the earlier attempts must not use up what the next
    /// one needs.
    #[doc(hidden)]
    #[inline(always)]
    fn claim(&self, kept: &Self::Kept) {
        let _ = kept;
    }
}

/// Uses the request's `Clone`. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByClone;

#[diagnostic::do_not_recommend]
impl<Request: Clone> KeepRequest<Request> for ByClone {
    type Kept = Request;

    #[inline(always)]
    fn keep(&self, request: &mut Request) -> Option<Request> {
        Some(request.clone())
    }

    #[inline(always)]
    fn again(&self, kept: Request, is_last: bool) -> (Request, Option<Request>) {
        let next = (!is_last).then(|| kept.clone());
        (kept, next)
    }
}

/// Uses a closure. Made by [`RetryLayer::clone_with`](super::RetryLayer::clone_with).
#[derive(Clone, Copy)]
pub struct CloneWith<F>(pub(super) F);

#[diagnostic::do_not_recommend]
impl<F, Request> KeepRequest<Request> for CloneWith<F>
where
    F: Fn(&Request) -> Option<Request>,
{
    type Kept = Request;

    #[inline(always)]
    fn keep(&self, request: &mut Request) -> Option<Request> {
        (self.0)(request)
    }

    fn again(&self, kept: Request, is_last: bool) -> (Request, Option<Request>) {
        let next = if is_last { None } else { (self.0)(&kept) };
        (kept, next)
    }
}

impl<F> fmt::Debug for CloneWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloneWith").finish_non_exhaustive()
    }
}

pub(crate) mod sealed {
    pub trait Sealed {}
    impl Sealed for super::ByClone {}
    impl<F> Sealed for super::CloneWith<F> {}
}

#[cfg(test)]
mod tests;
