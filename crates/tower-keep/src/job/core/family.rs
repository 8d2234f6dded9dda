//! Which jobs work for which.
//!
//! A job ends while jobs that it began may still run: they work for its parent from then on, so that a cancellation of
//! that reaches them. The same holds for jobs that the code of an ended job begins.
//!
//! # Invariants
//!
//! 1. A running job is in the table of its parent, or is about to be put there by the thread that changed its parent.
//!    That thread looks afterwards whether the job ended meanwhile, and takes it out again.
//! 2. An ended job keeps its own parent, to which its late children go on. As those never get an ended job for their
//!    parent, it keeps no more jobs than those that ran around it when it ended.

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
    pub(super) job: Weak<Core>,
    /// What may stop the code here that began it.
    within: Option<Arc<Halt>>,
}

/// What became of a child that came to a job.
enum Adopted {
    Here,
    /// The job was cancelled for this reason, and the child is to be.
    Stops(CancelReason),
    /// The job has ended.
    GoesOn(Kin),
}

/// The job that another one works for, and what may stop the code there that began it, where that has a halt.
#[derive(Clone, Default)]
pub(super) struct Kin {
    pub(super) parent: Option<Arc<Core>>,
    pub(super) within: Option<Arc<Halt>>,
}

impl Core {
    /// The job that this one works for; `None` once this one has ended.
    pub(crate) fn parent(&self) -> Option<Arc<Core>> {
        if self.is_over() {
            return None;
        }
        self.state().kin.parent.clone()
    }

    /// Makes this known to the job that it works for, or to the nearest one around that still runs.
    pub(super) fn join_family(self: &Arc<Self>, mut kin: Kin) {
        while let Some(parent) = kin.parent {
            match parent.adopt(self, &kin.within) {
                Adopted::Here => {
                    // Looked at once the child can be found: it is told here or by the thread that halts.
                    let halted = kin.within.is_some_and(|within| within.is_halted());
                    if halted && !self.has(ELSEWHERE) {
                        self.cancel_as(CancelReason::TimedOut, true);
                    }
                    if parent.has(TIMED) && !self.has(TIMED) {
                        self.be_timed_with_children();
                    }
                    if self.is_over() {
                        parent.forget_child(self.id);
                    }
                    return;
                }
                Adopted::Stops(reason) => return self.cancel_with_parent(&reason),
                Adopted::GoesOn(next) => {
                    if !self.set_kin(&next) {
                        return;
                    }
                    kin = next;
                }
            }
        }
    }

    /// As [`join_family`](Self::join_family), for a job that has a parent already and was taken out of its table.
    pub(super) fn rejoin_family(self: &Arc<Self>) {
        let kin = self.state().kin.clone();
        if !self.is_over() {
            self.join_family(kin);
        }
    }

    /// `false` if this job has ended.
    fn set_kin(&self, kin: &Kin) -> bool {
        let mut state = self.state();
        let runs = !self.is_over();
        let before = runs.then(|| std::mem::replace(&mut state.kin, kin.clone()));
        drop(state);
        // It may be the last handle to a job.
        drop(before);
        runs
    }

    fn adopt(&self, child: &Arc<Self>, within: &Option<Arc<Halt>>) -> Adopted {
        let mut state = self.state();
        // Before the flags are looked at: a job that ends later finds the table.
        self.set(HAS_CHILDREN);
        if self.has(FIRED) {
            let reason = state.reason.clone().unwrap_or(CancelReason::CallerGone);
            if !child.survives(&reason) {
                return Adopted::Stops(reason);
            }
        }
        if self.has(ENDED) && !self.has(SHARED) {
            return Adopted::GoesOn(state.kin.clone());
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
    pub(super) fn children(&self) -> Vec<Weak<Self>> {
        let state = self.state();
        let children = state.children.iter().flat_map(Children::values);
        children.map(|child| child.job.clone()).collect()
    }

    /// Those that were begun by code that this halt stops.
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
        let (kin, children) = {
            let mut state = self.state();
            // Where the execution goes on for others they work for that, and are told at its end.
            let children = if self.has(SHARED) {
                None
            } else {
                state.children.take()
            };
            (state.kin.clone(), children)
        };
        if let Some(parent) = &kin.parent {
            parent.forget_child(self.id);
        }
        let children = children.into_iter().flat_map(Children::into_values);
        for child in children.filter_map(|child| child.job.upgrade()) {
            if child.set_kin(&kin) {
                child.join_family(kin.clone());
            }
        }
    }

    fn take_parent(&mut self) -> Option<Arc<Self>> {
        let state = self.state.get_mut();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.kin.parent.take()
    }
}

impl Drop for Core {
    /// One after the other: the jobs around may be a chain of any length, of which this is the last handle.
    fn drop(&mut self) {
        let mut next = self.take_parent();
        while let Some(mut parent) = next.and_then(Arc::into_inner) {
            next = parent.take_parent();
        }
    }
}
