use std::{
    fmt,
    future::Future,
    hash::Hash,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::{
    groups::Place,
    outside::{Outside, Wait},
    registry::Tracked,
};
use crate::{
    event::CancelReason,
    job::{
        Cancelled,
        core::Core,
        stop::{self, StopKind},
    },
};

pin_project! {
    /// The inner call, watched for the cancellation of its job.
    #[must_use = "futures do nothing unless polled"]
    pub struct Work<F, K>
    where
        K: Eq,
        K: Hash,
    {
        // `None` once the work is over or dropped.
        #[pin]
        future: Option<F>,
        watch: Watch,
        outside: Option<Arc<Outside>>,
        // Boxed, as few jobs have an outside token, and fewer are cancelled.
        outside_wait: Option<Pin<Box<Wait>>>,
        grace: Option<Duration>,
        grace_sleep: Option<Pin<Box<Sleep>>>,
        place: Option<Place<K>>,
        tracked: Tracked,
    }
}

impl<F, K: Eq + Hash> Work<F, K> {
    pub(super) fn new(
        future: F,
        watch: Watch,
        outside: Option<Arc<Outside>>,
        grace: Option<Duration>,
        place: Option<Place<K>>,
        tracked: Tracked,
    ) -> Self {
        Self {
            future: Some(future),
            watch,
            outside,
            outside_wait: None,
            grace,
            grace_sleep: None,
            place,
            tracked,
        }
    }

    pub(super) fn job(&self) -> &Arc<Core> {
        &self.watch.job
    }
}

/// How a call watches its job. Made before the call goes on, as what is called may share the execution.
pub(super) struct Watch {
    job: Arc<Core>,
    /// The call is part of a shared execution.
    shared: bool,
    /// Where its waker goes; `None` where layers around it poll it when the job is cancelled.
    waker: Option<usize>,
}

impl Watch {
    pub(super) fn new(job: Arc<Core>) -> Self {
        Self {
            shared: job.is_shared(),
            waker: job.watch(),
            job,
        }
    }

    /// The call's result is there: `false` if the call was to stop instead.
    #[inline(always)]
    fn decide(&self) -> bool {
        if self.shared {
            !self.job.has_fired()
        } else {
            self.job.decide()
        }
    }

    /// Whether the call is to stop: a shared execution does not when the job's own caller leaves.
    #[inline(always)]
    pub(super) fn is_stopped(&self) -> bool {
        if self.shared {
            self.job.has_fired()
        } else {
            self.job.cancel_requested()
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A retry around this layer makes many calls of one job.
        if let Some(waker) = self.waker {
            self.job.unwatch(waker);
        }
    }
}

fn cancelled(job: &Core) -> Cancelled {
    Cancelled::of(job.id(), job.reason().unwrap_or(CancelReason::Requested))
}

impl<F: Future, K: Eq + Hash> Future for Work<F, K> {
    type Output = Result<F::Output, Cancelled>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let this = self.as_mut().project();
            if let Some(outside) = this.outside {
                if outside.stops_at_once() {
                    this.watch.job.cancel(outside.reason());
                }
            }
            if this.watch.is_stopped() {
                return self.poll_cancelled(cx);
            }
            let Some(future) = this.future.as_pin_mut() else {
                panic!("a cancellable call was polled after it was ready");
            };
            if let Poll::Ready(output) = future.poll(cx) {
                // Whoever was cancelled meanwhile does not succeed; a limit inside that expired speaks for itself.
                // From here on it is too late to cancel, unless somebody did so meanwhile.
                if !this.watch.decide() && this.watch.job.reason() != Some(CancelReason::TimedOut) {
                    return Poll::Ready(Err(cancelled(&this.watch.job)));
                }
                return Poll::Ready(Ok(output));
            }
            if let Some(place) = this.watch.waker {
                this.watch.job.wake_on_cancel(place, cx.waker());
            }
            if let Some(outside) = this.outside {
                let wait = this
                    .outside_wait
                    .get_or_insert_with(|| Box::pin(Wait::new(outside, this.tracked.registry())));
                if wait.as_mut().poll(cx).is_ready() {
                    this.watch.job.cancel(outside.reason());
                }
            }
            // A cancellation before the waker was in its place woke nobody.
            if !this.watch.is_stopped() {
                return Poll::Pending;
            }
        }
    }
}

impl<F: Future, K: Eq + Hash> Work<F, K> {
    #[cold]
    fn poll_cancelled(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<F::Output, Cancelled>> {
        let mut this = self.project();
        if let (Some(grace), Some(future)) = (*this.grace, this.future.as_mut().as_pin_mut()) {
            if future.poll(cx).is_ready() {
                this.future.set(None);
                return Poll::Ready(Err(cancelled(&this.watch.job)));
            }
            let sleep = this
                .grace_sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(grace)));
            if Pin::new(&mut tokio::task::coop::unconstrained(sleep.as_mut()))
                .poll(cx)
                .is_pending()
            {
                return Poll::Pending;
            }
        }
        if this.future.is_some() {
            stop::dropping(StopKind::Cancelled, || this.future.set(None));
            this.watch.job.set_dropped();
        }
        Poll::Ready(Err(cancelled(&this.watch.job)))
    }
}

impl<F, K: Eq + Hash> fmt::Debug for Work<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("job", &self.watch.job)
            .finish_non_exhaustive()
    }
}
