//! What ends the job of a call: its response, or the body of the response.

use std::convert::Infallible;

use super::membership::Membership;

/// Decides from the request what ends its call.
pub trait BeginsCall<Request>: sealed::Sealed {
    /// Whether the response has no body, whatever its head says.
    #[doc(hidden)]
    fn is_bodiless(&self, request: &Request) -> bool;

    /// The call begins, in the scope of its job. Returns the request that goes inward.
    #[doc(hidden)]
    #[inline(always)]
    fn prepare(&self, request: Request) -> Request {
        request
    }
}

/// What goes around the inner service of a layer.
#[cfg(feature = "progress")]
pub trait AroundService<S>: sealed::Sealed {
    /// The service that the layer calls.
    type Service;

    /// Puts it around the inner service.
    #[doc(hidden)]
    fn around(&self, inner: S) -> Self::Service;
}

/// Ends the job of a call that has a response, at once or with the body of the response.
pub trait EndsCall<Response>: sealed::Sealed {
    /// The response of the layer: the inner one, or one whose body ends the job.
    type Response;

    /// The call has this response.
    #[doc(hidden)]
    fn finish(&self, response: Response, call: Call<'_>) -> Self::Response;
}

/// A call whose response is there.
#[derive(Debug)]
pub struct Call<'a>(pub(crate) &'a mut Membership);

/// The job of a call ends with the response. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct AtResponse;

impl<Request> BeginsCall<Request> for AtResponse {
    #[inline(always)]
    fn is_bodiless(&self, _: &Request) -> bool {
        false
    }
}

#[cfg(feature = "progress")]
impl<S> AroundService<S> for AtResponse {
    type Service = S;

    #[inline(always)]
    fn around(&self, inner: S) -> S {
        inner
    }
}

impl<Response> EndsCall<Response> for AtResponse {
    type Response = Response;

    #[inline(always)]
    fn finish(&self, response: Response, call: Call<'_>) -> Response {
        call.0.finish(&Ok::<_, Infallible>(()));
        response
    }
}

impl Membership {
    /// Notes what ends the call.
    #[cfg(feature = "http")]
    #[inline(always)]
    pub(crate) fn begun(mut self, is_bodiless: bool) -> Self {
        if is_bodiless {
            self.expect_no_body();
        }
        self
    }

    /// Notes what ends the call: its response.
    #[cfg(not(feature = "http"))]
    #[inline(always)]
    pub(crate) fn begun(self, _: bool) -> Self {
        self
    }
}

pub(crate) mod sealed {
    pub trait Sealed {}
    impl Sealed for super::AtResponse {}
}
