//! The shutdown future: waits for the running jobs, and cancels them at the deadline.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    registry::{Registry, cancel_each},
    shutdown_report::ShutdownReport,
};
use crate::event::CancelReason;

/// Waits for the end of the jobs.
pub(super) struct ShutdownFuture {
    registry: Arc<Registry>,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    /// `None` once the jobs are cancelled, or if the deadline overflows the clock.
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl ShutdownFuture {
    pub(super) fn new(registry: Arc<Registry>, within: Duration) -> Self {
        Self {
            drained: Box::pin(registry.drained_token().clone().cancelled_owned()),
            deadline: Instant::now().checked_add(within),
            sleep: None,
            registry,
        }
    }
}

impl Future for ShutdownFuture {
    type Output = ShutdownReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ShutdownReport> {
        let this = self.get_mut();
        loop {
            if this.drained.as_mut().poll(cx).is_ready() {
                return Poll::Ready(this.registry.report());
            }
            let Some(deadline) = this.deadline else {
                return Poll::Pending;
            };
            // Made in the first poll, as the handle may be used outside a runtime.
            let sleep = this
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            // Unconstrained: jobs of the same task must not use up the budget that the deadline
            // needs.
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
