use std::{
    cell::Cell,
    fmt,
    future::{Future, poll_fn},
    hash::Hash,
    panic::resume_unwind,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    thread,
};

use tokio::task::JoinHandle;

use super::work::{Lent, Work};
use crate::{
    event::{CancelReason, JobId},
    job::{
        Cancelled,
        core::{Core, Ending},
        halt, limits,
        local::Local as _,
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
    // Gives the call up when it is dropped before its result is there.
    _lent: Option<Lent>,
}

impl<T, E> Spawned<T, E>
where
    T: Send + 'static,
    E: fmt::Display + Send + 'static,
{
    pub(super) fn new<F, K>(mut work: Work<F, K>) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        K: Eq + Hash + Send + Sync + 'static,
    {
        let unfinished = Unfinished::new(work.job());
        // What is told to stop around this layer is told in the task too. A limit of an attempt only drops this future.
        let limits = limits::limits().unwrap_or_default().for_detached();
        let surroundings = Surroundings::new(limits, halt::current()).in_the_same_execution();
        Self {
            _lent: work.lend(),
            task: tokio::spawn(run(work, unfinished, surroundings)),
        }
    }
}

async fn run<F, T, E, K>(
    work: Work<F, K>,
    unfinished: Unfinished,
    mut surroundings: Surroundings,
) -> Output<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: fmt::Display,
    K: Eq + Hash,
{
    let mut slot = Some(Arc::clone(&unfinished.job));
    let mut work = pin!(Some(work));
    let (result, stop) = poll_fn(|cx| {
        let entered = Entered::new(&mut slot, Phase::Running);
        let within = DetachedIn::enter(unfinished.job.id());
        stop::take();
        let polled = surroundings.around(|| match work.as_mut().as_pin_mut() {
            Some(work) => work.poll(cx),
            None => unreachable!("it is polled until it is ready"),
        });
        drop((within, entered));
        // The caller that would note it may be gone.
        if let Some(job) = &slot {
            if !stop::read().is_some_and(|stop| stop.kind.is_gate()) {
                job.started_here();
            }
        }
        polled.map(|result| (result, stop::take()))
    })
    .await;
    // Out of the layer before the job's end is told.
    work.set(None);
    unfinished.finish(match &result {
        Ok(result) => Ending::of(result, stop),
        Err(cancelled) => Ending::Cancelled {
            reason: cancelled.reason().clone(),
        },
    });
    (result, stop)
}

thread_local! {
    /// The job whose detached task is polled on this thread.
    static DETACHED: Cell<Option<JobId>> = const { Cell::new(None) };
}

/// Says that a job's detached task is polled, until this is dropped.
struct DetachedIn(Option<JobId>);

impl DetachedIn {
    fn enter(job: JobId) -> Self {
        Self(DETACHED.exchange(Some(job)))
    }
}

impl Drop for DetachedIn {
    fn drop(&mut self) {
        DETACHED.write(self.0);
    }
}

/// Ends the job of a task that ends, panics or is dropped by its runtime, also before it ran at all.
struct Unfinished {
    job: Arc<Core>,
    /// Which of the job's detached tasks this is. `None` within another one, which decides how the job ends, and once
    /// it is told.
    task: Option<u32>,
}

impl Unfinished {
    fn new(job: &Arc<Core>) -> Self {
        let within = DETACHED.read() == Some(job.id());
        Self {
            task: (!within).then(|| job.detach()),
            job: Arc::clone(job),
        }
    }

    fn finish(mut self, ending: Ending) {
        if let Some(task) = self.task.take() {
            self.job.detached_done(task, ending);
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(task) = self.task.take() else {
            return;
        };
        let ending = if thread::panicking() {
            Ending::panicked()
        } else {
            self.job.cancel_as(CancelReason::Shutdown, true);
            Ending::Cancelled {
                reason: CancelReason::Shutdown,
            }
        };
        self.job.detached_done(task, ending);
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
