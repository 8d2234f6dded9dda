//! A subscriber to the events of all jobs, through a bounded buffer.

use tokio::sync::broadcast::{
    self,
    error::{RecvError, TryRecvError},
};

use crate::event::Event;

/// A reader of the stream of events. Made by [`ProgressHandle::subscribe`](super::ProgressHandle::subscribe).
///
/// The stream is bounded: a reader that falls behind by more than the buffer loses the oldest events and learns how many.
/// The latest states of [`ProgressHandle::jobs`](super::ProgressHandle::jobs) are not affected.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Event>,
}

impl Subscription {
    pub(super) fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self { receiver }
    }

    /// The next event; `None` once every layer and handle is gone.
    ///
    /// # Errors
    ///
    /// [`Lagged`] if events were lost before it.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
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

/// A reader fell behind and events were lost to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader fell behind and missed {missed} events")]
pub struct Lagged {
    missed: u64,
}

impl Lagged {
    /// How many were lost.
    #[must_use]
    pub fn missed(self) -> u64 {
        self.missed
    }
}
