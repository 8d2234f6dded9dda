//! The response future of a superseding call: waits for its slot, runs, and ends when it is
//! replaced.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep},
};
use tower_service::Service;

use super::{
    super::{error::Duplicate, execution::Execution},
    slot_table::{SlotAdmission, SlotGuard},
};
use crate::{
    event::CancelReason,
    job::{
        core::By,
        membership::Membership,
        verdict::{self, VerdictKind},
    },
    reject::OnReject,
};

pin_project! {
    /// The response future of [`Dedup`](crate::dedup::Dedup) in the superseding modes.
    #[must_use = "futures do nothing unless polled"]
    pub struct ReplaceFuture<S, Request, K, O>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        // Dropped before the slot is released. `None` once it is over.
        #[pin]
        execution: Option<Execution<S, Request, Infallible>>,
        // `None` without a key, and once the call is over.
        guard: Option<SlotGuard<K>>,
        wait: Option<Wait>,
        // A Cancel layer outside stops the job's work when it is cancelled.
        watched: bool,
        on_reject: O,
        membership: Membership,
    }
}

/// The reason why a call waits before it runs.
pub(super) enum Wait {
    /// It waits for quiet until this time; `None` is forever. The timer is made at the first wait,
    /// and boxed, as a running call has none.
    Quiet(Option<Instant>, Option<Pin<Box<Sleep>>>),
    /// It waits for the end of the running call.
    Slot,
}

impl Wait {
    pub(super) fn of(admission: SlotAdmission) -> Option<Self> {
        match admission {
            SlotAdmission::Begins => None,
            SlotAdmission::Waits(due) => Some(Self::Quiet(due, None)),
        }
    }

    /// Ready once the call has the slot, or with `false` once a newer call has replaced it.
    fn poll<K: Clone + Eq + Hash>(
        &mut self,
        guard: &SlotGuard<K>,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        guard.register(cx.waker());
        if guard.is_replaced() {
            return Poll::Ready(false);
        }
        if let Self::Quiet(due, sleep) = self {
            let Some(due) = *due else {
                return Poll::Pending;
            };
            let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            // Unconstrained: a task that used up its budget must not delay its own timer.
            ready!(Pin::new(&mut unconstrained(sleep.as_mut())).poll(cx));
            *self = Self::Slot;
        }
        // Checked after the waker is registered: either the call begins here, or the call that
        // leaves wakes it.
        if guard.start() {
            Poll::Ready(true)
        } else if guard.is_replaced() {
            Poll::Ready(false)
        } else {
            Poll::Pending
        }
    }
}

impl<S, Request, K, O> ReplaceFuture<S, Request, K, O>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    pub(super) fn new(
        execution: Execution<S, Request, Infallible>,
        guard: Option<(SlotGuard<K>, SlotAdmission)>,
        on_reject: O,
        membership: Membership,
    ) -> Self {
        let watched = membership
            .with_job(|job| job.state().is_watched())
            .unwrap_or(false);
        let (guard, admission) = guard.unzip();
        Self {
            execution: Some(execution),
            guard,
            wait: admission.and_then(Wait::of),
            watched,
            on_reject,
            membership,
        }
    }
}

impl<S, Request, K, O> Future for ReplaceFuture<S, Request, K, O>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
    O: OnReject<Duplicate, S::Response, S::Error>,
    O::Error: fmt::Display,
{
    type Output = Result<S::Response, O::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        if let (Some(wait), Some(guard)) = (&mut this.wait, &this.guard) {
            let begins = ready!(wait.poll(guard, cx));
            *this.wait = None;
            if !begins {
                return Poll::Ready(self.replaced(true));
            }
        }
        if self.is_to_stop() {
            return Poll::Ready(self.replaced(true));
        }
        let mut this = self.as_mut().project();
        let Some(execution) = this.execution.as_mut().as_pin_mut() else {
            panic!("a deduplicated call was polled after it was ready");
        };
        let had_job = this.membership.has_job();
        let polled = execution.poll(this.membership, cx);
        if let Some(guard) = this.guard {
            if !had_job {
                this.membership.with_job(|job| guard.set_job(job));
            }
            if polled.is_pending() && guard.is_replaceable() {
                guard.register(cx.waker());
            }
        }
        match polled {
            Poll::Ready(result) => {
                let in_time = this.guard.as_ref().is_none_or(SlotGuard::finish);
                Poll::Ready(if in_time {
                    self.finished(result)
                } else {
                    self.replaced(false)
                })
            }
            // If it was replaced before the waker was registered, it would not be woken.
            Poll::Pending if self.is_to_stop() => Poll::Ready(self.replaced(true)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S, Request, K, O> ReplaceFuture<S, Request, K, O>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
    O: OnReject<Duplicate, S::Response, S::Error>,
    O::Error: fmt::Display,
{
    /// Whether the call was replaced, and no Cancel layer outside ends it.
    fn is_to_stop(&self) -> bool {
        let Some(guard) = self.guard.as_ref().filter(|guard| guard.is_replaced()) else {
            return false;
        };
        let mut cleans_up = false;
        if self.watched {
            // The Cancel layer drops started work at once, or gives it a grace period.
            self.membership.with_job(|job| {
                let is_other = guard.replaced_by() != Some(job.id());
                cleans_up = is_other && job.state().is_cancelled() && !job.state().is_held();
            });
        }
        !cleans_up
    }

    fn finished(
        self: Pin<&mut Self>,
        result: Result<S::Response, S::Error>,
    ) -> Result<S::Response, O::Error> {
        let mut this = self.project();
        // First everything borrowed from the service, so that the next call finds that free.
        this.execution.set(None);
        *this.guard = None;
        let result = this
            .membership
            .ask(|| result.map_err(|error| this.on_reject.pass(error)));
        this.membership
            .finish_known(&result, |error| this.on_reject.as_error(error));
        result
    }

    /// Ends a replaced call. `unfinished` means that the work did not come to its end.
    #[cold]
    fn replaced(self: Pin<&mut Self>, unfinished: bool) -> Result<S::Response, O::Error> {
        let mut this = self.project();
        let by = this.guard.as_ref().and_then(SlotGuard::replaced_by);
        let mut of = None;
        this.membership.with_job(|job| {
            of = Some(job.id());
            // If the newer call belongs to the same job, the job continues.
            if by != of {
                // For a job that was not known yet when this call was replaced.
                job.cancel(CancelReason::Replaced, By::Leaving);
                if unfinished {
                    job.flags.set_dropped();
                }
            }
        });
        let execution = &mut this.execution;
        this.membership
            .scoped(|| verdict::dropping(VerdictKind::Cancelled, || execution.set(None)));
        *this.guard = None;
        let result = this
            .membership
            .ask(|| this.on_reject.reject(Duplicate::replaced_of(by, of)));
        verdict::leave(VerdictKind::Cancelled, this.on_reject.responds());
        this.membership
            .finish_known(&result, |error| this.on_reject.as_error(error));
        result
    }
}

impl<S, Request, K, O> fmt::Debug for ReplaceFuture<S, Request, K, O>
where
    S: Service<Request>,
    K: Clone + Eq + Hash,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplaceFuture").finish_non_exhaustive()
    }
}
