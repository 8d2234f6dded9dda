//! How requests form groups.

use std::{convert::Infallible, fmt, hash::Hash, sync::Arc};

use super::groups::Groups;
use crate::unshare::{Unshare, has_others};

/// No job belongs to a group. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGroup;

/// A closure puts jobs into groups.
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

/// Which jobs belong together.
#[diagnostic::on_unimplemented(
    message = "the closure of `replace` or `group_by` does not take `&{Request}`, which is the request of the service",
    label = "takes another request"
)]
pub trait Grouping<Request> {
    /// What identifies a group.
    type Key: Clone + Eq + Hash;

    /// The request's group, and where the jobs of the groups are; `None` belongs to no group.
    fn group(&self, request: &Request) -> Option<(Self::Key, &Arc<Groups<Self::Key>>)>;
}

impl<Request> Grouping<Request> for NoGroup {
    type Key = Infallible;

    #[inline(always)]
    fn group(&self, _: &Request) -> Option<(Infallible, &Arc<Groups<Infallible>>)> {
        None
    }
}

#[diagnostic::do_not_recommend]
impl<F, K, Request> Grouping<Request> for GroupBy<F, K>
where
    F: Fn(&Request) -> Option<K>,
    K: Clone + Eq + Hash,
{
    type Key = K;

    fn group(&self, request: &Request) -> Option<(K, &Arc<Groups<K>>)> {
        (self.group)(request).map(|group| (group, &self.groups))
    }
}
