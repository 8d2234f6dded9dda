use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, PoisonError},
};

use super::{
    registry::{cancel_each, list},
    running::Running,
};
use crate::{
    event::{CancelReason, JobMap},
    job::core::Core,
    sync::{Mutex, MutexGuard},
};

/// The running jobs of each group.
pub struct Groups<G> {
    /// A leaf lock, but for the key's own `Eq` and `Hash`.
    members: Mutex<HashMap<G, Members>>,
    /// A new job takes the place of those before it.
    replaces: bool,
}

/// The jobs of one group. Most groups have one.
struct Members {
    one: Arc<Core>,
    more: JobMap<Arc<Core>>,
}

impl Members {
    /// Without allocating for a group of one.
    fn all(&self) -> (Arc<Core>, Vec<Arc<Core>>) {
        (Arc::clone(&self.one), self.more.values().cloned().collect())
    }

    fn add(&mut self, job: &Arc<Core>) {
        if !Arc::ptr_eq(&self.one, job) {
            self.more.insert(job.id(), Arc::clone(job));
        }
    }

    /// `false` if the group is empty without it.
    fn remove(&mut self, job: &Arc<Core>) -> bool {
        if !Arc::ptr_eq(&self.one, job) {
            self.more.remove(&job.id());
            return true;
        }
        let next = self.more.keys().next().copied();
        match next.and_then(|next| self.more.remove(&next)) {
            Some(next) => {
                self.one = next;
                true
            }
            None => false,
        }
    }
}

/// A job's place in its group, free again when this is dropped.
pub(super) struct Place<G: Eq + Hash> {
    groups: Arc<Groups<G>>,
    group: G,
    job: Arc<Core>,
}

impl<G: Eq + Hash> Drop for Place<G> {
    fn drop(&mut self) {
        self.groups.leave(&self.group, &self.job);
    }
}

impl<G> Groups<G> {
    pub(super) fn new(replaces: bool) -> Self {
        Self {
            members: Mutex::default(),
            replaces,
        }
    }

    fn members(&self) -> MutexGuard<'_, HashMap<G, Members>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<G: Eq + Hash> Groups<G> {
    /// Puts the job into its group, and cancels those whose place it takes.
    pub(super) fn enter(self: &Arc<Self>, group: G, job: &Arc<Core>) -> Place<G>
    where
        G: Clone,
    {
        // Outside the lock, as both are the user's code: the clone, and the drop of the one that is not needed.
        let mut key = Some(group.clone());
        let before = {
            let mut members = self.members();
            match (members.get_mut(&group), key.take()) {
                (Some(group), unused) => {
                    key = unused;
                    let before = self.replaces.then(|| group.all());
                    group.add(job);
                    before
                }
                (None, Some(key)) => {
                    let first = Members {
                        one: Arc::clone(job),
                        more: JobMap::default(),
                    };
                    members.insert(key, first);
                    None
                }
                (None, None) => None,
            }
        };
        drop(key);
        if let Some((one, more)) = before {
            for before in std::iter::once(one).chain(more) {
                // A retry around this layer comes again with the same job.
                if !Arc::ptr_eq(&before, job) {
                    before.cancel(CancelReason::Replaced);
                }
            }
        }
        Place {
            groups: Arc::clone(self),
            group,
            job: Arc::clone(job),
        }
    }

    fn leave(&self, group: &G, job: &Arc<Core>) {
        let removed = {
            let mut members = self.members();
            match members.get_mut(group).map(|group| group.remove(job)) {
                Some(false) => members.remove_entry(group),
                _ => None,
            }
        };
        // The group is the user's: it goes without the lock.
        drop(removed);
    }

    /// Oldest first.
    fn jobs<Q>(&self, group: &Q) -> Vec<Arc<Core>>
    where
        G: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let all = self.members().get(group).map(Members::all);
        let Some((one, mut jobs)) = all else {
            return Vec::new();
        };
        jobs.push(one);
        jobs.sort_unstable_by_key(|job| job.id());
        jobs
    }
}

impl<G> fmt::Debug for Groups<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").finish_non_exhaustive()
    }
}

/// Cancels the jobs of one group of a [`CancelLayer`](super::CancelLayer) and its clones.
///
/// It knows the key that the layer's closure makes, and whatever that borrows as: `&str` for a `String`.
pub struct GroupHandle<G> {
    pub(super) groups: Arc<Groups<G>>,
}

impl<G: Eq + Hash> GroupHandle<G> {
    /// Cancels the jobs of this group, with [`CancelReason::Requested`], and says how many were not cancelled before.
    pub fn cancel<Q>(&self, group: &Q) -> usize
    where
        G: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.cancel_because(group, CancelReason::Requested)
    }

    /// Cancels the jobs of this group for this reason and says how many were not cancelled before.
    pub fn cancel_because<Q>(&self, group: &Q, reason: impl Into<CancelReason>) -> usize
    where
        G: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        cancel_each(self.groups.jobs(group), &reason.into(), |_| true)
    }

    /// The running jobs of this group, oldest first: in a group that [replaces](super::CancelLayer::replace) one, and
    /// those that clean up.
    #[must_use]
    pub fn jobs<Q>(&self, group: &Q) -> Vec<Running>
    where
        G: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        list(&self.groups.jobs(group))
    }
}

impl<G> Clone for GroupHandle<G> {
    fn clone(&self) -> Self {
        Self {
            groups: Arc::clone(&self.groups),
        }
    }
}

impl<G> fmt::Debug for GroupHandle<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupHandle").finish_non_exhaustive()
    }
}
