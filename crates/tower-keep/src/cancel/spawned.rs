use std::{
    fmt,
    future::Future,
    hash::Hash,
    panic::resume_unwind,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    thread,
};

use tokio::task::JoinHandle;

use super::work::Work;
use crate::{
    event::CancelReason,
    job::{
        Cancelled,
        core::{Core, Ending},
        halt, limits,
        scope::{Entered, Phase},
        stop::{self, Stop},
        surroundings::Surroundings,
    },
};

/// What the task hands to its caller: the result, and what the layers inside said of it.
type Output<T, E> = (Result<Result<T, E>, Cancelled>, Option<Stop>);

/// A call in a task of its own. Dropping this leaves the task running.
#[must_use = "futures do nothing unless polled"]
pub struct Spawned<T, E> {
    task: JoinHandle<Output<T, E>>,
}

impl<T, E> Spawned<T, E>
where
    T: Send + 'static,
    E: fmt::Display + Send + 'static,
{
    pub(super) fn new<F, K>(work: Work<F, K>) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        K: Eq + Hash + Send + Sync + 'static,
    {
        let job = Arc::clone(work.job());
        job.detach();
        // What is told to stop around this layer is told in the task too. A limit of an attempt only drops this future.
        let limits = limits::limits().unwrap_or_default().for_detached();
        let surroundings = Surroundings::new(limits, halt::current());
        Self {
            task: tokio::spawn(run(work, job, surroundings)),
        }
    }
}

async fn run<F, T, E, K>(
    work: Work<F, K>,
    job: Arc<Core>,
    mut surroundings: Surroundings,
) -> Output<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: fmt::Display,
    K: Eq + Hash,
{
    let unfinished = Unfinished(Some(Arc::clone(&job)));
    let mut work = std::pin::pin!(work);
    let mut slot = Some(job);
    let (result, stop) = std::future::poll_fn(|cx| {
        let entered = Entered::new(&mut slot, Phase::Running);
        stop::take();
        let polled = surroundings.around(|| work.as_mut().poll(cx));
        drop(entered);
        // The caller that would note it may be gone.
        if let Some(job) = &slot {
            if !stop::read().is_some_and(|stop| stop.kind.is_gate()) {
                job.started_here();
            }
        }
        polled.map(|result| (result, stop::take()))
    })
    .await;
    unfinished.finish(match &result {
        Ok(result) => Ending::of(result, stop),
        Err(cancelled) => Ending::Cancelled {
            reason: cancelled.reason().clone(),
        },
    });
    (result, stop)
}

/// Ends the job of a task that panics or is dropped by its runtime.
struct Unfinished(Option<Arc<Core>>);

impl Unfinished {
    fn finish(mut self, ending: Ending) {
        if let Some(job) = self.0.take() {
            job.detached_done(ending);
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            job.detached_done(if thread::panicking() {
                Ending::panicked()
            } else {
                Ending::Cancelled {
                    reason: CancelReason::Shutdown,
                }
            });
        }
    }
}

impl<T, E> Future for Spawned<T, E> {
    type Output = Result<Result<T, E>, Cancelled>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match ready!(Pin::new(&mut self.task).poll(cx)) {
            Ok((result, stop)) => {
                if let Some(stop) = stop {
                    stop::leave_again(stop);
                }
                Poll::Ready(result)
            }
            // A panic goes on to the caller, as it would without the task.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => Poll::Ready(Err(Cancelled::new(CancelReason::Shutdown))),
            },
        }
    }
}

impl<T, E> fmt::Debug for Spawned<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawned").finish_non_exhaustive()
    }
}
