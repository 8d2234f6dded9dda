//! Parents and children: which job is the parent of which.
//!
//! A job may end while its child jobs run. They then become children of its own parent, so that its
//! cancellation reaches them. The same holds for jobs that the code of an ended job begins.
//!
//! # Invariants
//!
//! 1. A job is in its parent's table until it is dropped. If a thread changes its parent, that
//!    thread moves it there. It stays there after its end, so that late children find the nearest
//!    running ancestor.
//! 2. An ended job without a shared execution has an empty table: its children moved to its
//!    parent's.
//! 3. No job keeps another alive: a job refers to its parent weakly, because the parent lives until
//!    its end.

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

/// Children in the order in which they began.
pub(super) type Children = BTreeMap<JobId, Child>;

pub(super) struct Child {
    job: Weak<Core>,
    /// The signal that may stop the code which began the child.
    within: Option<Arc<StopSignal>>,
}

/// What happens to a child that joins a job.
enum Adopted {
    Here,
    /// The job was cancelled for this reason, and so is the child.
    Stops(CancelReason),
    /// The job has ended; this is its parent.
    GoesOn(Option<Arc<Core>>, Option<Arc<StopSignal>>),
}

/// The children of a job.
pub(crate) fn children(job: &Core) -> Vec<Weak<Core>> {
    job.lock().children()
}

/// The parent of a job; `None` once the job has ended.
pub(crate) fn parent(job: &Core) -> Option<Arc<Core>> {
    if job.state().is_over() {
        return None;
    }
    job.lock().parent.upgrade()
}

/// Runs `act` for the job and all its ancestors.
fn for_each_upwards(job: &Core, act: impl Fn(&Core)) {
    act(job);
    let mut above = parent(job);
    while let Some(job) = above {
        act(&job);
        above = parent(&job);
    }
}

/// Records activity of this job and of all its ancestors.
#[cold]
pub(super) fn touch(job: &Core) {
    let now = Instant::now();
    for_each_upwards(job, |job| {
        let since_born = now.saturating_duration_since(job.born);
        job.activity.note(since_born);
    });
}

/// No retry of this job, or of its ancestors, may make another attempt.
pub(crate) fn forbid_retries(job: &Core) {
    for_each_upwards(job, |job| {
        job.flags.set(Flag::NoRetries);
    });
}

/// Records activity of the running job and of its children from now on. Iterates, because a chain
/// of children may be long.
pub(super) fn time_with_children(job: &Arc<Core>) {
    let mut next = vec![Arc::downgrade(job)];
    while let Some(job) = next.pop() {
        if let Some(job) = job.upgrade() {
            job.be_timed();
            next.extend(children(&job));
        }
    }
}

/// Adds the child to its parent, or to the nearest running ancestor.
pub(super) fn join(child: &Arc<Core>, parent: Arc<Core>, within: Option<Arc<StopSignal>>) {
    let (mut parent, mut within) = (Some(parent), within);
    while let Some(job) = parent {
        // The lock is released before anything is cancelled.
        let adopted = job.lock().adopt(child, &within);
        match adopted {
            Adopted::Here => {
                // Checked once the child can be found: this thread or the stopping one stops it.
                let stopped = within.is_some_and(|within| within.is_stopping());
                if stopped && !child.state().has(Flag::DetachedTasks) {
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

/// The job is over: its children move to its parent.
pub(super) fn leave(job: &Core) {
    let now = job.state();
    if job.parent.is_none() && !now.has(Flag::HasChildren) {
        return;
    }
    let (parent, within, children) = {
        let mut job = job.lock();
        let (parent, within) = (job.parent.upgrade(), job.within().cloned());
        // If the execution continues for other callers, the children belong to it, and learn of its
        // end.
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
        // Set before the state is read: a job that ends later finds the table.
        self.core.flags.set(Flag::HasChildren);
        let now = self.core.state();
        if now.has_fired() {
            let reason = self.reason().unwrap_or(CancelReason::CallerGone);
            if !child.state().is_over() && !child.state().survives(&reason) {
                return Adopted::Stops(reason);
            }
        }
        if now.is_over() && !now.is_shared() {
            // Under the lock: before the parent goes, it gives this job another parent.
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

    /// The jobs that code under this signal began.
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
