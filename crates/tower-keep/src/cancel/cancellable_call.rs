//! The inner call, which stops when its job is cancelled.

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

#[cfg(feature = "http")]
use super::body_watch::{BodyWatch, Place};
use super::{
    external_token::{ExternalToken, TokenWait},
    groups::GroupGuard,
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
    /// The inner call, which stops when its job is cancelled.
    #[must_use = "futures do nothing unless polled"]
    pub struct CancellableCall<F, K>
    where
        K: Eq,
        K: Hash,
    {
        // `None` once the work is over or dropped.
        #[pin]
        future: Option<F>,
        watch: CancelWatch,
        external_token: Option<Arc<ExternalToken>>,
        // Boxed, as few jobs have an external token, and fewer are cancelled.
        token_wait: Option<Pin<Box<TokenWait>>>,
        grace: Option<Duration>,
        grace_sleep: Option<Pin<Box<Sleep>>>,
        group: Option<GroupGuard<K>>,
        // `None` once the call went on with the body of its response.
        call: Option<Call>,
    }
}

impl<F, K: Eq + Hash> CancellableCall<F, K> {
    pub(super) fn new(
        future: F,
        watch: CancelWatch,
        external_token: Option<Arc<ExternalToken>>,
        grace: Option<Duration>,
        group: Option<GroupGuard<K>>,
        call: Call,
    ) -> Self {
        Self {
            future: Some(future),
            watch,
            external_token,
            token_wait: None,
            grace,
            grace_sleep: None,
            group,
            call: Some(call),
        }
    }

    pub(super) fn job(&self) -> &Arc<Core> {
        self.watch.job()
    }

    pub(super) fn is_shared(&self) -> bool {
        self.watch.is_shared()
    }
}

#[cfg(feature = "http")]
impl<F, K: Eq + Hash + Send + Sync + 'static> CancellableCall<F, K> {
    /// The call has its response and goes on with the body.
    pub(super) fn into_watch(self: Pin<&mut Self>) -> Option<BodyWatch> {
        let this = self.project();
        let group = this.group.take();
        let place = Place {
            call: this.call.take()?,
            group: group.map(|group| Box::new(group) as Box<dyn Send + Sync>),
        };
        let token_wait = this.token_wait.take();
        let external_token = this.external_token.take();
        let waker = this.watch.waker.hand_over();
        Some(BodyWatch::new(
            waker,
            Some(place),
            external_token,
            token_wait,
        ))
    }
}

/// How a call watches its job. Made before the inner call, which may share the execution.
pub(super) struct CancelWatch {
    waker: CancelWaker,
}

impl CancelWatch {
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

    /// The call has its result. Returns `false` if the call has to stop instead.
    #[inline(always)]
    pub(super) fn decide(&mut self) -> bool {
        self.waker.decide().unwrap_or_else(|| !self.is_stopped())
    }

    /// Cancels the job, or the shared execution that contains the call.
    pub(super) fn cancel(&self, reason: CancelReason) -> bool {
        cancel(self.job(), self.is_shared(), reason)
    }

    /// Reports the start of work that ran before its cancellation. The verdict alone would look
    /// like a rejection.
    #[cold]
    fn note_start(&self) {
        if !verdict::read().is_some_and(|stop| stop.kind.is_gate()) {
            self.job().started(false);
        }
    }

    /// Whether the call has to stop. A shared execution continues when the job's own caller leaves.
    /// Any other call stops with its job, even when the job ended by itself: a detached task may be
    /// left then.
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

pub(super) fn cancelled(job: &Core) -> Cancelled {
    let reason = job.reason().unwrap_or(if job.state().has_fired() {
        CancelReason::CallerGone
    } else {
        CancelReason::Requested
    });
    Cancelled::of(job.id(), reason)
}

impl<F: Future, K: Eq + Hash> Future for CancellableCall<F, K> {
    type Output = Result<F::Output, Cancelled>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_deciding(cx, |watch, _| watch.decide())
    }
}

impl<F: Future, K: Eq + Hash> CancellableCall<F, K> {
    /// Polls the call. `decide` runs when it has its result, and returns `false` if the call has to
    /// stop instead.
    #[inline(always)]
    pub(super) fn poll_deciding(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut decide: impl FnMut(&mut CancelWatch, &F::Output) -> bool,
    ) -> Poll<Result<F::Output, Cancelled>> {
        loop {
            let this = self.as_mut().project();
            if let Some(external_token) = this.external_token {
                if external_token.stops_at_once() {
                    this.watch.cancel(external_token.reason());
                }
            }
            let is_stopped = this.watch.is_stopped();
            // If a limit stopped it in another caller's poll, this caller gets the limit's error
            // too.
            if is_stopped && !this.watch.job().state().is_expired() {
                return self.poll_cancelled(cx);
            }
            let Some(future) = this.future.as_pin_mut() else {
                panic!("a cancellable call was polled after it was ready");
            };
            if let Poll::Ready(output) = future.poll(cx) {
                // A call that was cancelled meanwhile does not succeed. The error of an expired
                // limit inside takes precedence. From here on it is too late to cancel.
                if !decide(this.watch, &output)
                    && this.watch.job().reason() != Some(CancelReason::TimedOut)
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
            if let Some(external_token) = this.external_token {
                let wait = this.token_wait.get_or_insert_with(|| {
                    let owner = this.call.as_ref().and_then(Call::owner);
                    Box::pin(TokenWait::new(external_token, owner))
                });
                if wait.as_mut().poll(cx).is_ready() {
                    this.watch.cancel(external_token.reason());
                }
            }
            // A cancellation before the waker was registered woke no task.
            if !this.watch.is_stopped() {
                return Poll::Pending;
            }
            this.watch.note_start();
        }
    }
}

impl<F: Future, K: Eq + Hash> CancellableCall<F, K> {
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
            // Polling a joined execution finds out whether this caller is the only one.
            if this.watch.job().can_clean_up(true) && future.poll(cx).is_ready() {
                this.future.set(None);
                return Poll::Ready(Err(cancelled(this.watch.job())));
            }
            // The poll may just have reached a wait.
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

impl<F, K: Eq + Hash> fmt::Debug for CancellableCall<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancellableCall")
            .field("job", self.watch.job())
            .finish_non_exhaustive()
    }
}
