//! What the log reads from requests and responses: nothing, or by `http()` their HTTP fields.

use crate::{
    event::{Exchange, Status},
    job::call_end::{AtResponse, BeginsCall, Call, EndsCall, sealed::Sealed},
};

/// Reads from the request what the records show of it.
pub trait ReadRequest<Request>: BeginsCall<Request> {
    /// Whether anything is read.
    #[doc(hidden)]
    const READS: bool;

    /// The exchange that this request begins.
    #[doc(hidden)]
    fn exchange(&self, request: &Request) -> Option<Exchange>;
}

/// Reads from the response what the records show of it.
pub trait ReadResponse<Response>: EndsCall<Response> {
    /// The status of this response.
    #[doc(hidden)]
    fn status(&self, response: &Response) -> Option<Status>;
}

/// Reads nothing. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFields;

impl Sealed for NoFields {}

impl<Request> BeginsCall<Request> for NoFields {
    #[inline(always)]
    fn is_bodiless(&self, request: &Request) -> bool {
        AtResponse.is_bodiless(request)
    }
}

impl<Response> EndsCall<Response> for NoFields {
    type Response = Response;

    #[inline(always)]
    fn finish(&self, response: Response, call: Call<'_>) -> Response {
        AtResponse.finish(response, call)
    }
}

impl<Request> ReadRequest<Request> for NoFields {
    const READS: bool = false;

    #[inline(always)]
    fn exchange(&self, _: &Request) -> Option<Exchange> {
        None
    }
}

impl<Response> ReadResponse<Response> for NoFields {
    #[inline(always)]
    fn status(&self, _: &Response) -> Option<Status> {
        None
    }
}
