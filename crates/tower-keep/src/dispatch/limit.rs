//! The limit of jobs in flight: a semaphore that jobs, reserved permits and waiting callers share.

use std::{
    future::{Future, poll_fn},
    num::NonZeroUsize,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::error::{Full, TryDispatchError};
use crate::{cancel::CancelHandle, event::CancelReason, job::Cancelled};

/// A permit for one job, released on drop. `None` without a limit.
pub(super) type LimitPermit = Option<OwnedSemaphorePermit>;

/// The permit for the next call of a dispatcher as a service.
pub(super) enum Reservation {
    None,
    Waiting(Pin<Box<dyn Future<Output = Result<LimitPermit, Cancelled>> + Send + Sync>>),
    Held(LimitPermit),
}

/// The limit and the count of jobs, shared by a dispatcher's clones.
#[derive(Default)]
pub(super) struct JobLimit {
    limit: Option<(NonZeroUsize, Arc<Semaphore>)>,
    in_flight: AtomicUsize,
}

impl JobLimit {
    pub(super) fn new(limit: NonZeroUsize) -> Self {
        let permits = limit.get().min(Semaphore::MAX_PERMITS);
        Self {
            limit: Some((limit, Arc::new(Semaphore::new(permits)))),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// The same limit, with no job in flight.
    pub(super) fn renewed(&self) -> Self {
        self.limit().map_or_else(Self::default, Self::new)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    pub(super) fn limit(&self) -> Option<NonZeroUsize> {
        self.limit.as_ref().map(|(limit, _)| *limit)
    }

    pub(super) fn free(&self) -> Option<usize> {
        let (_, semaphore) = self.limit.as_ref()?;
        Some(semaphore.available_permits())
    }

    /// Takes a permit, if one is free and no caller waits for it.
    pub(super) fn try_take(&self, cancel: &CancelHandle) -> Result<LimitPermit, TryDispatchError> {
        if cancel.is_shut_down() {
            return Err(TryDispatchError::ShutDown {
                request: (),
                reason: shut_down(),
            });
        }
        let Some((limit, semaphore)) = &self.limit else {
            return Ok(None);
        };
        match Arc::clone(semaphore).try_acquire_owned() {
            Ok(permit) => Ok(Some(permit)),
            // The semaphore is never closed.
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                Err(TryDispatchError::Full {
                    request: (),
                    reason: Full::new(limit.get()),
                })
            }
        }
    }

    /// Waits for a permit, first come, first served, or for the shutdown.
    pub(super) async fn take(
        self: Arc<Self>,
        cancel: CancelHandle,
    ) -> Result<LimitPermit, Cancelled> {
        if cancel.is_shut_down() {
            return Err(shut_down());
        }
        let Some((_, semaphore)) = &self.limit else {
            return Ok(None);
        };
        let mut permit = pin!(Arc::clone(semaphore).acquire_owned());
        let mut closing = pin!(cancel.clone().closing());
        poll_fn(|cx| {
            if closing.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(shut_down()));
            }
            // The semaphore is never closed.
            permit.as_mut().poll(cx).map(|permit| Ok(permit.ok()))
        })
        .await
    }

    /// Counts a job in flight, which holds the permit.
    pub(super) fn enter(self: &Arc<Self>, permit: LimitPermit) -> InFlightJob {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlightJob {
            limit: Arc::clone(self),
            _permit: permit,
        }
    }
}

fn shut_down() -> Cancelled {
    Cancelled::new(CancelReason::Shutdown)
}

/// Counts a job in flight until it is dropped.
pub(super) struct InFlightJob {
    limit: Arc<JobLimit>,
    // Dropped after the count went down, so that the count never exceeds the limit.
    _permit: LimitPermit,
}

impl Drop for InFlightJob {
    fn drop(&mut self) {
        self.limit.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
