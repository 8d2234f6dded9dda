//! The response future.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep},
};

use super::{
    deadline::Deadline,
    grace::AtLimit,
    idle::{self, Due},
    limit::Measure,
};
use crate::{
    job::{Elapsed, context, seat::Seat, stop},
    reject::OnReject,
};

pin_project! {
    /// The response future of [`Timeout`](super::Timeout).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, O> {
        // `None` once it timed out.
        #[pin]
        future: Option<F>,
        // For the limit, then for the grace period. Made when the inner future is pending: a call that is ready at once
        // needs no timer.
        #[pin]
        sleep: Option<Sleep>,
        deadline: Option<Deadline>,
        at_limit: AtLimit,
        on_reject: O,
        seat: Seat,
    }
}

impl<F, O> ResponseFuture<F, O> {
    #[inline(always)]
    pub(super) fn new(
        future: F,
        deadline: Option<Deadline>,
        at_limit: AtLimit,
        on_reject: O,
        seat: Seat,
    ) -> Self {
        Self {
            future: Some(future),
            sleep: None,
            deadline,
            at_limit,
            on_reject,
            seat,
        }
    }
}

impl<F, O, T, E> Future for ResponseFuture<F, O>
where
    F: Future<Output = Result<T, E>>,
    O: OnReject<Elapsed, T, E>,
    O::Error: fmt::Display,
{
    type Output = Result<T, O::Error>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            let Some(future) = this.future.as_mut().as_pin_mut() else {
                panic!("a call was polled after it timed out");
            };
            // The inner future goes first, so that the result wins a tie.
            let limits = Deadline::limits(this.deadline.as_ref(), this.at_limit.step_limit());
            let polled = this.seat.run(|| {
                let _in_force = context::narrow(limits);
                let _halt = this.at_limit.halt().map(context::under_halt);
                future.poll(cx)
            });
            let result = match polled {
                Poll::Ready(result) => {
                    // A caller that keeps the future must not be woken by its timer.
                    this.sleep.set(None);
                    match this.deadline {
                        Some(deadline) if deadline.in_grace => self.as_mut().expire(Some(result)),
                        _ => this
                            .seat
                            .ask(|| result.map_err(|error| this.on_reject.pass(error))),
                    }
                }
                Poll::Pending => {
                    ready!(self.as_mut().poll_limit(cx));
                    if self.as_mut().begin_grace() {
                        // The work sees that it is to stop.
                        continue;
                    }
                    self.as_mut().expire(None)
                }
            };
            let this = self.project();
            this.seat
                .finish_known(&result, |error| this.on_reject.as_error(error));
            return Poll::Ready(result);
        }
    }
}

impl<F, O> ResponseFuture<F, O> {
    /// Whether the limit, or the grace period after it, is over.
    #[inline(always)]
    fn poll_limit(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(deadline) = this.deadline else {
            return Poll::Pending;
        };
        if this.sleep.is_none() && !deadline.limit().is_zero() {
            this.sleep.set(Some(tokio::time::sleep_until(deadline.at)));
        }
        ready!(poll_sleep(this.sleep.as_mut(), cx));
        if deadline.measure == Measure::Total || deadline.in_grace {
            return Poll::Ready(());
        }
        poll_idle(deadline, this.sleep, this.seat, cx)
    }

    /// The limit has expired: tells the work to stop, if it is to have a grace period and has had none yet.
    #[cold]
    fn begin_grace(self: Pin<&mut Self>) -> bool {
        let mut this = self.project();
        let Some(deadline) = this.deadline.as_mut().filter(|limit| !limit.in_grace) else {
            return false;
        };
        let grace = this
            .seat
            .with_job(|job| this.at_limit.stop(job, deadline.shared))
            .flatten();
        if let Some(grace) = grace {
            deadline.in_grace = true;
            this.sleep.set(Some(tokio::time::sleep(grace)));
        }
        grace.is_some()
    }

    /// The limit is over. `ended` is what the work came to within its grace period; with `None` the work is still
    /// there.
    #[cold]
    fn expire<T, E>(self: Pin<&mut Self>, ended: Option<Result<T, E>>) -> Result<T, O::Error>
    where
        O: OnReject<Elapsed, T, E>,
    {
        let mut this = self.project();
        let Some(deadline) = this.deadline else {
            unreachable!("without a limit there is none to expire")
        };
        let (elapsed, kind) = deadline.expire(this.seat, ended.is_none(), || {
            this.future.set(None);
            drop(ended);
        });
        this.sleep.set(None);
        let result = this.seat.ask(|| this.on_reject.reject(elapsed));
        stop::leave(kind, this.on_reject.responds());
        result
    }
}

/// No sleep is over at once.
#[inline(always)]
fn poll_sleep(sleep: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> Poll<()> {
    match sleep.as_pin_mut() {
        // An inner future that used up the task's budget must not starve its own limit.
        Some(sleep) => Pin::new(&mut unconstrained(sleep)).poll(cx),
        None => Poll::Ready(()),
    }
}

/// The timer of an idle limit went off: whether the limit is over, or when to look again.
#[cold]
fn poll_idle(
    deadline: &Deadline,
    mut sleep: Pin<&mut Option<Sleep>>,
    seat: &Seat,
    cx: &mut Context<'_>,
) -> Poll<()> {
    loop {
        let active = seat.with_job(|job| job.last_activity()).flatten();
        match idle::due(deadline.limit(), deadline.began(), active, Instant::now()) {
            Due::Now => return Poll::Ready(()),
            Due::Never => return Poll::Pending,
            Due::At(at) => sleep.set(Some(tokio::time::sleep_until(at))),
        }
        ready!(poll_sleep(sleep.as_mut(), cx));
    }
}

impl<F: fmt::Debug, O> fmt::Debug for ResponseFuture<F, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("future", &self.future)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
