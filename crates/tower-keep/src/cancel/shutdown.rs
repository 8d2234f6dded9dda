//! The wait for the end of the running jobs at a shutdown.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    counts::Shutdown,
    registry::{Registry, cancel_each},
};
use crate::event::CancelReason;

/// Waits for the end of the jobs. Made by [`CancelHandle::shutdown`](super::CancelHandle::shutdown).
#[must_use = "without it nobody waits for the running jobs, or cancels them at the deadline"]
pub struct ShuttingDown {
    registry: Arc<Registry>,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    /// `None` once the jobs are cancelled, and where it lies past the end of time.
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl ShuttingDown {
    pub(super) fn new(registry: Arc<Registry>, within: Duration) -> Self {
        Self {
            drained: Box::pin(registry.drained_token().clone().cancelled_owned()),
            deadline: Instant::now().checked_add(within),
            sleep: None,
            registry,
        }
    }
}

impl Future for ShuttingDown {
    type Output = Shutdown;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Shutdown> {
        let this = self.get_mut();
        loop {
            if this.drained.as_mut().poll(cx).is_ready() {
                return Poll::Ready(this.registry.tally());
            }
            let Some(deadline) = this.deadline else {
                return Poll::Pending;
            };
            // Not before the first poll: the handle may be used outside a runtime.
            let sleep = this
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            // The jobs of the task that waits must not use up the budget that the deadline needs.
            if Pin::new(&mut tokio::task::coop::unconstrained(sleep.as_mut()))
                .poll(cx)
                .is_pending()
            {
                return Poll::Pending;
            }
            this.deadline = None;
            this.sleep = None;
            cancel_each(this.registry.jobs(), &CancelReason::Shutdown, |_| true);
        }
    }
}

impl fmt::Debug for ShuttingDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShuttingDown")
            .field("so_far", &self.registry.tally())
            .finish_non_exhaustive()
    }
}
