//! Ending a job exactly once, on every path: result, panic, drop, detached task.

use std::{fmt, sync::Arc};

use tokio::time::Instant;

use super::{By, Core, Flag, Flags, Locked, family, steps::StepKey};
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
    /// The ending that a result means for the job, given the verdict of the inner layers.
    pub(crate) fn of<T, E: fmt::Display>(result: &Result<T, E>, carried: &Carried) -> Self {
        // A layer's error that a layer in between turned into a response is a success.
        let stop = carried.verdict.filter(|stop| stop.holds(result));
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
            error: carried.text(result),
        }
    }

    /// The ending of a panic in the inner code.
    pub(crate) fn panicked() -> Self {
        Self::Failed {
            cause: FailureCause::Panicked,
            error: "the service panicked".into(),
        }
    }
}

/// A guard that is dropped at the job's end, to notify a waiter.
type Guard = Box<dyn Send + Sync>;

/// A guard of a job.
pub(super) struct Awaiting {
    /// The next attempt does not drop it.
    to_end: bool,
    _guard: Guard,
}

/// Identifies a detached task of a job.
pub(crate) type TaskId = u64;

/// State of a job whose work continues without its caller. The last of caller and tasks ends the
/// job:
///
/// | state when the caller is gone | the job |
/// |---|---|
/// | a task is running | continues, until the last task ends it |
/// | all tasks are over, and nothing took the last outcome | ends with that outcome |
/// | all tasks are over, and outer layers took the outcome or gave the task up | is cancelled: `CallerGone` |
#[derive(Default)]
pub(super) struct DetachedTasks {
    owner_gone: bool,
    /// The number of running tasks.
    tasks: usize,
    /// The outcome of the last finished task, until its caller takes the result.
    outcome: Option<(TaskId, Ending)>,
    /// The running tasks that were given up.
    given_up: Vec<TaskId>,
    next: TaskId,
}

impl Core {
    /// Ends the job, once, in this step. `make` runs outside the lock, and only if there may be a
    /// reader or an observer.
    ///
    /// A cancelled job ends as cancelled, whatever its result. Exception: after an overall timeout
    /// it ends as failed.
    pub(crate) fn end(&self, here: Option<StepKey>, make: impl FnOnce() -> Ending) {
        self.end_as(here, make, false);
    }

    /// The caller dropped the job's future. Work that is neither detached nor shared stops.
    pub(crate) fn caller_gone(&self, here: Option<StepKey>) {
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

    fn end_as(&self, here: Option<StepKey>, make: impl FnOnce() -> Ending, dropped: bool) {
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
            // An observer that joined just before the end must see the end.
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
            // Nothing happened in between, so the job is marked as over.
            job = self.lock();
        }
        // The thread that delivers the end also drops the guards of waiters.
        job.send_ending(attempt, (kind, step), at);
        family::leave(self);
        stop_left_overs(self);
    }

    /// Ends a job that only boards show.
    fn end_shown(&self, before: Flags, here: Option<StepKey>, ending: Ending, dropped: bool) {
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

    /// Records the panic of a joined execution, for the events of a job that ends by it.
    pub(crate) fn note_panic(&self, text: Arc<str>) {
        self.lock().rare().panic = Some(text);
    }

    /// Keeps the guard until the observers know the job's end, or until another attempt follows.
    /// Drops it at once if the job is over.
    pub(crate) fn keep_until_over(&self, guard: Guard) {
        self.keep(false, guard);
    }

    /// Keeps the guard until the observers know the job's end. Drops it at once if the job is over.
    pub(crate) fn keep_until_end(&self, guard: Guard) {
        self.keep(true, guard);
    }

    fn keep(&self, to_end: bool, guard: Guard) {
        let (before, delivered) = {
            let mut job = self.lock();
            job.rare().awaiting.push(Awaiting {
                to_end,
                _guard: guard,
            });
            (
                self.flags.set(Flag::Awaited),
                self.state().has(Flag::EndDelivered),
            )
        };
        // The thread that ends the job, or delivers the end, looks for guards afterwards. So one of
        // the two drops this guard.
        if before.is_over() && (delivered || !before.has(Flag::Observed)) {
            self.let_go();
        }
    }

    #[inline]
    pub(super) fn let_go(&self) {
        if self.state().has(Flag::Awaited) {
            let over = std::mem::take(&mut self.lock().rare().awaiting);
            // Without the lock, because the guards look at the job.
            drop(over);
        }
    }

    /// Drops the guards that the next attempt drops.
    #[inline]
    pub(super) fn let_attempt_go(&self) {
        if self.state().has(Flag::Awaited) {
            let over: Vec<_> = {
                let mut job = self.lock();
                let awaiting = &mut job.rare().awaiting;
                let (stay, over) = std::mem::take(awaiting)
                    .into_iter()
                    .partition(|guard| guard.to_end);
                *awaiting = stay;
                over
            };
            drop(over);
        }
    }

    /// Detaches the work in one more task, which ends with [`detached_done`](Self::detached_done).
    pub(crate) fn detach(&self) -> TaskId {
        let mut job = self.lock();
        self.flags.set(Flag::DetachedTasks);
        let detached = job.rare().detached.get_or_insert_default();
        detached.tasks += 1;
        detached.next += 1;
        detached.next
    }

    /// A detached task ended with this outcome. The outcome does not count if the task was given
    /// up. The last task ends the job if the caller is gone.
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

    /// Outer layers took the task's result: they decide how the job ends.
    pub(crate) fn outcome_taken(&self, task: TaskId) {
        if let Some(detached) = &mut self.lock().rare().detached {
            detached.outcome.take_if(|(of, _)| *of == task);
        }
    }

    /// An outer layer gave up a detached task before its result.
    pub(crate) fn give_up(&self, task: TaskId) {
        if let Some(detached) = &mut self.lock().rare().detached {
            if detached.outcome.take_if(|(of, _)| *of == task).is_none() && detached.tasks > 0 {
                detached.given_up.push(task);
            }
        }
    }
}

impl Locked<'_> {
    /// How the job ended, given the reason of its cancellation, if any.
    fn settle(&mut self, ending: Ending, dropped: bool) -> EventKind {
        let reason = self.reason();
        let dropped = dropped || self.core.state().has(Flag::Dropped);
        match (reason, ending) {
            // Cancelled by its parent's time limit, for example: the reason is known.
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

/// Wakes the remaining tasks of a detached job, so that none outlives it.
fn stop_left_overs(job: &Core) {
    if job.state().has(Flag::DetachedTasks) {
        let further = job.lock().rare().wakers.clone();
        job.waker.wake();
        further.iter().for_each(|waker| waker.wake());
    }
}
