use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep},
};

use super::{
    deadline::Deadline,
    idle::{self, Due},
    layer::Measure,
};
use crate::{
    job::{Elapsed, context, core::Core, halt::Halt, seat::Seat, stop},
    reject::OnReject,
};

pin_project! {
    /// The response future of [`WatchedTimeout`](super::WatchedTimeout).
    #[must_use = "futures do nothing unless polled"]
    pub struct WatchedFuture<F, O> {
        // `None` once it timed out.
        #[pin]
        future: Option<F>,
        // For the limit, then for the grace period. Made when the inner future is pending.
        #[pin]
        sleep: Option<Sleep>,
        deadline: Option<Deadline>,
        // Of a limit with a grace period.
        stopping: Option<Stopping>,
        in_grace: bool,
        on_reject: O,
        seat: Seat,
    }
}

/// How the work is told to stop.
pub(super) struct Stopping {
    pub(super) grace: Duration,
    /// The call is part of a shared execution, rather than one of those that share it.
    pub(super) shared: bool,
    /// In its slot while the code inside does not run.
    pub(super) halt: Option<Arc<Halt>>,
}

impl Stopping {
    /// Tells the work to stop; `false` if nothing that this call could stop is running.
    fn stop(&self, job: &Core) -> bool {
        if !job.can_clean_up(self.shared) {
            return false;
        }
        if let Some(halt) = &self.halt {
            job.halt(halt);
        }
        true
    }
}

impl<F, O> WatchedFuture<F, O> {
    pub(super) fn new(
        future: F,
        deadline: Option<Deadline>,
        stopping: Option<Stopping>,
        on_reject: O,
        seat: Seat,
    ) -> Self {
        Self {
            future: Some(future),
            sleep: None,
            deadline,
            stopping,
            in_grace: false,
            on_reject,
            seat,
        }
    }
}

impl<F, O, T, E> Future for WatchedFuture<F, O>
where
    F: Future<Output = Result<T, E>>,
    O: OnReject<Elapsed, T, E>,
    O::Error: fmt::Display,
{
    type Output = Result<T, O::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            let Some(future) = this.future.as_mut().as_pin_mut() else {
                panic!("a call was polled after it timed out");
            };
            let limits = Deadline::limits(this.deadline.as_ref(), None);
            let stopping = this.stopping.as_mut();
            // The inner future goes first, so that the result wins a tie.
            let polled = this.seat.run(|| {
                let _in_force = context::narrow(limits);
                let _halt = stopping.map(|stopping| context::under_halt(&mut stopping.halt));
                future.poll(cx)
            });
            let in_time = match polled {
                Poll::Ready(result) => {
                    // Whoever keeps the future must not be woken by its timer.
                    this.sleep.set(None);
                    Some(result)
                }
                Poll::Pending => {
                    ready!(self.as_mut().poll_limit(cx));
                    if self.as_mut().begin_grace() {
                        // The work sees that it is to stop.
                        continue;
                    }
                    None
                }
            };
            return Poll::Ready(self.finish(in_time));
        }
    }
}

impl<F, O> WatchedFuture<F, O> {
    /// Whether the limit, or the grace period after it, is over.
    fn poll_limit(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(deadline) = *this.deadline else {
            return Poll::Pending;
        };
        if this.sleep.is_none() && !deadline.limit.is_zero() {
            this.sleep.set(Some(tokio::time::sleep_until(deadline.at)));
        }
        loop {
            if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
                // An inner future that used up the task's budget must not starve its own limit.
                ready!(Pin::new(&mut unconstrained(sleep)).poll(cx));
            }
            if deadline.measure == Measure::Total || *this.in_grace {
                return Poll::Ready(());
            }
            let active = this.seat.with_job(|job| job.last_activity()).flatten();
            // The limit went by at `at` if nothing happened since the call.
            let began = deadline.at - deadline.limit;
            match idle::due(deadline.limit, began, active, Instant::now()) {
                Due::Now => return Poll::Ready(()),
                Due::Never => return Poll::Pending,
                Due::At(at) => match this.sleep.as_mut().as_pin_mut() {
                    Some(sleep) => sleep.reset(at),
                    None => this.sleep.set(Some(tokio::time::sleep_until(at))),
                },
            }
        }
    }

    /// The limit has expired: tells the work to stop, if it is to have a grace period and has had none yet.
    #[cold]
    fn begin_grace(self: Pin<&mut Self>) -> bool {
        let mut this = self.project();
        let Some(stopping) = this.stopping.as_ref().filter(|_| !*this.in_grace) else {
            return false;
        };
        let stops = this
            .seat
            .with_job(|job| stopping.stop(job))
            .unwrap_or(false);
        if stops {
            *this.in_grace = true;
            this.sleep.set(Some(tokio::time::sleep(stopping.grace)));
        }
        stops
    }

    /// The result, or that the limit has expired; with `None` the work is still there.
    fn finish<T, E>(self: Pin<&mut Self>, result: Option<Result<T, E>>) -> Result<T, O::Error>
    where
        O: OnReject<Elapsed, T, E>,
        O::Error: fmt::Display,
    {
        let mut this = self.project();
        let result = match (result, *this.deadline) {
            (Some(result), Some(deadline)) if *this.in_grace => {
                let (elapsed, kind) = deadline.expire(this.seat, false, || {
                    this.future.set(None);
                    drop(result);
                });
                let result = this.seat.ask(|| this.on_reject.reject(elapsed));
                stop::leave(kind, this.on_reject.responds());
                result
            }
            (None, Some(deadline)) => {
                let (elapsed, kind) = deadline.expire(this.seat, true, || this.future.set(None));
                this.sleep.set(None);
                let result = this.seat.ask(|| this.on_reject.reject(elapsed));
                stop::leave(kind, this.on_reject.responds());
                result
            }
            (Some(result), _) => this
                .seat
                .ask(|| result.map_err(|error| this.on_reject.pass(error))),
            (None, None) => unreachable!("without a limit there is none to expire"),
        };
        this.seat
            .finish_known(&result, |error| this.on_reject.as_error(error));
        result
    }
}

impl<F: fmt::Debug, O> fmt::Debug for WatchedFuture<F, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedFuture")
            .field("future", &self.future)
            .field("deadline", &self.deadline)
            .field("in_grace", &self.in_grace)
            .finish_non_exhaustive()
    }
}
