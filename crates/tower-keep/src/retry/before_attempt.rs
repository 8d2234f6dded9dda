//! Hooks that change the request before each attempt: `before_attempt`, `before_attempt_async`.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, Pending, pending},
};

use super::policy::Attempt;
use crate::for_request::ForRequest;

/// Changes the request before each attempt.
#[diagnostic::on_unimplemented(
    message = "the hook given to `before_attempt` or `before_attempt_async` does not fit the service",
    label = "the service takes `{Request}` and answers with `Result<{Response}, {Error}>`",
    note = "`before_attempt` takes `|request: &mut {Request}, attempt|`",
    note = "`before_attempt_async` takes a request and gives a future of `Result<{Request}, {Error}>`"
)]
pub trait BeforeAttempt<Request, Response, Error>: sealed::Sealed {
    /// The data that the hook keeps from an outcome for the next attempt.
    type Seen;

    /// The request of an asynchronous hook, held in the call's state before and after the hook.
    type Prepared;

    /// The future that changes the request.
    type Future: Future<Output = Result<Self::Prepared, Error>>;

    /// Whether the hook changes the request synchronously.
    #[doc(hidden)]
    const CHANGES: bool;

    /// Whether the hook is asynchronous. It must then hold no readiness of the service.
    #[doc(hidden)]
    const WAITS: bool;

    #[doc(hidden)]
    fn see(&self, outcome: &Result<Response, Error>) -> Option<Self::Seen>;

    #[doc(hidden)]
    fn change(&self, request: &mut Request, attempt: &Attempt<'_>);

    #[doc(hidden)]
    fn prepare(
        &self,
        request: Request,
        attempt: &Attempt<'_>,
        last: Option<Self::Seen>,
    ) -> Self::Future;

    /// Holds the first request until an asynchronous hook takes it.
    #[doc(hidden)]
    fn hold(request: Request) -> Option<Self::Prepared>;

    #[doc(hidden)]
    fn request(prepared: Self::Prepared) -> Request;
}

/// Leaves the request unchanged. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unchanged;

impl<Request, Response, Error> BeforeAttempt<Request, Response, Error> for Unchanged {
    type Seen = Infallible;
    type Prepared = Infallible;
    type Future = Pending<Result<Infallible, Error>>;

    const CHANGES: bool = false;
    const WAITS: bool = false;

    #[inline(always)]
    fn see(&self, _: &Result<Response, Error>) -> Option<Infallible> {
        None
    }

