//! The running jobs of each group.

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, PoisonError},
};

use crate::{
    event::{CancelReason, JobMap},
    job::{core::Core, table::Tracked},
    sync::{Mutex, MutexGuard},
};

/// The running jobs of each group.
pub struct Groups<K> {
    /// A leaf lock, but for the key's own `Eq` and `Hash`.
    members: Mutex<HashMap<K, Members>>,
    /// A new job replaces the previous ones.
    replaces: bool,
}

/// The jobs of one group. Most groups have one job.
struct Members {
    one: Member,
    more: JobMap<Member>,
}

struct Member {
    target: Tracked,
    /// How many of the job's calls are in the group.
    calls: usize,
}

impl Member {
    fn is(&self, job: &Arc<Core>) -> bool {
        Arc::ptr_eq(&self.target.job, job)
    }
}

impl Members {
    /// All jobs of the group. A group with one job needs no allocation.
    fn all(&self) -> (Tracked, Vec<Tracked>) {
        let more = self.more.values();
        (
            self.one.target.clone(),
            more.map(|member| member.target.clone()).collect(),
        )
    }

    fn add(&mut self, target: &Tracked) {
        let member = if self.one.is(&target.job) {
            &mut self.one
        } else {
            let id = target.job.id();
            self.more.entry(id).or_insert_with(|| Member {
                target: target.clone(),
                calls: 0,
            })
        };
        member.calls += 1;
    }

    /// Returns `false` if the group is empty then.
    fn remove(&mut self, job: &Arc<Core>) -> bool {
        let is_one = self.one.is(job);
        let member = if is_one {
            Some(&mut self.one)
        } else {
            self.more.get_mut(&job.id())
        };
        let Some(member) = member else {
            return true;
        };
        member.calls -= 1;
        if member.calls > 0 {
            return true;
        }
        if !is_one {
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

/// Keeps a job in its group until it is dropped.
pub(super) struct GroupGuard<K: Eq + Hash> {
    groups: Arc<Groups<K>>,
    group: K,
    job: Arc<Core>,
}

impl<K: Eq + Hash> Drop for GroupGuard<K> {
    fn drop(&mut self) {
        self.groups.leave(&self.group, &self.job);
    }
}

impl<K> Groups<K> {
    pub(super) fn new(replaces: bool) -> Self {
        Self {
            members: Mutex::default(),
            replaces,
        }
    }

    /// The same grouping, without jobs.
    pub(super) fn renewed(&self) -> Self {
        Self::new(self.replaces)
    }

    fn members(&self) -> MutexGuard<'_, HashMap<K, Members>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Groups<K> {
    /// Puts the job into its group, and cancels the jobs that it replaces. If a younger job is in
    /// the group, because a retry around the layer calls again for an older job, this job is
    /// cancelled instead.
    pub(super) fn enter(self: &Arc<Self>, group: K, job: &Arc<Core>, shared: bool) -> GroupGuard<K>
    where
        K: Clone,
    {
        let target = Tracked {
            job: Arc::clone(job),
            shared,
        };
        // Outside the lock, as both are user code: the clone, and the drop of an unused key.
        let mut key = Some(group.clone());
        let before = {
            let mut members = self.members();
            match (members.get_mut(&group), key.take()) {
                (Some(group), unused) => {
                    key = unused;
                    let before = self.replaces.then(|| group.all());
                    group.add(&target);
                    before
                }
                (None, Some(key)) => {
                    let one = Member {
                        target: target.clone(),
                        calls: 1,
                    };
                    let first = Members {
                        one,
                        more: JobMap::default(),
                    };
                    members.insert(key, first);
                    None
                }
                (None, None) => None,
            }
        };
        // From here on the guard removes the job from the group, even if user code below panics.
        let guard = GroupGuard {
            groups: Arc::clone(self),
            group,
            job: Arc::clone(job),
        };
        drop(key);
        if let Some((one, more)) = before {
            let all = || std::iter::once(&one).chain(&more);
            if all().any(|before| before.job.id() > job.id()) {
                target.cancel(CancelReason::Replaced);
            }
            // The same job is spared: a retry around this layer may call again for it.
            for before in all().filter(|before| before.job.id() < job.id()) {
                before.cancel(CancelReason::Replaced);
            }
        }
        guard
    }

    fn leave(&self, group: &K, job: &Arc<Core>) {
        let removed = {
            let mut members = self.members();
            match members.get_mut(group).map(|group| group.remove(job)) {
                Some(false) => members.remove_entry(group),
                _ => None,
            }
        };
        // Dropping the key runs user code: not under the lock.
        drop(removed);
    }

    /// The jobs of this group, oldest first.
    pub(super) fn jobs<Q>(&self, group: &Q) -> Vec<Tracked>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let all = self.members().get(group).map(Members::all);
        let Some((one, mut jobs)) = all else {
            return Vec::new();
        };
        jobs.push(one);
        jobs.sort_unstable_by_key(|target| target.job.id());
        jobs
    }
}

impl<K> fmt::Debug for Groups<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups")
            .field("replaces", &self.replaces)
            .finish_non_exhaustive()
    }
}
