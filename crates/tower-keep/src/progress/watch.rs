//! [`Watch`]: the latest state of one job, until it ends.

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

/// Watches one job: always its latest state, including its ending.
///
/// As a [`Stream`] it yields the same states as [`changed`](Self::changed), with the ending last.
pub struct Watch {
    receiver: watch::Receiver<JobView>,
    /// The stream's pending wait for a change that `receiver` has not seen.
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

    /// A watch of a job that no board has recorded, because its thread was being torn down.
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

    /// Waits for a state that this watch has not returned yet; the initial state counts as
    /// returned. `None` after the ending.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Option<JobView> {
        self.waiting = None;
        // An error means that the job is over and its ending was seen.
        self.receiver.changed().await.ok()?;
        Some(self.receiver.borrow_and_update().clone())
    }

    /// Waits for the ending.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn ended(&mut self) -> JobView {
        self.waiting = None;
        // A clone waits, because waiting marks earlier states as seen, and this watch has not
        // returned them. An error means that the sender is gone, which happens only after the
        // ending was sent.
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
            // The clone has seen the same states.
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

/// The clone has returned the same states.
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
