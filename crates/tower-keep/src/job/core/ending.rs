//! How a job ends: once, on every path.

use std::{fmt, sync::Arc};

use tokio::time::Instant;

use super::{By, Core, Flag, Flags, Locked, family, steps::Key};
use crate::{
    event::{CancelReason, EventKind, FailureCause},
    job::verdict::{Carried, VerdictKind},
};

/// How a job ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Succeeded,
    Failed {
        cause: FailureCause,
        error: Arc<str>,
    },
    Cancelled {
        reason: CancelReason,
    },
}

impl Ending {
    /// What a result means for the job, given what the layers inside said of it.
    pub(crate) fn of<T, E: fmt::Display>(result: &Result<T, E>, said: &Carried) -> Self {
        // A layer's error that somebody outside turned into a response is a success after all.
        let stop = said.verdict.filter(|stop| stop.holds(result));
        let kind = match (stop.map(|stop| stop.kind), result) {
            (None | Some(VerdictKind::Forbidden), Ok(_)) => return Self::Succeeded,
            (Some(VerdictKind::Cancelled), _) => {
                return Self::Cancelled {
                    reason: CancelReason::Requested,
                };
            }
            (Some(VerdictKind::Forbidden), Err(_)) => None,
            (kind, _) => kind,
        };
        Self::Failed {
            cause: kind.map_or(FailureCause::Error, VerdictKind::cause),
            error: said.text(result),
        }
    }

    /// The code inside panicked.
    pub(crate) fn panicked() -> Self {
        Self::Failed {
            cause: FailureCause::Panicked,
            error: "the service panicked".into(),
        }
    }
}

/// A guard that somebody else's wait for the end hangs on.
pub(super) type Awaiting = Box<dyn Send + Sync>;

/// Tells the detached tasks of a job apart.
pub(crate) type TaskId = u64;

/// A job whose work goes on without its caller. The caller and the tasks end it, the last of them:
///
/// | when the caller is gone | the job |
/// |---|---|
/// | a task is not over | goes on, and the last task comes here again |
/// | all are over, and the outcome of the last was not taken | ends with that |
/// | all are over, and the layers outside took the outcome, or gave the task up | is cancelled: its caller left |
#[derive(Default)]
pub(super) struct Detached {
    owner_gone: bool,
    /// How many are not over.
    tasks: usize,
    /// Of the last task to end, until its caller has the result.
    outcome: Option<(TaskId, Ending)>,
    /// Those of the tasks that are not over which were given up.
    given_up: Vec<TaskId>,
    next: TaskId,
}

impl Core {
    /// Ends the job, once, in this step. `make` runs only if a reader or a listener may look, and outside the lock.
    ///
    /// A cancelled job ends as cancelled whatever its result, except that an overall timeout ends it as failed.
    pub(crate) fn end(&self, here: Option<Key>, make: impl FnOnce() -> Ending) {
        self.end_as(here, make, false);
    }

    /// The caller dropped the job's future. What is not detached or shared stops.
    pub(crate) fn caller_gone(&self, here: Option<Key>) {
        {
            let mut job = self.lock();
            if let Some(detached) = job.rare.as_mut().and_then(|rare| rare.detached.as_mut()) {
                detached.owner_gone = true;
                if detached.tasks > 0 {
                    return;
                }
                if let Some((_, outcome)) = detached.outcome.take() {
                    drop(job);
                    return self.end(here, || outcome);
                }
            }
        }
        self.cancel(CancelReason::CallerGone, By::Leaving);
        self.end_as(
            here,
            || Ending::Cancelled {
                reason: CancelReason::CallerGone,
            },
            true,
        );
    }

    fn end_as(&self, here: Option<Key>, make: impl FnOnce() -> Ending, dropped: bool) {
        let mut marked = false;
        if !self.is_observed() {
            let before = self.flags.set(Flag::Ended);
            if before.is_over() {
                return;
            }
            if !before.has(Flag::Observed) {
                if self.is_shown() {
                    self.end_shown(before, here, make(), dropped);
                }
                family::leave(self);
                self.let_go();
                stop_left_overs(self);
                return;
            }
            // An observer came just now, before the end, and is to see it.
            marked = true;
        }
        let ending = make();
        let at = Instant::now();
        let mut job = self.lock();
        if !marked && self.flags.set(Flag::Ended).is_over() {
            return;
        }
        let kind = job.settle(ending, dropped);
        let step = job.step_of(&kind, here);
        let attempt = (job.end_last_attempt(&kind, at)).map(|attempt| {
            let step = job.step_of(&attempt, here);
            (attempt, step)
        });
        if self.is_shown() {
            let facts = job.last_facts(&kind, at, step.clone());
            drop(job);
            self.show_end(facts);
            // Nothing came in between: the job is marked as over.
            job = self.lock();
        }
        // What waits for the end is let go by the thread that tells of it.
        job.tell_ending(attempt, (kind, step), at);
        family::leave(self);
        stop_left_overs(self);
    }

