//! What the log reads from requests and responses: nothing, or by `http()` their HTTP fields.

use crate::event::{Exchange, Status};

/// Reads from the request what the records show of it.
pub trait ReadRequest<Request>: sealed::Sealed {
    /// The exchange that this request begins.
    #[doc(hidden)]
    fn exchange(&self, request: &Request) -> Option<Exchange>;
}

/// Reads from the response what the records show of it.
pub trait ReadResponse<Response>: sealed::Sealed {
    /// The status of this response.
    #[doc(hidden)]
    fn status(&self, response: &Response) -> Option<Status>;
}

/// Reads nothing. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFields;

impl<Request> ReadRequest<Request> for NoFields {
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
