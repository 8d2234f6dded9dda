//! How a call ends for its Cancel layer: with its response, or by `http()` with the body of its
//! response.

use std::{convert::Infallible, future::Future, hash::Hash, pin::Pin};

use super::{
    cancellable_call::CancellableCall,
    detached::DetachedCall,
    drop_policy::{Detached, StopOnDrop},
};
use crate::job::{
    call_end::{BeginsCall, sealed::Sealed},
    membership::Membership,
};

/// Ends the call of a Cancel layer.
pub trait FinishCall<Response> {
    /// The response of the layer: the inner one, or with a body that ends the call.
    type Response;

    /// What goes on after the response head.
    #[doc(hidden)]
    type Kept;

    /// Whether a call goes on after its response head.
    #[doc(hidden)]
    const GOES_ON: bool = false;

    /// The call has its result. Returns what goes on.
    #[doc(hidden)]
    fn keep(self: Pin<&mut Self>) -> Option<Self::Kept>;

    /// Passes the result on. A call that goes on has its end in the response.
    #[doc(hidden)]
    fn finish<E>(
        result: Result<Response, E>,
        head: Head<'_, Self::Kept>,
    ) -> Result<Self::Response, E>;
}

/// A call with its response head.
#[allow(missing_debug_implementations, reason = "it has no public name")]
pub struct Head<'a, Kept> {
    #[cfg_attr(not(feature = "http"), allow(dead_code))]
    pub(crate) membership: &'a mut Membership,
    /// `None` if the layer itself answered.
    #[cfg_attr(not(feature = "http"), allow(dead_code))]
    pub(crate) kept: Option<Kept>,
}

macro_rules! ends_with_response {
    () => {
        type Response = Response;

        type Kept = Infallible;

        #[inline(always)]
        fn keep(self: Pin<&mut Self>) -> Option<Infallible> {
            None
        }

        #[inline(always)]
        fn finish<E>(result: Result<Response, E>, _: Head<'_, Infallible>) -> Result<Response, E> {
            result
        }
    };
}

impl<Response, F: Future, K: Eq + Hash> FinishCall<Response> for CancellableCall<F, K> {
    ends_with_response!();
}

impl<Response, T, X> FinishCall<Response> for DetachedCall<T, X> {
    ends_with_response!();
}

impl Sealed for StopOnDrop {}
impl Sealed for Detached {}

impl<Request> BeginsCall<Request> for StopOnDrop {
    #[inline(always)]
    fn is_bodiless(&self, _: &Request) -> bool {
        false
    }
}

impl<Request> BeginsCall<Request> for Detached {
    #[inline(always)]
    fn is_bodiless(&self, _: &Request) -> bool {
        false
    }
}
