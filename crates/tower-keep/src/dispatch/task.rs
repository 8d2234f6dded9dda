//! The task of a dispatched job.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::sync::oneshot;

use super::{
    dispatchable::{Dispatchable, OnJobError},
    entry_service::Failure,
    error::{JobError, Panicked},
    job_end::EndsJob,
    limit::InFlightJob,
};
use crate::{
    cancel::registry::ShutdownHold,
    error::{discard, unharmed},
    event::CancelReason,
    job::{
        Cancelled,
        context::Surroundings,
        core::{By, Core},
    },
};

/// The handle's message: the result, or the panic of the closure that makes it.
pub(super) type TaskAnswer<R> = Result<R, Box<dyn Any + Send>>;

pin_project! {
    /// Drives the work to its end, and then sends the result to the handle.
    ///
    /// Before it sends the result, its work is dropped, and its permit is released or belongs to
    /// the response body: the job is over, or it ends with that body.
    pub(super) struct Task<E, S, Request, O>
    where
        E: EndsJob<S, Request>,
        S: Dispatchable<Request>,
        O: OnJobError<S::Response, S::Error>,
    {
        // `None` once it is over.
        #[pin]
        work: Option<E::Work>,
        job: Arc<Core>,
        in_flight: Option<InFlightJob>,
        // Held until the result is sent.
        shutdown: Option<ShutdownHold>,
        reply: Option<Reply<O, E::Response, O::Error>>,
    }

    impl<E, S, Request, O> PinnedDrop for Task<E, S, Request, O>
    where
        E: EndsJob<S, Request>,
        S: Dispatchable<Request>,
        O: OnJobError<S::Response, S::Error>,
    {
        fn drop(this: Pin<&mut Self>) {
            // Only if the work is not over: the runtime shuts down and drops the task.
            if this.work.is_some() {
                // Cancelling wakes the tasks that wait for the job's token.
                unharmed(|| {
                    this.job.cancel(CancelReason::Shutdown, By::Request);
                });
                let reason = this.job.reason().unwrap_or(CancelReason::Shutdown);
                let cancelled = Cancelled::of(this.job.id(), reason);
                Task::finish(this, TaskOutcome::NoResult(JobError::Cancelled(cancelled)));
            }
        }
    }
}

/// How the work ended.
enum TaskOutcome<T, E> {
    Response(T),
    Error(E),
    NoResult(JobError),
}

impl<E, S, Request, O> Task<E, S, Request, O>
where
    E: EndsJob<S, Request>,
    S: Dispatchable<Request>,
    O: OnJobError<S::Response, S::Error>,
{
    pub(super) fn new(
        work: E::Work,
        job: Arc<Core>,
        in_flight: InFlightJob,
        shutdown: ShutdownHold,
        reply: Reply<O, E::Response, O::Error>,
    ) -> Self {
        Self {
            work: Some(work),
            job,
            in_flight: Some(in_flight),
            shutdown: Some(shutdown),
            reply: Some(reply),
        }
    }

    fn finish(self: Pin<&mut Self>, outcome: TaskOutcome<E::Response, S::Error>) {
        let mut this = self.project();
        // Dropping the work ends the job, if it has not ended yet. A panic in that drop does not
        // change the result.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| this.work.set(None))) {
            discard(panic);
        }
        let in_flight = this.in_flight.take();
        if matches!(outcome, TaskOutcome::Response(_)) && !this.job.state().is_over() {
            // The job goes on with the body of the response.
            this.job
                .keep_until_end(Box::new((in_flight, this.shutdown.clone())));
        } else {
            drop(in_flight);
        }
        if let Some(reply) = this.reply.take() {
            reply.send(|on_reject| match outcome {
                TaskOutcome::Response(response) => Ok(response),
                TaskOutcome::Error(error) => Err(on_reject.pass(error)),
                TaskOutcome::NoResult(why) => on_reject.reject(why).map(E::answer),
            });
        }
        *this.shutdown = None;
    }
}

impl<E, S, Request, O> Future for Task<E, S, Request, O>
where
    E: EndsJob<S, Request>,
    S: Dispatchable<Request>,
    O: OnJobError<S::Response, S::Error>,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        let Some(work) = this.work.as_pin_mut() else {
            return Poll::Ready(());
        };
        // A panic ends the job at once, and the work is not polled again. The limits of the polling
        // code, such as a runtime within a job's code, do not apply to the work.
        let poll = || Surroundings::default().around(|| work.poll(cx));
        let outcome = match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => TaskOutcome::Response(response),
            Ok(Poll::Ready(Err(Failure::Own(error)))) => TaskOutcome::Error(error),
            Ok(Poll::Ready(Err(Failure::Cancelled(why)))) => {
                TaskOutcome::NoResult(JobError::Cancelled(why))
            }
            Err(panic) => TaskOutcome::NoResult(match this.job.reason() {
                // A panic in the grace period: the job ended as cancelled, as with any other
                // result.
                Some(reason) if reason != CancelReason::TimedOut => {
                    discard(panic);
                    JobError::Cancelled(Cancelled::of(this.job.id(), reason))
                }
                _ => JobError::Panicked(Panicked::new(this.job.id(), panic)),
            }),
        };
        self.finish(outcome);
        Poll::Ready(())
    }
}

/// The sender to the handle.
pub(super) struct Reply<O, T, E> {
    pub(super) on_reject: O,
    pub(super) to: oneshot::Sender<TaskAnswer<Result<T, E>>>,
}

impl<O, T, E> Reply<O, T, E> {
    /// Makes the result and sends it, unless the handle is gone.
    pub(super) fn send(self, make: impl FnOnce(&O) -> Result<T, E>) {
        if !self.to.is_closed() {
            // The closure is user code. Its panic belongs to the awaiting code, as in a layer.
            let result = catch_unwind(AssertUnwindSafe(|| make(&self.on_reject)));
            // Sending fails only if the handle was dropped meanwhile.
            let _ = self.to.send(result);
        }
    }
}
