//! The inner call, watched for the cancellation of its job.

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
    registry::cancel,
};
use crate::{
    event::CancelReason,
    job::{
        Cancelled,
        context::is_execution_of,
        core::{Core, wakers::CancelWaker},
        table::Call,
        verdict::{self, VerdictKind},
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
        call: Call,
    }
}

impl<F, K: Eq + Hash> Work<F, K> {
    pub(super) fn new(
        future: F,
        watch: Watch,
        outside: Option<Arc<Outside>>,
        grace: Option<Duration>,
        place: Option<Place<K>>,
        call: Call,
    ) -> Self {
        Self {
            future: Some(future),
            watch,
            outside,
            outside_wait: None,
            grace,
            grace_sleep: None,
            place,
            call,
        }
    }

    pub(super) fn job(&self) -> &Arc<Core> {
        self.watch.job()
    }

    pub(super) fn is_shared(&self) -> bool {
        self.watch.is_shared()
    }
}

/// How a call watches its job. Made before the call goes on, as what is called may share the execution.
pub(super) struct Watch {
    waker: CancelWaker,
}

impl Watch {
    pub(super) fn new(job: Arc<Core>) -> Self {
        Self {
            waker: match is_execution_of(job.id()) {
                false => CancelWaker::of_call(job),
                true => CancelWaker::of_shared(job),
            },
        }
    }

    pub(super) fn job(&self) -> &Arc<Core> {
        self.waker.job()
    }

    /// Whether the call is part of a shared execution.
    pub(super) fn is_shared(&self) -> bool {
        self.waker.is_shared()
    }

    /// The call's result is there: `false` if the call was to stop instead.
    #[inline(always)]
    fn decide(&mut self) -> bool {
        self.waker.decide().unwrap_or_else(|| !self.is_stopped())
    }

    /// Cancels the job, or the shared execution of which the call is a part.
    pub(super) fn cancel(&self, reason: CancelReason) -> bool {
        cancel(self.job(), self.is_shared(), reason)
    }

    /// The work ran, before it was cancelled: what the caller is told reads as if it had been turned away.
    #[cold]
    fn note_start(&self) {
        if !verdict::read().is_some_and(|stop| stop.kind.is_gate()) {
            self.job().started(false);
        }
    }

    /// Whether the call is to stop: a shared execution does not when the job's own caller leaves. Any other call does when
    /// its job is over too, as a detached task may be left then.
    #[inline(always)]
    pub(super) fn is_stopped(&self) -> bool {
        let now = self.job().state();
        if self.is_shared() {
            now.has_fired()
        } else {
            now.is_cancelled() || now.is_over()
        }
    }
}

fn cancelled(job: &Core) -> Cancelled {
    let reason = job.reason().unwrap_or(if job.state().has_fired() {
        CancelReason::CallerGone
    } else {
        CancelReason::Requested
    });
    Cancelled::of(job.id(), reason)
}

impl<F: Future, K: Eq + Hash> Future for Work<F, K> {
    type Output = Result<F::Output, Cancelled>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let this = self.as_mut().project();
            if let Some(outside) = this.outside {
                if outside.stops_at_once() {
                    this.watch.cancel(outside.reason());
                }
            }
            let is_stopped = this.watch.is_stopped();
            // Where a limit stopped it in another caller's poll, the limit's error is there for this one too.
            if is_stopped && !this.watch.job().state().is_expired() {
                return self.poll_cancelled(cx);
            }
            let Some(future) = this.future.as_pin_mut() else {
                panic!("a cancellable call was polled after it was ready");
            };
            if let Poll::Ready(output) = future.poll(cx) {
                // Whoever was cancelled meanwhile does not succeed; a limit inside that expired speaks for itself.
                // From here on it is too late to cancel, unless somebody did so meanwhile.
                if !this.watch.decide() && this.watch.job().reason() != Some(CancelReason::TimedOut)
                {
                    this.watch.note_start();
                    return Poll::Ready(Err(cancelled(this.watch.job())));
                }
                return Poll::Ready(Ok(output));
            }
            if is_stopped {
                return self.poll_cancelled(cx);
            }
            this.watch.waker.register(cx.waker());
            if let Some(outside) = this.outside {
                let wait = this
                    .outside_wait
                    .get_or_insert_with(|| Box::pin(Wait::new(outside, this.call.owner())));
                if wait.as_mut().poll(cx).is_ready() {
                    this.watch.cancel(outside.reason());
                }
            }
            // A cancellation before the waker was in its place woke nobody.
            if !this.watch.is_stopped() {
                return Poll::Pending;
            }
            this.watch.note_start();
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
        // A task that is left when its job is over has no grace period: the job was not cancelled.
        let grace = this
            .grace
            .filter(|_| this.watch.job().state().is_cancelled());
        if let (Some(grace), Some(future)) = (grace, this.future.as_mut().as_pin_mut()) {
            // Where callers share the execution, it finds out now whether this one has it to itself.
            if this.watch.job().can_clean_up(true) && future.poll(cx).is_ready() {
                this.future.set(None);
                return Poll::Ready(Err(cancelled(this.watch.job())));
            }
            // It may have come to a wait just now.
            if this.watch.job().can_clean_up(this.watch.is_shared()) {
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
        }
        if this.future.is_some() {
            verdict::dropping(VerdictKind::Cancelled, || this.future.set(None));
            this.watch.job().flags.set_dropped();
        }
        Poll::Ready(Err(cancelled(this.watch.job())))
    }
}

impl<F, K: Eq + Hash> fmt::Debug for Work<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("job", self.watch.job())
            .finish_non_exhaustive()
    }
}
