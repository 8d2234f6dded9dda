//! A lock without poisoning, and a signal that wakes waiting tasks.

use std::{
    future::poll_fn,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use tokio::time::timeout;

/// The maximum wait of a test for a change. A paused clock reaches it as soon as nothing else can
/// happen, so a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Locks, also if a test panicked while it held the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes every task that waits for a change.
#[derive(Debug, Default)]
pub(crate) struct Signal(Mutex<Vec<Waker>>);

impl Signal {
    /// Registers for the next [`notify`](Self::notify). Register first, then check, so that no
    /// change is missed.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut wakers = lock(&self.0);
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    pub(crate) fn notify(&self) {
        let wakers = mem::take(&mut *lock(&self.0));
        for waker in wakers {
            waker.wake();
        }
    }

    /// Waits until `holds` is true. It is checked now and after every [`notify`](Self::notify).
    /// Returns `false` on timeout.
    pub(crate) async fn until(&self, holds: impl Fn() -> bool) -> bool {
        let waiting = poll_fn(|cx| {
            self.register(cx.waker());
            if holds() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        timeout(PATIENCE, waiting).await.is_ok()
    }
}
