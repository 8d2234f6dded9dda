//! What the log reads from requests and responses: nothing, or by `http()` their HTTP fields.

use crate::{
    event::{Exchange, Status},
    job::membership::Membership,
};

/// Reads from the request what the records show of it.
pub trait ReadRequest<Request>: sealed::Sealed {
    /// The exchange that this request begins.
    #[doc(hidden)]
    fn exchange(&self, request: &Request) -> Option<Exchange>;

    /// Notes what the end of the call depends on.
    #[doc(hidden)]
    fn begin(&self, request: &Request) -> Begun;
}

/// Reads from the response what the records show of it, and follows its body.
pub trait ReadResponse<Response>: sealed::Sealed {
    /// The response of the layer: the inner one, or with a body that ends the job.
    type Response;

    /// The status of this response.
    #[doc(hidden)]
    fn status(&self, response: &Response) -> Option<Status>;

    /// Ends the job, or lets the body of the response end it.
    #[doc(hidden)]
    fn finish(&self, response: Response, job: Job<'_>) -> Self::Response;
}

/// What the end of a call depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Begun {
    /// The response has no body, whatever its head says.
    pub(crate) bodiless: bool,
}

/// The job that ends with the response, or with its body.
#[derive(Debug)]
pub struct Job<'a>(pub(crate) &'a mut Membership);

/// Reads nothing. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFields;

impl<Request> ReadRequest<Request> for NoFields {
    #[inline(always)]
    fn exchange(&self, _: &Request) -> Option<Exchange> {
        None
    }

    #[inline(always)]
    fn begin(&self, _: &Request) -> Begun {
        Begun::default()
    }
}

impl<Response> ReadResponse<Response> for NoFields {
    type Response = Response;

    #[inline(always)]
    fn status(&self, _: &Response) -> Option<Status> {
        None
    }

    #[inline(always)]
    fn finish(&self, response: Response, job: Job<'_>) -> Response {
        job.0.finish(&Ok::<_, std::convert::Infallible>(()));
        response
    }
}

pub(crate) mod sealed {
    /// What the log reads.
    pub trait Sealed {
        /// Whether anything is read.
        #[doc(hidden)]
        const READS: bool = true;
    }

    impl Sealed for super::NoFields {
        const READS: bool = false;
    }
}
