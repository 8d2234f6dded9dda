//! `JobHandle`: awaits, watches and cancels a dispatched job.

use std::{
    fmt,
    future::Future,
    panic::resume_unwind,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;

use super::task::TaskAnswer;
use crate::{
    event::{CancelReason, JobId},
    job::core::{By, Core},
    progress::{JobState, Watch},
};

/// Awaits the result of a dispatched job, watches the job and cancels it.
///
/// Dropping the handle leaves the job running, except after
/// [`cancel_on_drop`](Self::cancel_on_drop).
///
/// # Errors
///
/// The stack's error. If the job got no result, the error that the dispatcher makes of
/// [`JobError`](super::JobError).
///
/// # Panics
///
/// Panics if it is polled again after it was ready, as a task's `JoinHandle` does. A panic of a
/// closure given to [`fail_with`](super::Dispatcher::fail_with) or
/// [`respond_with`](super::Dispatcher::respond_with) continues here.
///
/// # Cancel safety
///
/// `&mut handle` can be awaited in `select!`: dropping that branch loses nothing.
pub struct JobHandle<T, E> {
    result: oneshot::Receiver<TaskAnswer<Result<T, E>>>,
    job: Arc<Core>,
    watch: Watch,
    cancels: bool,
}

impl<T, E> JobHandle<T, E> {
    pub(super) fn new(
        job: Arc<Core>,
        watch: Watch,
        result: oneshot::Receiver<TaskAnswer<Result<T, E>>>,
    ) -> Self {
        Self {
            result,
            job,
            watch,
            cancels: false,
        }
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.job.id()
    }

    /// The job's name; empty if it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.job.name()
    }

    /// The job's id outside this process, if it has one.
    #[must_use]
    pub fn external_id(&self) -> Option<Arc<str>> {
        self.job.external_id()
    }

    /// Cancels the job, with [`CancelReason::Requested`]. Returns `false` if it is over or was
    /// cancelled before.
    pub fn cancel(&self) -> bool {
        self.cancel_because(CancelReason::Requested)
    }

    /// Cancels the job for this reason, which may be a text. Returns `false` if it is over or was
    /// cancelled before.
    pub fn cancel_because(&self, reason: impl Into<CancelReason>) -> bool {
        self.job.cancel(reason.into(), By::Request)
    }

    /// Whether the handle is ready, or its result was already taken. With
    /// [`http`](super::Dispatcher#method.http), the job may go on with the response body.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.result.is_terminated() || !self.result.is_empty()
    }

    /// The job's current state, or how it ended.
    ///
    /// The state may show the end shortly before [`is_finished`](Self::is_finished) is `true`.
    #[must_use]
    pub fn state(&self) -> JobState {
        self.watch.latest().state
    }

    /// Watches the job: its latest state, each later one, and its ending. The watch may outlive
    /// this handle.
    #[must_use]
    pub fn progress(&self) -> Watch {
        self.watch.clone()
    }

    /// Cancels the job when this handle is dropped, with [`CancelReason::CallerGone`]. Once the
    /// handle gave its result, dropping it cancels nothing.
    #[must_use = "dropping it cancels the job"]
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancels = true;
        self
    }
}

impl<T, E> Future for JobHandle<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(
            !self.result.is_terminated(),
            "a job's handle was polled after it was ready"
        );
        match ready!(Pin::new(&mut self.result).poll(cx)) {
            Ok(Ok(result)) => {
                // The response may have a body that the job goes on with.
                self.cancels = false;
                Poll::Ready(result)
            }
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => unreachable!("a job's task answers on every path"),
        }
    }
}

impl<T, E> Drop for JobHandle<T, E> {
    fn drop(&mut self) {
        if self.cancels {
            // No effect once the job is over.
            self.job.cancel(CancelReason::CallerGone, By::Request);
        }
    }
}

impl<T, E> fmt::Debug for JobHandle<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("job", &self.job)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
