//! `ResponseFuture` of the timeout: polls the call, the limit and the grace period.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::{
    body::{Head, LimitsBody, UntilHead},
    deadline::Deadline,
    grace::AtLimit,
    timer::{self, Expired, Wakes},
};
use crate::{
    job::{Elapsed, context, membership::Membership, verdict},
    reject::OnReject,
};

pin_project! {
    /// The response future of [`Timeout`](super::Timeout).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, O, B = UntilHead> {
        // `None` after the limit expired.
        #[pin]
        future: Option<F>,
        // For the limit, then for the grace period. Created when the inner future is pending: a
        // call that is ready at once needs no timer.
        #[pin]
        sleep: Option<Sleep>,
        deadline: Option<Deadline>,
        at_limit: AtLimit,
        on_reject: O,
        body: B,
        membership: Membership,
    }
}

impl<F, O, B> ResponseFuture<F, O, B> {
    #[inline(always)]
    pub(super) fn new(
        future: F,
        deadline: Option<Deadline>,
        at_limit: AtLimit,
        on_reject: O,
        body: B,
        membership: Membership,
    ) -> Self {
        Self {
            future: Some(future),
            sleep: None,
            deadline,
            at_limit,
            on_reject,
            body,
            membership,
        }
    }
}

impl<F, O, B, Response, Error> Future for ResponseFuture<F, O, B>
where
    F: Future<Output = Result<Response, Error>>,
    O: OnReject<Elapsed, Response, Error>,
    O::Error: fmt::Display,
    B: LimitsBody<Response>,
{
    type Output = Result<B::Response, O::Error>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            let Some(future) = this.future.as_mut().as_pin_mut() else {
                panic!("a call was polled after it timed out");
            };
            // The inner future goes first, so that the result wins a tie.
            let limits = Deadline::limits(this.deadline.as_ref(), this.at_limit.step_limit());
            let sleep = this.sleep.as_ref().as_pin_ref();
            let wakes = Wakes::of(this.deadline.as_ref(), sleep.as_deref(), cx.waker());
            let timing = wakes.timing(sleep.as_deref(), cx.waker());
            let polled = this.membership.run(|| {
                let _in_force = context::narrow(limits);
                let _signal = this.at_limit.signal().map(context::under_stop_signal);
                future.poll(cx)
            });
            let inside = timing.and_then(|timing| timing.asked());
            let result = match polled {
                Poll::Ready(result) => {
                    // The timer must not wake a caller that keeps the completed future.
                    this.sleep.set(None);
                    match this.deadline {
                        Some(deadline) if deadline.in_grace => self.as_mut().expire(Some(result)),
                        _ => this
                            .membership
                            .ask(|| result.map_err(|error| this.on_reject.pass(error))),
                    }
                }
                Poll::Pending => {
                    let Some(deadline) = this.deadline.as_ref() else {
                        return Poll::Pending;
                    };
                    let expired = match wakes {
                        Wakes::Itself => timer::poll_own(deadline, this.sleep, inside, cx),
                        Wakes::Around => timer::poll_around(deadline),
                        Wakes::Apart => {
                            timer::poll_apart(deadline, this.sleep, this.membership, cx)
                        }
                    };
                    match ready!(expired) {
                        // The inner limit reads the time in the next poll.
                        Expired::Inside => continue,
                        // The next poll shows the work its cancellation.
                        Expired::Limit if self.as_mut().begin_grace() => continue,
                        Expired::Limit => self.as_mut().expire(None),
                    }
                }
            };
            let this = self.project();
            let head = Head {
                membership: this.membership,
                deadline: *this.deadline,
            };
            let ended = this
                .body
                .finish(result, head, |error| this.on_reject.as_error(error));
            return Poll::Ready(ended);
        }
    }
}

impl<F, O, B> ResponseFuture<F, O, B> {
    /// Cancels the work and starts the grace period, if there is one and it has not begun.
    #[cold]
    fn begin_grace(self: Pin<&mut Self>) -> bool {
        let mut this = self.project();
        let Some(deadline) = this.deadline.as_mut().filter(|limit| !limit.in_grace) else {
            return false;
        };
        let grace = this
            .membership
            .with_job(|job| this.at_limit.stop(job, deadline.shared))
            .flatten();
        if let Some(grace) = grace {
            deadline.in_grace = true;
            this.sleep.set(Some(tokio::time::sleep(grace)));
        }
        grace.is_some()
    }

    /// Ends the call. `ended` is the result that the work returned within its grace period; with
    /// `None` the work still exists.
    #[cold]
    fn expire<Response, Error>(
        self: Pin<&mut Self>,
        ended: Option<Result<Response, Error>>,
    ) -> Result<Response, O::Error>
    where
        O: OnReject<Elapsed, Response, Error>,
    {
        let mut this = self.project();
        let Some(deadline) = this.deadline else {
            unreachable!("without a limit there is none to expire")
        };
        let (elapsed, kind) = deadline.expire(this.membership, ended.is_none(), || {
            this.future.set(None);
            drop(ended);
        });
        this.sleep.set(None);
        let result = this.membership.ask(|| this.on_reject.reject(elapsed));
        verdict::leave(kind, this.on_reject.responds());
        result
    }
}

impl<F: fmt::Debug, O, B> fmt::Debug for ResponseFuture<F, O, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("future", &self.future)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
