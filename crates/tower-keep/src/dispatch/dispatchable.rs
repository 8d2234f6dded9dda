//! The bound of a dispatcher's stack: its calls can move to a task of their own.

use std::fmt;

use tower_service::Service;

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
