//! Watching one job: its latest state, until it ends.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use tokio::sync::watch::{self, error::RecvError};

use super::JobView;
#[cfg(feature = "dispatch")]
use crate::event::JobId;

/// Watches one job: always its latest state, its ending included.
///
/// As a [`Stream`] it gives what [`changed`](Self::changed) gives: each time the latest state, the ending last.
pub struct Watch {
    receiver: watch::Receiver<JobView>,
    /// The stream's wait for a change that `receiver` has not seen.
    waiting: Option<Waiting>,
}

type Waiting = Pin<Box<dyn Future<Output = Result<(), RecvError>> + Send + Sync>>;

impl Watch {
    pub(super) fn new(receiver: watch::Receiver<JobView>) -> Self {
        Self {
            receiver,
            waiting: None,
        }
    }

    /// Of a job of which no board was told, as its thread was being torn down.
    #[cfg(feature = "dispatch")]
    pub(crate) fn unseen(job: JobId) -> Self {
        let view = JobView::unseen(job);
        Self::new(watch::channel(view).1)
    }

    /// The latest state.
    #[must_use]
    pub fn latest(&self) -> JobView {
        self.receiver.borrow().clone()
    }

    /// Waits for a state that this has not returned yet; the one from which it was made counts as returned. `None` once
    /// the ending was returned.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn changed(&mut self) -> Option<JobView> {
        self.waiting = None;
        // An error says that the job is over and its ending was seen.
        self.receiver.changed().await.ok()?;
        Some(self.receiver.borrow_and_update().clone())
    }

    /// Waits for the ending.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn ended(&mut self) -> JobView {
        self.waiting = None;
        // A clone waits, as that sees the states before the ending, which this has not returned.
        // An error says that the sender is gone, which it is only after it sent the ending.
        let mut receiver = self.receiver.clone();
        let _ = receiver.wait_for(|view| view.state.is_terminal()).await;
        self.receiver.borrow_and_update().clone()
    }
}

impl Stream for Watch {
    type Item = JobView;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<JobView>> {
        let this = self.get_mut();
        let waiting = this.waiting.get_or_insert_with(|| {
            // A clone has seen what this one has.
            let mut receiver = this.receiver.clone();
            Box::pin(async move { receiver.changed().await })
        });
        let changed = ready!(waiting.as_mut().poll(cx));
        this.waiting = None;
        Poll::Ready(match changed {
            Ok(()) => Some(this.receiver.borrow_and_update().clone()),
            Err(_) => None,
        })
    }
}

/// The clone has returned what this one has.
impl Clone for Watch {
    fn clone(&self) -> Self {
        Self::new(self.receiver.clone())
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("latest", &self.latest())
            .finish_non_exhaustive()
    }
}
