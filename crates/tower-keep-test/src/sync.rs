//! The two small pieces that the handles share.

use std::{
    future::poll_fn,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use tokio::time::timeout;

/// How long a test waits for something to change. A paused clock gets there as soon as nothing else is left to happen,
/// so that such a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Locks, whether or not a test panicked while it held the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes every task that waits for something to change.
#[derive(Debug, Default)]
pub(crate) struct Signal(Mutex<Vec<Waker>>);

impl Signal {
    /// The task is woken at the next [`notify`](Self::notify). Register first, then look: nothing is missed then.
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

    /// Waits until `holds` does, which is looked at now and after every [`notify`](Self::notify). `false` if it never
    /// came to that.
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
