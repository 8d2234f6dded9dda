//! How a call ends for its circuit: with its response, or by `http()` with the body of its response.

use super::admitted::LateOutcome;
use crate::job::{call_end::AtResponse, membership::Membership};

/// Ends the call of a circuit breaker.
pub trait FinishCall<Response> {
    /// The response of the layer: the inner one, or with a body that ends the call.
    type Response;

    /// Whether a call goes on after its response head.
    #[doc(hidden)]
    const GOES_ON: bool;

    /// Passes the result on. A call that goes on has its end in the response.
    #[doc(hidden)]
    fn finish<E>(result: Result<Response, E>, head: Head<'_>) -> Result<Self::Response, E>;
}

/// A call with its response head.
#[allow(missing_debug_implementations, reason = "it has no public name")]
#[cfg_attr(
    not(feature = "http"),
    allow(dead_code, reason = "only HTTP has such calls")
)]
pub struct Head<'a> {
    pub(crate) membership: &'a mut Membership,
    /// `None` if nothing that follows can count.
    pub(crate) late: Option<LateOutcome>,
}

impl<Response> FinishCall<Response> for AtResponse {
    type Response = Response;

    const GOES_ON: bool = false;

    #[inline(always)]
    fn finish<E>(result: Result<Response, E>, _: Head<'_>) -> Result<Response, E> {
        result
    }
}
