//! The response future where a newer call takes the place of an older one.

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
    places::{Hold, Turned},
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
    /// The response future of [`Dedup`](crate::dedup::Dedup) where a newer call takes the place of an older one.
    #[must_use = "futures do nothing unless polled"]
    pub struct ReplaceFuture<S, Request, K, O>
    where
        S: Service<Request>,
        K: Clone,
        K: Eq,
        K: Hash,
    {
        // Dropped before the place is given up. `None` once it is over.
        #[pin]
        execution: Option<Execution<S, Request, Infallible>>,
        // `None` without a key, and once the call is over.
        hold: Option<Hold<K>>,
        wait: Option<Wait>,
        // A Cancel layer outside stops the job's work when it is cancelled.
        watched: bool,
        on_reject: O,
        membership: Membership,
    }
}

/// What a call waits for before it runs.
pub(super) enum Wait {
    /// That nobody comes; `None` is for ever. The timer is made when it is first waited for, and boxed, as a call that
    /// runs has none.
    Quiet(Option<Instant>, Option<Pin<Box<Sleep>>>),
    /// That the running call is over.
    Place,
}

impl Wait {
    pub(super) fn of(turned: Turned) -> Option<Self> {
        match turned {
            Turned::Begins => None,
            Turned::Waits(due) => Some(Self::Quiet(due, None)),
        }
    }

    /// Ready once the call has the place; `false` if another one has taken it.
    fn poll<K: Clone + Eq + Hash>(&mut self, hold: &Hold<K>, cx: &mut Context<'_>) -> Poll<bool> {
        hold.register(cx.waker());
        if hold.is_replaced() {
            return Poll::Ready(false);
        }
        if let Self::Quiet(due, sleep) = self {
            let Some(due) = *due else {
                return Poll::Pending;
            };
            let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            // A task that used up its budget must not keep its own timer waiting.
            ready!(Pin::new(&mut unconstrained(sleep.as_mut())).poll(cx));
            *self = Self::Place;
        }
        // Looked at once its waker is in its place: it begins here, or the call that leaves wakes it.
        if hold.start() {
            Poll::Ready(true)
        } else if hold.is_replaced() {
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
        hold: Option<(Hold<K>, Turned)>,
        on_reject: O,
        membership: Membership,
    ) -> Self {
        let watched = membership
            .with_job(|job| job.state().is_watched())
            .unwrap_or(false);
        let (hold, turned) = hold.unzip();
        Self {
            execution: Some(execution),
            hold,
            wait: turned.and_then(Wait::of),
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
        if let (Some(wait), Some(hold)) = (&mut this.wait, &this.hold) {
            let begins = ready!(wait.poll(hold, cx));
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
        if let Some(hold) = this.hold {
            if !had_job {
                this.membership.with_job(|job| hold.set_job(job));
            }
            if polled.is_pending() && hold.is_replaceable() {
                hold.register(cx.waker());
            }
        }
        match polled {
            Poll::Ready(result) => {
                let in_time = this.hold.as_ref().is_none_or(Hold::finish);
                Poll::Ready(if in_time {
                    self.finished(result)
                } else {
                    self.replaced(false)
                })
            }
            // Replaced before the waker was in its place, it would not be woken.
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
    /// Whether it was replaced, and nobody outside sees to its end.
    fn is_to_stop(&self) -> bool {
        let Some(hold) = self.hold.as_ref().filter(|hold| hold.is_replaced()) else {
            return false;
        };
        let mut cleans_up = false;
        if self.watched {
            // The Cancel layer drops what has started at once, or lets it clean up for its grace period.
            self.membership.with_job(|job| {
                let is_other = hold.replaced_by() != Some(job.id());
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
        // What it borrowed from the service first, so that the next call finds that free.
        this.execution.set(None);
        *this.hold = None;
        let result = this
            .membership
            .ask(|| result.map_err(|error| this.on_reject.pass(error)));
        this.membership
            .finish_known(&result, |error| this.on_reject.as_error(error));
        result
    }

    /// Another call has the place; `unfinished` says that the work did not come to its end.
    #[cold]
    fn replaced(self: Pin<&mut Self>, unfinished: bool) -> Result<S::Response, O::Error> {
        let mut this = self.project();
        let by = this.hold.as_ref().and_then(Hold::replaced_by);
        let mut of = None;
        this.membership.with_job(|job| {
            of = Some(job.id());
            // Another call of the same job goes on.
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
        *this.hold = None;
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