    #[inline(always)]
    fn change(&self, _: &mut Request, _: &Attempt<'_>) {}

    fn prepare(&self, _: Request, _: &Attempt<'_>, _: Option<Infallible>) -> Self::Future {
        pending()
    }

    fn hold(_: Request) -> Option<Infallible> {
        None
    }

    fn request(prepared: Infallible) -> Request {
        match prepared {}
    }
}

/// Changes the request with a closure. Made by
/// [`RetryLayer::before_attempt`](super::RetryLayer::before_attempt).
#[derive(Clone)]
pub struct ChangeWith<F>(pub(crate) ForRequest<F>);

/// What changes a request, in the two forms that [`AskRequest`](crate::for_request::AskRequest) has
/// too, and why.
pub trait ChangeRequest<Request> {
    #[doc(hidden)]
    fn change(&self, request: &mut Request, attempt: &Attempt<'_>);
}

#[diagnostic::do_not_recommend]
impl<F, Request> ChangeRequest<Request> for F
where
    F: Fn(&mut Request, &Attempt<'_>),
{
    #[inline(always)]
    fn change(&self, request: &mut Request, attempt: &Attempt<'_>) {
        self(request, attempt);
    }
}

#[diagnostic::do_not_recommend]
impl<F: ChangeRequest<Request>, Request> ChangeRequest<Request> for ForRequest<F> {
    #[inline(always)]
    fn change(&self, request: &mut Request, attempt: &Attempt<'_>) {
        self.0.change(request, attempt);
    }
}

#[diagnostic::do_not_recommend]
impl<F, Request, Response, Error> BeforeAttempt<Request, Response, Error> for ChangeWith<F>
where
    ForRequest<F>: ChangeRequest<Request>,
{
    type Seen = Infallible;
    type Prepared = Infallible;
    type Future = Pending<Result<Infallible, Error>>;

    const CHANGES: bool = true;
    const WAITS: bool = false;

    #[inline(always)]
    fn see(&self, _: &Result<Response, Error>) -> Option<Infallible> {
        None
    }

    #[inline(always)]
    fn change(&self, request: &mut Request, attempt: &Attempt<'_>) {
        self.0.change(request, attempt);
    }

    fn prepare(&self, _: Request, _: &Attempt<'_>, _: Option<Infallible>) -> Self::Future {
        pending()
    }

    fn hold(_: Request) -> Option<Infallible> {
        None
    }

    fn request(prepared: Infallible) -> Request {
        match prepared {}
    }
}

/// Changes the request with an asynchronous closure. Made by
/// [`RetryLayer::before_attempt_async`](super::RetryLayer::before_attempt_async).
#[derive(Clone, Copy)]
pub struct PrepareWith<F>(pub(super) F);

#[diagnostic::do_not_recommend]
impl<F, Prepare, Request, Response, Error> BeforeAttempt<Request, Response, Error>
    for PrepareWith<F>
where
    F: Fn(Request, &Attempt<'_>) -> Prepare,
    Prepare: Future<Output = Result<Request, Error>>,
{
    type Seen = Infallible;
    type Prepared = Request;
    type Future = Prepare;

    const CHANGES: bool = false;
    const WAITS: bool = true;

    #[inline(always)]
    fn see(&self, _: &Result<Response, Error>) -> Option<Infallible> {
        None
    }

    fn change(&self, _: &mut Request, _: &Attempt<'_>) {}

    fn prepare(
        &self,
        request: Request,
        attempt: &Attempt<'_>,
        _: Option<Infallible>,
    ) -> Self::Future {
        (self.0)(request, attempt)
    }

    fn hold(request: Request) -> Option<Request> {
        Some(request)
    }

    fn request(prepared: Request) -> Request {
        prepared
    }
}

/// As [`PrepareWith`], with data that another closure kept from the previous outcome. Made by
/// [`RetryLayer::before_attempt_async_with_outcome`](super::RetryLayer::before_attempt_async_with_outcome).
#[derive(Clone, Copy)]
pub struct PrepareWithOutcome<V, F> {
    pub(super) see: V,
    pub(super) prepare: F,
}

#[diagnostic::do_not_recommend]
impl<V, Seen, F, Prepare, Request, Response, Error> BeforeAttempt<Request, Response, Error>
    for PrepareWithOutcome<V, F>
where
    V: Fn(&Result<Response, Error>) -> Seen,
    F: Fn(Request, &Attempt<'_>, Option<Seen>) -> Prepare,
    Prepare: Future<Output = Result<Request, Error>>,
{
    type Seen = Seen;
    type Prepared = Request;
    type Future = Prepare;

    const CHANGES: bool = false;
    const WAITS: bool = true;

    fn see(&self, outcome: &Result<Response, Error>) -> Option<Seen> {
        Some((self.see)(outcome))
    }

    fn change(&self, _: &mut Request, _: &Attempt<'_>) {}

    fn prepare(&self, request: Request, attempt: &Attempt<'_>, last: Option<Seen>) -> Self::Future {
        (self.prepare)(request, attempt, last)
    }

    fn hold(request: Request) -> Option<Request> {
        Some(request)
    }

    fn request(prepared: Request) -> Request {
        prepared
    }
}

impl<F> fmt::Debug for ChangeWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeWith").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for PrepareWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrepareWith").finish_non_exhaustive()
    }
}

impl<V, F> fmt::Debug for PrepareWithOutcome<V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrepareWithOutcome").finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Unchanged {}
    impl<F> Sealed for super::ChangeWith<F> {}
    impl<F> Sealed for super::PrepareWith<F> {}
    impl<V, F> Sealed for super::PrepareWithOutcome<V, F> {}
}
