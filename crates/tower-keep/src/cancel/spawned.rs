use std::{
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

use super::work::Work;
use crate::{
    error::unharmed,
    event::CancelReason,
    job::{
        Cancelled,
        context::{self, Phase, Surroundings},
        core::{By, Core, Ending},
        panic,
        stop::{self, Carried},
    },
};

/// What the task hands to its caller: the result, and what the layers inside said of it.
type Output<T, E> = (Result<Result<T, E>, Cancelled>, Carried);

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
        let unfinished = Unfinished::new(work.job());
        // What is told to stop around this layer is told in the task too. A limit of an attempt only drops this future.
        let surroundings = Surroundings::of_detached_task();
        Self {
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
    let done = poll_fn(|cx| {
        let entered = context::enter(&mut slot, Phase::Running);
        let within = context::in_detached_task(unfinished.job.id());
        stop::clear();
        let poll = || {
            surroundings.around(|| match work.as_mut().as_pin_mut() {
                Some(work) => work.poll(cx),
                None => unreachable!("it is polled until it is ready"),
            })
        };
        let polled = panic::catch(poll);
        drop((within, entered));
        // The caller that would note it may be gone.
        if let Some(job) = &slot {
            let is_past_gates = match &polled {
                Ok(_) => !stop::read().is_some_and(|stop| stop.kind.is_gate()),
                Err(panic) => panic.is_past_gates_in_poll(job),
            };
            if is_past_gates {
                job.started_here();
            }
        }
        match polled {
            Ok(polled) => polled.map(|result| Ok((result, stop::carry()))),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await;
    let (result, said) = match done {
        Ok(done) => done,
        Err(panic) => {
            // A second panic, of what the work drops, must not keep the first from the caller.
            unharmed(|| work.set(None));
            unfinished.finish(panic.ending());
            panic.resume();
        }
    };
    // Out of the layer before the job's end is told.
    work.set(None);
    unfinished.finish(match &result {
        Ok(result) => Ending::of(result, &said),
        Err(cancelled) => Ending::Cancelled {
            reason: cancelled.reason().clone(),
        },
    });
    (result, said)
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
        let within = context::is_detached_task_of(job.id());
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
            self.job.cancel(CancelReason::Shutdown, By::Leaving);
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
            Ok((result, said)) => {
                stop::leave_carried(said);
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
