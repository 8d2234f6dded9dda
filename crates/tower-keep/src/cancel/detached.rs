//! Detached calls: its own task runs the call, and continues without its caller.

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

use futures_util::FutureExt as _;
use tokio::{sync::oneshot, task::JoinHandle};
use tracing::Instrument as _;

use super::cancellable_call::CancellableCall;
use crate::{
    error::unharmed,
    event::CancelReason,
    job::{
        Cancelled,
        context::{self, Phase, Surroundings},
        core::{By, Core, Ending, ending::TaskId},
        panic,
        verdict::{self, Carried, VerdictKind},
    },
};

/// The task's output: the result, and the verdict of the layers inside. `None` if the attempt was
/// given up.
type Output<T, E> = Option<(Result<Result<T, E>, Cancelled>, Carried)>;

/// Tells the task that its attempt was given up, and by which kind of layer.
type GiveUp = oneshot::Sender<Option<VerdictKind>>;

/// A call in its own task. The task continues if the caller drops this, and stops if a layer around
/// it does.
#[must_use = "futures do nothing unless polled"]
pub struct DetachedCall<T, E> {
    task: JoinHandle<Output<T, E>>,
    job: Arc<Core>,
    id: TaskId,
    // The call is part of a shared execution.
    shared: bool,
    // `None` once the result is there.
    give_up: Option<GiveUp>,
}

impl<T, E> DetachedCall<T, E>
where
    T: Send + 'static,
    E: fmt::Display + Send + 'static,
{
    pub(super) fn new<F, K>(work: CancellableCall<F, K>) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        K: Eq + Hash + Send + Sync + 'static,
    {
        let job = Arc::clone(work.job());
        let shared = work.is_shared();
        let id = job.detach();
        let unfinished = TaskGuard(Some((Arc::clone(&job), id)));
        let surroundings = Surroundings::of_detached_task();
        let (give_up, given_up) = oneshot::channel();
        Self {
            task: tokio::spawn(run(work, unfinished, given_up, surroundings).in_current_span()),
            job,
            id,
            shared,
            give_up: Some(give_up),
        }
    }
}

async fn run<F, T, E, K>(
    work: CancellableCall<F, K>,
    unfinished: TaskGuard,
    given_up: oneshot::Receiver<Option<VerdictKind>>,
    mut surroundings: Surroundings,
) -> Output<T, E>
where
    F: Future<Output = Result<T, E>>,
    E: fmt::Display,
    K: Eq + Hash,
{
    let mut slot = Some(Arc::clone(work.job()));
    let mut work = pin!(Some(work));
    let mut given_up = given_up.fuse();
    let done = poll_fn(|cx| {
        let entered = context::enter(&mut slot, Phase::Running);
        if let Poll::Ready(Ok(by)) = given_up.poll_unpin(cx) {
            unharmed(|| match by {
                Some(kind) => verdict::dropping(kind, || work.set(None)),
                None => work.set(None),
            });
            return Poll::Ready(None);
        }
        verdict::clear();
        let poll = || {
            surroundings.around(|| match work.as_mut().as_pin_mut() {
                Some(work) => work.poll(cx),
                None => unreachable!("it is polled until it is ready"),
            })
        };
        let polled = panic::catch(poll);
        drop(entered);
        // The caller that would record this may be gone.
        if let Some(job) = &slot {
            let is_past_gates = match &polled {
                Ok(_) => !verdict::read().is_some_and(|verdict| verdict.kind.is_gate()),
                Err(panic) => panic.is_past_gates_in_poll(job),
            };
            if is_past_gates {
                job.started(true);
            }
        }
        match polled {
            Ok(polled) => polled.map(|result| Some(Ok((result, verdict::carry())))),
            Err(panic) => Poll::Ready(Some(Err(panic))),
        }
    })
    .await;
    // In the job's scope, as no caller drops the work.
    let mut drop_work = || {
        let _entered = context::enter(&mut slot, Phase::Running);
        work.set(None);
    };
    let (result, carried) = match done {
        Some(Ok(done)) => done,
        Some(Err(panic)) => {
            // A second panic, in the work's drop, must not hide the first one from the caller.
            unharmed(drop_work);
            unfinished.finish(Some(panic.ending()));
            panic.resume();
        }
        None => {
            unfinished.finish(None);
            return None;
        }
    };
    // The work leaves the layer before the job's end is reported.
    drop_work();
    unfinished.finish(Some(match &result {
        Ok(result) => Ending::of(result, &carried),
        Err(cancelled) => Ending::Cancelled {
            reason: cancelled.reason().clone(),
        },
    }));
    Some((result, carried))
}

/// Tells the job that its task is over, even if the task panics or the runtime drops it, perhaps
/// before its first poll.
struct TaskGuard(Option<(Arc<Core>, TaskId)>);

impl TaskGuard {
    fn finish(mut self, ending: Option<Ending>) {
        if let Some((job, id)) = self.0.take() {
            job.detached_done(id, ending);
        }
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        let Some((job, id)) = self.0.take() else {
            return;
        };
        let ending = if thread::panicking() {
            Ending::panicked()
        } else {
            job.cancel(CancelReason::Shutdown, By::Leaving);
            Ending::Cancelled {
                reason: CancelReason::Shutdown,
            }
        };
        job.detached_done(id, Some(ending));
    }
}

impl<T, E> Future for DetachedCall<T, E> {
    type Output = Result<Result<T, E>, Cancelled>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let done = ready!(Pin::new(&mut self.task).poll(cx));
        self.give_up = None;
        self.job.outcome_taken(self.id);
        match done {
            Ok(Some((result, carried))) => {
                verdict::leave_carried(carried);
                Poll::Ready(result)
            }
            // A panic continues in the caller, as it would without the task.
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Ok(None) | Err(_) => Poll::Ready(Err(Cancelled::new(CancelReason::Shutdown))),
        }
    }
}

impl<T, E> Drop for DetachedCall<T, E> {
    fn drop(&mut self) {
        let Some(give_up) = self.give_up.take() else {
            return;
        };
        // A layer gives an attempt up while the job is polled. A caller that leaves does not poll
        // the job. Cancelled work stops by itself, after its grace period.
        let now = self.job.state();
        let stops = if self.shared {
            now.has_fired()
        } else {
            now.is_cancelled()
        };
        if context::is_current(&self.job) && !stops {
            // Sending fails only if the task is over.
            let _ = give_up.send(verdict::dropped_by());
            self.job.give_up(self.id);
        }
    }
}

impl<T, E> fmt::Debug for DetachedCall<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachedCall").finish_non_exhaustive()
    }
}
