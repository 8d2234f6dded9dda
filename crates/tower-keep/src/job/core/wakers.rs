//! Wakes the layers that wait for a job's cancellation.

use std::{sync::Arc, task::Waker};

use super::{Core, Flag};
use crate::sync::AtomicWaker;

/// A layer's place among those that wake when a job is cancelled, until this is dropped.
pub(crate) struct CancelWaker {
    job: Arc<Core>,
    /// `None` for the job's own waker: one call and one Cancel layer need no more.
    pub(crate) further: Option<Arc<AtomicWaker>>,
}

impl CancelWaker {
    pub(crate) fn new(job: Arc<Core>) -> Self {
        let further = (job.word.set(Flag::Watched).has(Flag::Watched)).then(|| {
            let waker = Arc::new(AtomicWaker::new());
            job.lock().rare().wakers.push(Arc::clone(&waker));
            waker
        });
        Self { job, further }
    }

    pub(crate) fn job(&self) -> &Arc<Core> {
        &self.job
    }

    /// Wakes this waker when cancellation is asked for. Look at the job's state again after the call.
    pub(crate) fn register(&self, waker: &Waker) {
        self.further
            .as_deref()
            .unwrap_or(&self.job.waker)
            .register(waker);
    }
}

impl Drop for CancelWaker {
    fn drop(&mut self) {
        match &self.further {
            None => {
                // The waker first: the place is free only once it is empty.
                drop(self.job.waker.take());
                self.job.word.clear(Flag::Watched);
            }
            Some(waker) => {
                let mut job = self.job.lock();
                let wakers = &mut job.rare().wakers;
                wakers.retain(|known| !Arc::ptr_eq(known, waker));
            }
        }
    }
}
