//! `Permit`: reserves one job of the limit before there is a request.

use std::{fmt, sync::Arc};

use super::{
    dispatchable::{Dispatchable, OnJobError},
    dispatcher::Dispatcher,
    error::TryDispatchError,
    handle::JobHandle,
    job_end::EndsJob,
    limit::LimitPermit,
};
use crate::{
    event::JobName,
    job::{
        Cancelled,
        call_end::AtResponse,
        id_source::{IdSource, Unidentified},
        name_source::NameSource,
    },
    reject::Fail,
};

/// A permit for one job, held until it is used or dropped.
///
/// Made by [`Dispatcher::reserve`] and [`try_reserve`](Dispatcher::try_reserve).
#[must_use = "it holds a permit of the limit until it is used or dropped"]
pub struct Permit<'a, S, N = JobName, I = Unidentified, O = Fail, E = AtResponse> {
    dispatcher: &'a Dispatcher<S, N, I, O, E>,
    permit: LimitPermit,
}

impl<S, N, I, O, E> Permit<'_, S, N, I, O, E> {
    /// Begins a job with this permit. Only a shutdown since then refuses it: the handle fails with
    /// [`Cancelled`].
    ///
    /// # Panics
    ///
    /// Panics as [`Dispatcher::dispatch`] does.
    #[track_caller]
    pub fn dispatch<Request>(self, request: Request) -> JobHandle<E::Response, O::Error>
    where
        S: Dispatchable<Request>,
        N: NameSource<Request>,
        I: IdSource<Request>,
        O: OnJobError<S::Response, S::Error>,
        E: EndsJob<S, Request>,
        Request: Send + 'static,
    {
        let runtime = self.dispatcher.runtime();
        self.dispatcher.begin(&runtime, request, self.permit)
    }
}

impl<S, N, I, O, E> fmt::Debug for Permit<'_, S, N, I, O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

impl<S, N, I, O, E> Dispatcher<S, N, I, O, E> {
    /// Waits for a permit for one more job, first come, first served.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] with [`Shutdown`](crate::CancelReason::Shutdown) once the dispatcher is shut
    /// down, even for callers that wait already.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future passes the turn to the next caller.
    pub async fn reserve(&self) -> Result<Permit<'_, S, N, I, O, E>, Cancelled> {
        let permit = Arc::clone(&self.job_limit)
            .take(self.cancel.handle())
            .await?;
        Ok(Permit {
            dispatcher: self,
            permit,
        })
    }

    /// Takes a permit for one more job, if one is free.
    ///
    /// # Errors
    ///
    /// [`TryDispatchError`] at the limit, while others wait for a permit, and after a shutdown.
    pub fn try_reserve(&self) -> Result<Permit<'_, S, N, I, O, E>, TryDispatchError> {
        let permit = self.job_limit.try_take(&self.cancel.handle())?;
        Ok(Permit {
            dispatcher: self,
            permit,
        })
    }
}
