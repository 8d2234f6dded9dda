//! Where the external id of a job comes from.

use std::{fmt, sync::Arc};

/// Where the external id of a job comes from: nowhere, or a closure of the request.
pub trait IdSource<Request> {
    /// Whether there is anything to ask.
    const IDENTIFIES: bool = true;

    /// The external id of this request's job.
    fn external_id(&self, request: &Request) -> Option<Arc<str>>;
}

/// Gives no job an external id. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unidentified;

impl<Request> IdSource<Request> for Unidentified {
    const IDENTIFIES: bool = false;

    #[inline(always)]
    fn external_id(&self, _: &Request) -> Option<Arc<str>> {
        None
    }
}

/// Identifies a job by its request: a closure of `identified_by`.
#[derive(Clone, Copy)]
pub struct IdentifyBy<F>(pub(crate) F);

impl<F, Request, Id> IdSource<Request> for IdentifyBy<F>
where
    F: Fn(&Request) -> Option<Id>,
    Id: Into<Arc<str>>,
{
    fn external_id(&self, request: &Request) -> Option<Arc<str>> {
        (self.0)(request).map(Into::into)
    }
}

impl<F> fmt::Debug for IdentifyBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("from the request")
    }
}
