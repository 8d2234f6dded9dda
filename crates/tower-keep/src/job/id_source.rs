//! The source of external ids: none, or a closure over the request.

use std::{fmt, sync::Arc};

/// The source of a job's external id: none, or a closure over the request.
pub trait IdSource<Request> {
    /// Whether the source can give an id at all.
    const IDENTIFIES: bool = true;

    /// The external id of this request's job.
    fn external_id(&self, request: &Request) -> Option<Arc<str>>;
}

/// Gives jobs no external id. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unidentified;

impl<Request> IdSource<Request> for Unidentified {
    const IDENTIFIES: bool = false;

    #[inline(always)]
    fn external_id(&self, _: &Request) -> Option<Arc<str>> {
        None
    }
}

/// Computes the external id from the request. Made by `identified_by`.
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
