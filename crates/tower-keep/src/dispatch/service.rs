//! The dispatcher as a `Service`, whose response is the job's handle.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{
    dispatchable::{Dispatchable, OnJobError},
    dispatcher::Dispatcher,
    error::TryDispatchError,
    handle::JobHandle,
    job_end::EndsJob,
    limit::Reservation,
};
use crate::job::{id_source::IdSource, name_source::NameSource};

/// Ready as soon as there is a permit for one more job, which this instance keeps for its next
/// call.
///
/// It is ready after a shutdown too: the handle then fails with [`Cancelled`](super::Cancelled).
/// The future is ready at once.
impl<S, N, O, I, E, Request> Service<Request> for Dispatcher<S, N, I, O, E>
where
    S: Dispatchable<Request>,
    N: NameSource<Request>,
    I: IdSource<Request>,
    O: OnJobError<S::Response, S::Error>,
    E: EndsJob<S, Request>,
    Request: Send + 'static,
{
    type Response = JobHandle<E::Response, O::Error>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        loop {
            self.reservation = match &mut self.reservation {
                Reservation::Held(_) => return Poll::Ready(Ok(())),
                Reservation::None => match self.job_limit.try_take(&self.cancel.handle()) {
                    Ok(permit) => Reservation::Held(permit),
                    // The call will be refused.
                    Err(TryDispatchError::ShutDown { .. }) => return Poll::Ready(Ok(())),
                    Err(TryDispatchError::Full { .. }) => {
                        let limit = Arc::clone(&self.job_limit);
                        Reservation::Waiting(Box::pin(limit.take(self.cancel.handle())))
                    }
                },
                Reservation::Waiting(waiting) => match waiting.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(permit)) => Reservation::Held(permit),
                    Poll::Ready(Err(_)) => Reservation::None,
                },
            };
        }
    }

    /// # Panics
    ///
    /// Panics as [`Dispatcher::dispatch`] does. On an instance that is not ready, `call` does the
    /// same as `dispatch`.
    fn call(&mut self, request: Request) -> Self::Future {
        let handle = match mem::replace(&mut self.reservation, Reservation::None) {
            Reservation::Held(permit) => {
                let runtime = self.runtime();
                self.begin(&runtime, request, permit)
            }
            Reservation::None | Reservation::Waiting(_) => self.dispatch(request),
        };
        ready(Ok(handle))
    }
}
