//! How many jobs may be in flight, and who waits for a place.

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

use super::error::{Full, Refusal};
use crate::{cancel::CancelHandle, event::CancelReason, job::Cancelled};

/// Room for one job; there is room again when this is dropped. `None` where nothing limits them.
pub(super) type Permit = Option<OwnedSemaphorePermit>;

/// The place of the next call.
pub(super) enum Reservation {
    None,
    Waiting(Pin<Box<dyn Future<Output = Result<Permit, Cancelled>> + Send + Sync>>),
    Held(Permit),
}

/// What the clones of a dispatcher share.
#[derive(Default)]
pub(super) struct Places {
    limit: Option<(NonZeroUsize, Arc<Semaphore>)>,
    in_flight: AtomicUsize,
}

impl Places {
    pub(super) fn new(limit: NonZeroUsize) -> Self {
        let places = limit.get().min(Semaphore::MAX_PERMITS);
        Self {
            limit: Some((limit, Arc::new(Semaphore::new(places)))),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// With the same limit, and nobody in them.
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
        let (_, places) = self.limit.as_ref()?;
        Some(places.available_permits())
    }

    /// A place, if there is one now and nobody waits for it.
    pub(super) fn try_take(&self, cancel: &CancelHandle) -> Result<Permit, Refusal> {
        if cancel.is_shut_down() {
            return Err(Refusal::ShutDown(shut_down()));
        }
        let Some((limit, places)) = &self.limit else {
            return Ok(None);
        };
        match Arc::clone(places).try_acquire_owned() {
            Ok(permit) => Ok(Some(permit)),
            // Nobody closes it.
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                Err(Refusal::Full(Full::new(limit.get())))
            }
        }
    }

    /// Waits for a place, in the order of those who wait, until the shutdown.
    pub(super) async fn take(self: Arc<Self>, cancel: CancelHandle) -> Result<Permit, Cancelled> {
        if cancel.is_shut_down() {
            return Err(shut_down());
        }
        let Some((_, places)) = &self.limit else {
            return Ok(None);
        };
        let mut place = pin!(Arc::clone(places).acquire_owned());
        let mut closing = pin!(cancel.clone().closing());
        poll_fn(|cx| {
            if closing.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(shut_down()));
            }
            // Nobody closes the semaphore.
            place.as_mut().poll(cx).map(|permit| Ok(permit.ok()))
        })
        .await
    }

    /// The place is of a job now.
    pub(super) fn enter(self: &Arc<Self>, permit: Permit) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight {
            places: Arc::clone(self),
            _permit: permit,
        }
    }
}

fn shut_down() -> Cancelled {
    Cancelled::new(CancelReason::Shutdown)
}

/// A job in flight, until this is dropped.
pub(super) struct InFlight {
    places: Arc<Places>,
    // Dropped after the job was counted out, so that never more are counted than there are places.
    _permit: Permit,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.places.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
