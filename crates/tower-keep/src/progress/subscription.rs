//! [`Subscription`]: all events of all jobs, through a bounded buffer.

use tokio::sync::broadcast::{
    self,
    error::{RecvError, TryRecvError},
};

use crate::event::Event;

/// A reader of the stream of events. Made by
/// [`ProgressHandle::subscribe`](super::ProgressHandle::subscribe).
///
/// The stream is bounded. A reader that falls behind by more than the buffer loses the oldest
/// events, and gets their number as [`Lagged`].
/// [`ProgressHandle::jobs`](super::ProgressHandle::jobs) always shows the latest states.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Event>,
}

impl Subscription {
    pub(super) fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self { receiver }
    }

    /// Waits for the next event; `None` once every layer and handle is dropped.
    ///
    /// # Errors
    ///
    /// [`Lagged`] if events were lost before it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Result<Event, Lagged>> {
        match self.receiver.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(RecvError::Lagged(missed)) => Some(Err(Lagged { missed })),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next event, if there is one now.
    ///
    /// # Errors
    ///
    /// [`Lagged`] if events were lost before it.
    pub fn try_recv(&mut self) -> Option<Result<Event, Lagged>> {
        match self.receiver.try_recv() {
            Ok(event) => Some(Ok(event)),
            Err(TryRecvError::Lagged(missed)) => Some(Err(Lagged { missed })),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

/// The reader fell behind and lost events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader fell behind and missed {missed} events")]
pub struct Lagged {
    missed: u64,
}

impl Lagged {
    /// The number of lost events.
    #[must_use]
    pub fn missed(self) -> u64 {
        self.missed
    }
}
