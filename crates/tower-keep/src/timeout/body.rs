//! What limits the body of a response: nothing, or by `http()` the layer.

use std::{error::Error, fmt};

use super::deadline::Deadline;
use crate::job::membership::Membership;

/// Begins a call: reads from the request whether its response has a body.
pub trait BeginsBody<Request>: Clone + sealed::Sealed {
    /// Whether the response has no body, whatever its head says.
    #[doc(hidden)]
    fn is_bodiless(&self, request: &Request) -> bool;

    /// For the future of a call of the layer with this name.
    #[doc(hidden)]
    #[inline(always)]
    fn of_call(&self, name: Option<&'static str>) -> Self {
        let _ = name;
        self.clone()
    }
}

/// Limits the body of a response, or leaves it as it is.
pub trait LimitsBody<Response>: sealed::Sealed {
    /// The response of the layer: the inner one, or one with a limited body.
    type Response;

    /// The layer's future is ready with this result. `know`: the error as `dyn Error`, if it is
    /// known.
    #[doc(hidden)]
    fn finish<E: fmt::Display>(
        &self,
        result: Result<Response, E>,
        head: Head<'_>,
        know: impl for<'a> FnOnce(&'a E) -> Option<&'a (dyn Error + 'static)>,
    ) -> Result<Self::Response, E>;
}

/// The call whose response head is there, and its limit.
#[derive(Debug)]
pub struct Head<'a> {
    pub(crate) membership: &'a mut Membership,
    #[cfg_attr(not(feature = "http"), allow(dead_code))]
    pub(crate) deadline: Option<Deadline>,
}

/// The limit ends with the response, or with its head. The default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UntilHead;

impl<Request> BeginsBody<Request> for UntilHead {
    #[inline(always)]
    fn is_bodiless(&self, _: &Request) -> bool {
        false
    }
}

impl<Response> LimitsBody<Response> for UntilHead {
    type Response = Response;

    #[inline(always)]
    fn finish<E: fmt::Display>(
        &self,
        result: Result<Response, E>,
        head: Head<'_>,
        know: impl for<'a> FnOnce(&'a E) -> Option<&'a (dyn Error + 'static)>,
    ) -> Result<Response, E> {
        head.membership.finish_known(&result, know);
        result
    }
}

pub(crate) mod sealed {
    use std::time::Duration;

    /// What a pipeline checks.
    pub trait Sealed {
        /// Whether the limit of the call is also that of the body.
        fn includes_body(&self) -> bool {
            false
        }

        /// The idle limit of the body, if the layer sets one.
        fn idle_limit(&self) -> Option<Duration> {
            None
        }
    }

    impl Sealed for super::UntilHead {}
}
