//! How requests form groups: not at all, or by a closure.

use std::{convert::Infallible, fmt, hash::Hash, sync::Arc};

use super::groups::Groups;
use crate::unshare::{Unshare, has_others};

/// No groups. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGroup;

/// A closure gives the group of a request.
pub struct GroupBy<F, K> {
    pub(super) group: F,
    pub(super) groups: Arc<Groups<K>>,
}

impl Unshare for NoGroup {
    fn is_shared(&self) -> bool {
        false
    }

    fn renew(&mut self) {}
}

impl<F, K> Unshare for GroupBy<F, K> {
    fn is_shared(&self) -> bool {
        has_others(&self.groups)
    }

    fn renew(&mut self) {
        self.groups = Arc::new(self.groups.renewed());
    }
}

impl<F: Clone, K> Clone for GroupBy<F, K> {
    fn clone(&self) -> Self {
        Self {
            group: self.group.clone(),
            groups: Arc::clone(&self.groups),
        }
    }
}

impl<F, K> fmt::Debug for GroupBy<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupBy")
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}

/// Gives the group of each request.
pub trait Grouping<Request> {
    /// What identifies a group.
    type Key: Clone + Eq + Hash;

    /// The request's group, if it has one.
    fn group(&self, request: &Request) -> Option<Self::Key>;

    /// The groups, if the layer has any.
    fn groups(&self) -> Option<&Arc<Groups<Self::Key>>>;
}

impl<Request> Grouping<Request> for NoGroup {
    type Key = Infallible;

    #[inline(always)]
    fn group(&self, _: &Request) -> Option<Infallible> {
        None
    }

    #[inline(always)]
    fn groups(&self) -> Option<&Arc<Groups<Infallible>>> {
        None
    }
}

impl<F, K, Request> Grouping<Request> for GroupBy<F, K>
where
    F: Fn(&Request) -> Option<K>,
    K: Clone + Eq + Hash,
{
    type Key = K;

    fn group(&self, request: &Request) -> Option<K> {
        (self.group)(request)
    }

    fn groups(&self) -> Option<&Arc<Groups<K>>> {
        Some(&self.groups)
    }
}