    /// The job has ended, which only boards show.
    fn end_shown(&self, before: Flags, here: Option<Key>, ending: Ending, dropped: bool) {
        let at = Instant::now();
        if matches!(ending, Ending::Succeeded) && self.show_plain_end(before, at) {
            return;
        }
        let facts = {
            let mut job = self.lock();
            let kind = job.settle(ending, dropped);
            let step = job.step_of(&kind, here);
            job.last_facts(&kind, at, step)
        };
        self.show_end(facts);
    }

    /// An execution that this job joined panicked: what its events say if the job ends by that.
    pub(crate) fn note_panic(&self, text: Arc<str>) {
        self.lock().rare().panic = Some(text);
    }

    /// Keeps this until the job is over and its observers know, or until another attempt is to follow; where it is over
    /// already, not at all. For a job whose work goes on without its caller it is the work that counts: nobody knows
    /// when a caller asks for the result.
    pub(crate) fn keep_until_over(&self, guard: Awaiting) {
        if self.state().has(Flag::Detached) {
            return;
        }
        let (before, told) = {
            let mut job = self.lock();
            job.rare().awaiting.push(guard);
            (
                self.flags.set(Flag::Awaited),
                self.state().has(Flag::EndingTold),
            )
        };
        // The thread that ends the job, or tells of its end, looks for the guard after that: one of the two lets it go.
        if before.is_over() && (told || !before.has(Flag::Observed)) {
            self.let_go();
        }
    }

    #[inline]
    pub(super) fn let_go(&self) {
        if self.state().has(Flag::Awaited) {
            let over = std::mem::take(&mut self.lock().rare().awaiting);
            // Without the lock, as they look at the job.
            drop(over);
        }
    }

    /// The work goes on without its caller, in one more task, which ends through [`detached_done`](Self::detached_done).
    pub(crate) fn detach(&self) -> TaskId {
        let mut job = self.lock();
        self.flags.set(Flag::Detached);
        let detached = job.rare().detached.get_or_insert_default();
        detached.tasks += 1;
        detached.next += 1;
        detached.next
    }

    /// A detached task is over, with this outcome, which does not count if the task was given up. If it is the last one
    /// and the caller is gone, the job ends.
    pub(crate) fn detached_done(&self, task: TaskId, outcome: Option<Ending>) {
        if let Some(detached) = &mut self.lock().rare().detached {
            detached.tasks -= 1;
            let before = detached.given_up.len();
            detached.given_up.retain(|given_up| *given_up != task);
            let counts = detached.given_up.len() == before;
            if let Some(outcome) = outcome.filter(|_| counts) {
                detached.outcome = Some((task, outcome));
            }
            if detached.tasks > 0 || !detached.owner_gone {
                return;
            }
        }
        self.caller_gone(None);
    }

    /// The layers around a detached task have its result: how the job ends is up to them.
    pub(crate) fn outcome_taken(&self, task: TaskId) {
        if let Some(detached) = &mut self.lock().rare().detached {
            detached.outcome.take_if(|(of, _)| *of == task);
        }
    }

    /// A layer around a detached task gave it up, before it had its result.
    pub(crate) fn give_up(&self, task: TaskId) {
        if let Some(detached) = &mut self.lock().rare().detached {
            if detached.outcome.take_if(|(of, _)| *of == task).is_none() && detached.tasks > 0 {
                detached.given_up.push(task);
            }
        }
    }
}

impl Locked<'_> {
    /// How the job ended, given why it was cancelled, if it was.
    fn settle(&mut self, ending: Ending, dropped: bool) -> EventKind {
        let reason = self.reason();
        let dropped = dropped || self.core.state().has(Flag::Dropped);
        match (reason, ending) {
            // Cancelled for its parent's time limit, say: the reason is known after all.
            (Some(reason), Ending::Cancelled { .. }) => EventKind::Cancelled { reason, dropped },
            (Some(reason), _) if reason != CancelReason::TimedOut => {
                EventKind::Cancelled { reason, dropped }
            }
            (None, Ending::Cancelled { reason }) => EventKind::Cancelled { reason, dropped },
            (_, Ending::Succeeded) => EventKind::Succeeded,
            (_, Ending::Failed { cause, error }) => EventKind::Failed {
                cause,
                error: (self.rare.as_mut().and_then(|rare| rare.panic.take()))
                    .filter(|_| cause == FailureCause::Panicked)
                    .unwrap_or(error),
            },
        }
    }
}

/// Tells the tasks of a detached job that are left: no task of a job runs on after that.
fn stop_left_overs(job: &Core) {
    if job.state().has(Flag::Detached) {
        let further = job.lock().rare().wakers.clone();
        job.waker.wake();
        further.iter().for_each(|waker| waker.wake());
    }
}
