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
    sync::{Arc, PoisonError, Weak},
};

use super::{Core, ELSEWHERE, ENDED, FIRED, HAS_CHILDREN, SHARED, TIMED};
use crate::{
    event::{CancelReason, JobId},
    job::halt::Halt,
};

/// In the order in which they began.
pub(super) type Children = BTreeMap<JobId, Child>;

pub(super) struct Child {
    job: Weak<Core>,
    /// What may stop the code here that began it.
    within: Option<Arc<Halt>>,
}

pub(super) fn children_of(children: &Option<Children>) -> Vec<Weak<Core>> {
    let children = children.iter().flat_map(Children::values);
    children.map(|child| child.job.clone()).collect()
}

/// What became of a child that came to a job.
enum Adopted {
    Here,
    /// The job was cancelled for this reason, and the child is to be.
    Stops(CancelReason),
    /// The job has ended, and this is its parent.
    GoesOn(Option<Arc<Core>>, Option<Arc<Halt>>),
}

/// The job that another one works for, and what may stop the code there that began it, where that has a halt.
#[derive(Default)]
pub(super) struct Kin {
    pub(super) parent: Weak<Core>,
    pub(super) within: Option<Arc<Halt>>,
}

impl Core {
    /// The job that this one works for; `None` once this one has ended.
    pub(crate) fn parent(&self) -> Option<Arc<Core>> {
        if self.is_over() {
            return None;
        }
        self.state().kin.parent.upgrade()
    }

    /// Makes this known to the job that it works for, or to the nearest one around that still runs.
    pub(super) fn join_family(self: &Arc<Self>, parent: Arc<Self>, within: Option<Arc<Halt>>) {
        let (mut parent, mut within) = (Some(parent), within);
        while let Some(job) = parent {
            match job.adopt(self, &within) {
                Adopted::Here => {
                    // Looked at once the child can be found: this thread or the halting one stops it.
                    let halted = within.is_some_and(|within| within.is_halted());
                    if halted && !self.has(ELSEWHERE) {
                        self.cancel_as(CancelReason::TimedOut, true);
                    }
                    if job.has(TIMED) && !self.has(TIMED) {
                        self.be_timed_with_children();
                    }
                    return;
                }
                Adopted::Stops(reason) => return self.cancel_with_parent(&reason),
                Adopted::GoesOn(next, next_within) => {
                    self.set_kin(next.as_ref(), &next_within);
                    (parent, within) = (next, next_within);
                }
            }
        }
    }

    fn set_kin(&self, parent: Option<&Arc<Self>>, within: &Option<Arc<Halt>>) {
        self.state().kin = Kin {
            parent: parent.map_or_else(Weak::new, Arc::downgrade),
            within: within.clone(),
        };
    }

    fn adopt(&self, child: &Arc<Self>, within: &Option<Arc<Halt>>) -> Adopted {
        let mut state = self.state();
        // Before the flags are looked at: a job that ends later finds the table.
        self.set(HAS_CHILDREN);
        if self.has(FIRED) {
            let reason = state.reason.clone().unwrap_or(CancelReason::CallerGone);
            if !child.is_over() && !child.survives(&reason) {
                return Adopted::Stops(reason);
            }
        }
        if self.has(ENDED) && !self.has(SHARED) {
            // Under the lock: before the parent goes, it gives this job another.
            let Kin { parent, within } = &state.kin;
            return Adopted::GoesOn(parent.upgrade(), within.clone());
        }
        let entry = Child {
            job: Arc::downgrade(child),
            within: within.clone(),
        };
        let children = state.children.get_or_insert_default();
        children.insert(child.id, entry);
        Adopted::Here
    }

    fn forget_child(&self, child: JobId) {
        if let Some(children) = &mut self.state().children {
            children.remove(&child);
        }
    }

    /// The jobs that work for this one.
    pub(crate) fn children(&self) -> Vec<Weak<Self>> {
        children_of(&self.state().children)
    }

    /// The jobs begun by code that this halt stops.
    pub(super) fn children_within(&self, halt: &Halt) -> Vec<Weak<Self>> {
        let state = self.state();
        let children = state.children.iter().flat_map(Children::values);
        let stopped = children.filter(|child| {
            let within = child.within.as_ref();
            within.is_some_and(|within| within.is_within(halt))
        });
        stopped.map(|child| child.job.clone()).collect()
    }

    /// Whether this job goes on where its parent is cancelled for this reason.
    pub(super) fn survives(&self, reason: &CancelReason) -> bool {
        *reason == CancelReason::CallerGone && self.has(ELSEWHERE)
    }

    /// The job is over: its children work for its parent.
    pub(super) fn leave_family(&self) {
        if self.parent.is_none() && !self.has(HAS_CHILDREN) {
            return;
        }
        let (parent, within, children) = {
            let mut state = self.state();
            // Where the execution goes on for others they work for that, and learn of its end.
            let children = if self.has(SHARED) {
                None
            } else {
                state.children.take()
            };
            let Kin { parent, within } = &state.kin;
            (parent.upgrade(), within.clone(), children)
        };
        let children = children.into_iter().flat_map(Children::into_values);
        for child in children.filter_map(|child| child.job.upgrade()) {
            child.set_kin(parent.as_ref(), &within);
            if let Some(parent) = &parent {
                child.join_family(Arc::clone(parent), within.clone());
            }
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if self.parent.is_some() {
            let state = self.state.get_mut();
            let state = state.unwrap_or_else(PoisonError::into_inner);
            if let Some(parent) = state.kin.parent.upgrade() {
                parent.forget_child(self.id);
            }
        }
    }
}

#[cfg(test)]
#[path = "family_tests.rs"]
mod tests;
