//! [`Gate`]: holds a scripted step back until the test opens it.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use crate::sync::Signal;

/// Holds back a [`Step`](crate::Step) or a [`Readiness`](crate::Readiness) until the test opens it.
///
/// Clones are handles to the same gate. An open gate stays open.
///
/// ```
/// use tower::{Service, ServiceExt};
/// use tower_keep_test::{Gate, Polled, Scripted, Step};
///
/// let gate = Gate::new();
/// let mut service = Scripted::<&str, u32>::script([Step::answer(1).when(&gate)]);
///
/// let mut response = Polled::new(service.call("request"));
/// response.assert_waiting();
/// gate.open();
/// assert_eq!(response.assert_ready(), Ok(1));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: AtomicBool,
    opened: Signal,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the gate and wakes all waiters. Opening it again does nothing.
    pub fn open(&self) {
        self.0.open.store(true, Ordering::SeqCst);
        self.0.opened.notify();
    }

    /// Whether the gate is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.open.load(Ordering::SeqCst)
    }

    /// Waits until the gate is open.
    pub async fn opened(&self) {
        poll_fn(|cx| self.poll_opened(cx)).await;
    }

    pub(crate) fn poll_opened(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.is_open() {
            self.0.opened.register(cx.waker());
            // The gate may have been opened in between.
            if !self.is_open() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}
