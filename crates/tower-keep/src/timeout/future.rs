use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::deadline::Deadline;
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
        // Made when the inner future is pending: a call that is ready at once needs no timer.
        #[pin]
        sleep: Option<Sleep>,
        deadline: Option<Deadline>,
        step_limit: Option<Duration>,
        on_reject: O,
        seat: Seat,
    }
}

impl<F, O> ResponseFuture<F, O> {
    #[inline(always)]
    pub(super) fn new(
        future: F,
        deadline: Option<Deadline>,
        step_limit: Option<Duration>,
        on_reject: O,
        seat: Seat,
    ) -> Self {
        Self {
            future: Some(future),
            sleep: None,
            deadline,
            step_limit,
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
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            panic!("a call was polled after it timed out");
        };
        // The inner future goes first, so that the result wins a tie.
        let limits = Deadline::limits(this.deadline.as_ref(), *this.step_limit);
        let polled = this.seat.run(|| {
            let _in_force = context::narrow(limits);
            future.poll(cx)
        });
        let result = match polled {
            Poll::Ready(result) => {
                // Whoever keeps the future must not be woken by its timer.
                this.sleep.set(None);
                this.seat
                    .ask(|| result.map_err(|error| this.on_reject.pass(error)))
            }
            Poll::Pending => {
                let Some(deadline) = *this.deadline else {
                    return Poll::Pending;
                };
                if this.sleep.is_none() && !deadline.limit.is_zero() {
                    this.sleep.set(Some(tokio::time::sleep_until(deadline.at)));
                }
                if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
                    // An inner future that used up the task's budget must not starve its own limit.
                    if Pin::new(&mut tokio::task::coop::unconstrained(sleep))
                        .poll(cx)
                        .is_pending()
                    {
                        return Poll::Pending;
                    }
                }
                let (elapsed, kind) = deadline.expire(this.seat, true, || this.future.set(None));
                let result = this.seat.ask(|| this.on_reject.reject(elapsed));
                stop::leave(kind, this.on_reject.responds());
                result
            }
        };
        this.seat
            .finish_known(&result, |error| this.on_reject.as_error(error));
        Poll::Ready(result)
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
