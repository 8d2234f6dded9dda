//! Which jobs work for which.
//!
//! A job ends while jobs that it began may still run: they work for its parent from then on, so that a cancellation of
//! that reaches them. The same holds for jobs that the code of an ended job begins.
//!
//! # Invariants
//!
//! 1. A job is in the table of its parent until it is dropped, or is about to be put there by the thread that changed its
//!    parent. It is there after its end too, so that its late children find the nearest job around that still runs.
//! 2. A job that ended and has no shared execution has an empty table: what was in it is in that of its parent.
//! 3. A job keeps no other: it knows its parent weakly, as the parent lives until its end.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, PoisonError, Weak},
};

use tokio::time::Instant;

use super::{By, Core, Flag, Locked};
use crate::{
    event::{CancelReason, JobId},
    job::stop_signal::StopSignal,
};

/// In the order in which they began.
pub(super) type Children = BTreeMap<JobId, Child>;

pub(super) struct Child {
    job: Weak<Core>,
    /// What may stop the code here that began it.
    within: Option<Arc<StopSignal>>,
}

/// What became of a child that came to a job.
enum Adopted {
    Here,
    /// The job was cancelled for this reason, and the child is to be.
    Stops(CancelReason),
    /// The job has ended, and this is its parent.
    GoesOn(Option<Arc<Core>>, Option<Arc<StopSignal>>),
}

/// The jobs that work for this one.
pub(crate) fn children(job: &Core) -> Vec<Weak<Core>> {
    job.lock().children()
}

/// The job that this one works for; `None` once this one has ended.
pub(crate) fn parent(job: &Core) -> Option<Arc<Core>> {
    if job.state().is_over() {
        return None;
    }
    job.lock().parent.upgrade()
}

/// Does this with the job and every job that it works for.
fn for_each_upwards(job: &Core, act: impl Fn(&Core)) {
    act(job);
    let mut above = parent(job);
    while let Some(job) = above {
        act(&job);
        above = parent(&job);
    }
}

/// Notes a sign of life of this job, and of every job that it works for.
#[cold]
pub(super) fn touch(job: &Core) {
    let now = Instant::now();
    for_each_upwards(job, |job| {
        let since_born = now.saturating_duration_since(job.born);
        job.activity.note(since_born);
    });
}

/// No retry of this job, nor of those whose code began it, is to make another attempt.
pub(crate) fn forbid_retries(job: &Core) {
    for_each_upwards(job, |job| {
        job.flags.set(Flag::NoRetries);
    });
}

/// Times the job, whose work is under way, and those that work for it. By a list, as the children may be a chain of any
/// length.
pub(super) fn time_with_children(job: &Arc<Core>) {
    let mut next = vec![Arc::downgrade(job)];
    while let Some(job) = next.pop() {
        if let Some(job) = job.upgrade() {
            job.be_timed();
            next.extend(children(&job));
        }
    }
}

/// Makes the child known to the job that it works for, or to the nearest one around that still runs.
pub(super) fn join(child: &Arc<Core>, parent: Arc<Core>, within: Option<Arc<StopSignal>>) {
    let (mut parent, mut within) = (Some(parent), within);
    while let Some(job) = parent {
        // Released before anything is told.
        let adopted = job.lock().adopt(child, &within);
        match adopted {
            Adopted::Here => {
                // Looked at once the child can be found: this thread or the stopping one stops it.
                let stopped = within.is_some_and(|within| within.is_stopping());
                if stopped && !child.state().has(Flag::Detached) {
                    child.cancel(CancelReason::TimedOut, By::Leaving);
                }
                if job.activity.is_timed() && !child.activity.is_timed() {
                    time_with_children(child);
                }
                return;
            }
            Adopted::Stops(reason) => {
                let reached = child.lock().cancel_with_parent(&reason);
                return reached
                    .into_iter()
                    .for_each(|reached| reached.spread(child, &reason));
            }
            Adopted::GoesOn(next, next_within) => {
                child.lock().set_parent(next.as_ref(), next_within.clone());
                (parent, within) = (next, next_within);
            }
        }
    }
}

/// The job is over: its children work for its parent.
pub(super) fn leave(job: &Core) {
    let now = job.state();
    if job.parent.is_none() && !now.has(Flag::HasChildren) {
        return;
    }
    let (parent, within, children) = {
        let mut job = job.lock();
        let (parent, within) = (job.parent.upgrade(), job.within().cloned());
        // Where the execution goes on for others they work for that, and learn of its end.
        let goes_on = job.core.state().is_shared();
        let children = match &mut job.rare {
            Some(rare) if !goes_on => mem::take(&mut rare.children),
            _ => Children::new(),
        };
        (parent, within, children)
    };
    for child in children
        .into_values()
        .filter_map(|child| child.job.upgrade())
    {
        child.lock().set_parent(parent.as_ref(), within.clone());
        if let Some(parent) = &parent {
            join(&child, Arc::clone(parent), within.clone());
        }
    }
}

impl Locked<'_> {
    fn adopt(&mut self, child: &Arc<Core>, within: &Option<Arc<StopSignal>>) -> Adopted {
        // Before the state is looked at: a job that ends later finds the table.
        self.core.flags.set(Flag::HasChildren);
        let now = self.core.state();
        if now.has_fired() {
            let reason = self.reason().unwrap_or(CancelReason::CallerGone);
            if !child.state().is_over() && !child.state().survives(&reason) {
                return Adopted::Stops(reason);
            }
        }
        if now.is_over() && !now.is_shared() {
            // Under the lock: before the parent goes, it gives this job another.
            return Adopted::GoesOn(self.parent.upgrade(), self.within().cloned());
        }
        let entry = Child {
            job: Arc::downgrade(child),
            within: within.clone(),
        };
        self.rare().children.insert(child.id, entry);
        Adopted::Here
    }

    pub(super) fn children(&self) -> Vec<Weak<Core>> {
        self.children_that(|_| true)
    }

    /// The jobs begun by code that this signal stops.
    pub(super) fn children_within(&self, signal: &StopSignal) -> Vec<Weak<Core>> {
        self.children_that(|child| {
            let within = child.within.as_ref();
            within.is_some_and(|within| within.is_within(signal))
        })
    }

    fn children_that(&self, meant: impl Fn(&Child) -> bool) -> Vec<Weak<Core>> {
        let children = self.rare.iter().flat_map(|rare| rare.children.values());
        let meant = children.filter(|child| meant(child));
        meant.map(|child| child.job.clone()).collect()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if self.parent.is_some() {
            let state = self.state.get_mut();
            let state = state.unwrap_or_else(PoisonError::into_inner);
            if let Some(parent) = state.parent.upgrade() {
                if let Some(rare) = &mut parent.lock().rare {
                    rare.children.remove(&self.id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
