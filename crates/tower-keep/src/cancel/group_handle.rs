//! `GroupHandle`: lists and cancels the jobs of one group.

use std::{borrow::Borrow, fmt, hash::Hash, sync::Arc};

use super::{
    groups::Groups,
    registry::{cancel_each, list},
    running_job::RunningJob,
};
use crate::event::CancelReason;

/// Lists and cancels the jobs of a group of a [`CancelLayer`](super::CancelLayer) and its clones.
///
/// The group is the key that the layer's closure returns, or a borrowed form of it: `&str` for a
/// `String`.
pub struct GroupHandle<K> {
    pub(super) groups: Arc<Groups<K>>,
}

impl<K: Eq + Hash> GroupHandle<K> {
    /// Cancels the jobs of this group, with [`CancelReason::Requested`]. Returns how many were not
    /// cancelled before.
    pub fn cancel<Q>(&self, group: &Q) -> usize
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.cancel_because(group, CancelReason::Requested)
    }

    /// Cancels the jobs of this group for this reason. Returns how many were not cancelled before.
    pub fn cancel_because<Q>(&self, group: &Q, reason: impl Into<CancelReason>) -> usize
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        cancel_each(self.groups.jobs(group), &reason.into(), |_| true)
    }

    /// Lists the running jobs of this group, oldest first.
    ///
    /// A group that [replaces](super::CancelLayer::replace) its jobs has one, and those in their
    /// grace period.
    #[must_use]
    pub fn jobs<Q>(&self, group: &Q) -> Vec<RunningJob>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        list(&self.groups.jobs(group))
    }
}

impl<K> Clone for GroupHandle<K> {
    fn clone(&self) -> Self {
        Self {
            groups: Arc::clone(&self.groups),
        }
    }
}

impl<K> fmt::Debug for GroupHandle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupHandle").finish_non_exhaustive()
    }
}
