//! Which stacks a dispatcher takes: those whose calls can move to a task of their own.

use std::fmt;

use tower_service::Service;

/// A stack whose calls can be dispatched. Implemented for every service that is `Clone` and whose parts can go to a
/// task of their own.
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
