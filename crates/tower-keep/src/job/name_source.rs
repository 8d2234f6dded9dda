//! The source of job names: one name, or a closure over the request.

use std::fmt;

use crate::event::JobName;

/// Computes the name from the request. Made by `named_by`.
#[derive(Clone)]
pub struct NameBy<F>(pub(crate) F);

impl<F> fmt::Debug for NameBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("from the request")
    }
}

/// The source of a job's name: one name for all jobs, or a closure over the request.
pub trait NameSource<Request> {
    /// The name for this request's job.
    fn name(&self, request: &Request) -> JobName;
}

impl<Request> NameSource<Request> for JobName {
    fn name(&self, _: &Request) -> JobName {
        self.clone()
    }
}

impl<F, Request, Name> NameSource<Request> for NameBy<F>
where
    F: Fn(&Request) -> Name,
    Name: Into<JobName>,
{
    fn name(&self, request: &Request) -> JobName {
        (self.0)(request).into()
    }
}
