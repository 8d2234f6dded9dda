//! Waiting for a place, and keeping it.

use std::{fmt, sync::Arc};

use super::{
    dispatcher::Dispatcher,
    error::{Refusal, Unfinished},
    handle::JobHandle,
    places::Permit,
    stack::Stack,
};
use crate::{
    event::JobName,
    job::{Cancelled, IdentifyJob, NameJob, Unidentified},
    reject::{Fail, OnReject},
};

/// Room for one job, kept until it is used or dropped. Made by [`Dispatcher::reserve`] and
/// [`try_reserve`](Dispatcher::try_reserve).
#[must_use = "it keeps others waiting until it is used or dropped"]
pub struct Place<'a, S, N = JobName, O = Fail, I = Unidentified> {
    dispatcher: &'a Dispatcher<S, N, O, I>,
    permit: Permit,
}

impl<S, N, O, I> Place<'_, S, N, O, I> {
    /// Begins a job in this place. Only a shutdown since then turns it away: the handle says
    /// [`Cancelled`].
    ///
    /// # Panics
    ///
    /// As [`Dispatcher::dispatch`].
    #[track_caller]
    pub fn dispatch<Request>(self, request: Request) -> JobHandle<S::Response, O::Error>
    where
        S: Stack<Request>,
        N: NameJob<Request>,
        I: IdentifyJob<Request>,
        O: OnReject<Unfinished, S::Response, S::Error, Error: Send + 'static>
            + Clone
            + Send
            + 'static,
        Request: Send + 'static,
    {
        let runtime = self.dispatcher.runtime();
        self.dispatcher.begin(&runtime, request, self.permit)
    }
}

impl<S, N, O, I> fmt::Debug for Place<'_, S, N, O, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

impl<S, N, O, I> Dispatcher<S, N, O, I> {
    /// Waits until there is a place for one more job, and keeps it. Who asked first is served first.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] with [`Shutdown`](crate::CancelReason::Shutdown) once the dispatcher is shut down, also for those
    /// that wait.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the turn to the next.
    pub async fn reserve(&self) -> Result<Place<'_, S, N, O, I>, Cancelled> {
        let permit = Arc::clone(&self.places).take(self.cancel.handle()).await?;
        Ok(Place {
            dispatcher: self,
            permit,
        })
    }

    /// Keeps a place for one more job, if there is one now.
    ///
    /// # Errors
    ///
    /// [`Refusal`] at the limit, while others wait for a place, and after a shutdown.
    pub fn try_reserve(&self) -> Result<Place<'_, S, N, O, I>, Refusal> {
        let permit = self.places.try_take(&self.cancel.handle())?;
        Ok(Place {
            dispatcher: self,
            permit,
        })
    }
}
