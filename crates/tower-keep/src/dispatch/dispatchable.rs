//! The bounds of a dispatched call: of the stack, and of what makes an error of a job that has no
//! result.

use std::fmt;

use tower_service::Service;

use super::error::JobError;
use crate::reject::OnReject;

/// A stack whose calls can be dispatched: a `Clone` service whose calls can move to a task of their
/// own.
#[diagnostic::on_unimplemented(
    message = "calls of `{Self}` cannot be dispatched: it has to be a `Clone + Send + 'static` service of `{Request}`",
    label = "cannot be dispatched",
    note = "each job calls a clone of the stack in its own task: its response, error and future have to be \
            `Send + 'static`, and its error `Display`"
)]
pub trait Dispatchable<Request>:
    Service<
        Request,
        Response: Send + 'static,
        Error: fmt::Display + Send + 'static,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<S, Request> Dispatchable<Request> for S where
    S: Service<
            Request,
            Response: Send + 'static,
            Error: fmt::Display + Send + 'static,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// Makes an error or a response for the handle of a job without a result, in the job's task.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot answer for a dispatched job that has no result",
    label = "cannot be used in the task of the job",
    note = "it has to be `Clone + Send + 'static`, and its error `Send + 'static`"
)]
pub trait OnJobError<Response, InnerError>:
    OnReject<JobError, Response, InnerError, Error: Send + 'static> + Clone + Send + 'static
{
}

#[diagnostic::do_not_recommend]
impl<O, Response, InnerError> OnJobError<Response, InnerError> for O where
    O: OnReject<JobError, Response, InnerError, Error: Send + 'static> + Clone + Send + 'static
{
}
