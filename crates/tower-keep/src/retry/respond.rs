//! The caller's response: the last response of the service, or one whose body is resumed.

use std::convert::Infallible;

use tower_service::Service;

use super::{
    budget::RetryBudget,
    discard::{DropOutcome, sealed::Sealed},
    future::SharedByCalls,
    hooks::{HookSet, Hooks},
    next_attempt::Next,
    policy::Policy,
    shared_layer::RetryDeadline,
};
use crate::job::membership::Membership;

/// Makes the caller's response of the last response.
pub trait Respond<S, Request, P, X>: Sealed
where
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
    X: Hooks<Request, S::Response, S::Error>,
{
    /// The response that the caller gets.
    type Response;

    /// Whether the response has no body, whatever its head says.
    #[doc(hidden)]
    #[inline(always)]
    fn is_bodiless(&self, request: &Request) -> bool {
        let _ = request;
        false
    }

    #[doc(hidden)]
    fn respond(
        &self,
        response: S::Response,
        call: Answered<'_, S, Request, P, X>,
    ) -> Self::Response;
}

/// Hooks whose caller gets the last response as it is.
pub trait RespondAsIs: Sealed {}

impl RespondAsIs for DropOutcome {}

#[diagnostic::do_not_recommend]
impl<D, S, Request, P, X> Respond<S, Request, P, X> for D
where
    D: RespondAsIs,
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
    X: Hooks<Request, S::Response, S::Error>,
{
    type Response = S::Response;

    #[inline(always)]
    fn respond(
        &self,
        response: S::Response,
        call: Answered<'_, S, Request, P, X>,
    ) -> Self::Response {
        call.finish(response)
    }
}

/// The hooks of a layer make the response of its service. Only [`HookSet`] implements it.
pub trait Responds<S, Request, P>: Hooks<Request, S::Response, S::Error>
where
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
{
    /// The response that the caller gets.
    type Output;

    #[doc(hidden)]
    fn is_bodiless(&self, request: &Request) -> bool;

    #[doc(hidden)]
    fn respond(
        &self,
        response: S::Response,
        call: Answered<'_, S, Request, P, Self>,
    ) -> Self::Output
    where
        Self: Sized;
}

impl<C, H, B, N, A, D, S, Request, P> Responds<S, Request, P> for HookSet<C, H, B, N, A, D>
where
    S: Service<Request>,
    P: Policy<Request, S::Response, S::Error>,
    Self: Hooks<Request, S::Response, S::Error>,
    D: Respond<S, Request, P, Self>,
{
    type Output = D::Response;

    #[inline(always)]
    fn is_bodiless(&self, request: &Request) -> bool {
        self.discard_outcome.is_bodiless(request)
    }

    #[inline(always)]
    fn respond(
        &self,
        response: S::Response,
        call: Answered<'_, S, Request, P, Self>,
    ) -> D::Response {
        self.discard_outcome.respond(response, call)
    }
}

/// A call whose last response is there.
#[allow(missing_debug_implementations, reason = "it has no public name")]
#[cfg_attr(
    not(feature = "http"),
    allow(dead_code, reason = "a resumption reads all fields")
)]
pub struct Answered<'a, S, Request, P, X>
where
    S: Service<Request>,
    X: Hooks<Request, S::Response, S::Error>,
{
    pub(super) next: &'a mut Option<Next<S, X::Kept>>,
    pub(super) budget: &'a mut Option<RetryBudget>,
    pub(super) attempt: u32,
    pub(super) max_retries: u32,
    pub(super) deadline: RetryDeadline,
    pub(super) shared: &'a SharedByCalls<P, X>,
    pub(crate) membership: &'a mut Membership,
}

impl<S, Request, P, X> Answered<'_, S, Request, P, X>
where
    S: Service<Request>,
    X: Hooks<Request, S::Response, S::Error>,
{
    /// The call ends with the response.
    #[inline(always)]
    pub(crate) fn finish(self, response: S::Response) -> S::Response {
        self.membership.finish(&Ok::<_, Infallible>(()));
        response
    }
}
