//! The layer and its settings.

use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    drop_policy::{Detached, StopOnDrop},
    external_token::ExternalToken,
    group_handle::GroupHandle,
    grouping::{GroupBy, NoGroup},
    groups::Groups,
    handle::CancelHandle,
    registry::Registry,
};
use crate::{
    job::{Cancelled, table::Table},
    reject::{Fail, FailWith, RespondWith},
    unshare::{Unshare, has_others},
};

/// Gives each job a token, and stops the job when it is cancelled.
///
/// Its clones, and all services that it makes, share the running jobs, and a shutdown. A setter on a layer that is in use,
/// as by a clone, a handle or a service, gives a layer of its own: configure first, then take handles.
///
/// `CancelLayer` alone names the layer without groups that stops a dropped call. `G`, the grouping, and `D`, what happens
/// on drop, have no other public names: a struct that holds a configured layer or its service has a type parameter for it,
/// or tower's [`BoxCloneSyncService`](https://docs.rs/tower/0.5/tower/util/struct.BoxCloneSyncService.html).
#[derive(Clone)]
pub struct CancelLayer<G = NoGroup, D = StopOnDrop, O = Fail> {
    pub(super) registry: Arc<Registry>,
    pub(super) external_token: Option<Arc<ExternalToken>>,
    pub(super) grace: Option<Duration>,
    pub(super) group: G,
    pub(super) on_drop: D,
    pub(super) on_reject: O,
}

impl CancelLayer {
    /// No groups, no grace period; a dropped call stops.
    #[must_use]
    pub fn new() -> Self {
        Self {
            registry: Registry::new(),
            external_token: None,
            grace: None,
            group: NoGroup,
            on_drop: StopOnDrop,
            on_reject: Fail,
        }
    }
}

impl Default for CancelLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<G, D, O> CancelLayer<G, D, O> {
    /// Cancels jobs from outside.
    ///
    /// Configure first, then take handles: a setter on a layer that has a handle gives a layer with jobs of its own, which
    /// this handle does not see.
    #[must_use]
    pub fn handle(&self) -> CancelHandle {
        CancelHandle {
            registry: Arc::clone(&self.registry),
            external_token: self.external_token.clone(),
        }
    }

    /// Shares the table of a board of the same stack, unless there is a handle or another use of this layer already.
    #[cfg_attr(not(any(feature = "pipeline", feature = "dispatch")), allow(dead_code))]
    pub(crate) fn share(&mut self, table: &Arc<Table>) {
        if !has_others(&self.registry) {
            if let Some(shared) = Registry::on(table) {
                self.registry = shared;
            }
        }
    }
}

impl<G: Unshare, D, O> Unshare for CancelLayer<G, D, O> {
    fn is_shared(&self) -> bool {
        has_others(&self.registry) || self.group.is_shared()
    }

    fn renew(&mut self) {
        self.registry = Registry::new();
        self.external_token = self
            .external_token
            .take()
            .map(|external_token| external_token.renewed());
        self.group.renew();
    }
}

impl<G: Unshare, D, O> CancelLayer<G, D, O> {
    /// Stops every job at once, with [`CancelReason::Requested`](crate::CancelReason::Requested), when this token is
    /// cancelled, and lets none begin after that. One that is cancelled beforehand lets none begin at all. A layer has
    /// one token: the last counts, whether set here or by [`shutdown_on`](Self::shutdown_on).
    #[must_use]
    pub fn token(mut self, token: CancellationToken) -> Self {
        self.unshare();
        self.external_token = Some(ExternalToken::new(token, None));
        self
    }

    /// Shuts the layer down when this token is cancelled, as [`CancelHandle::shutdown`] does: for a token that tells a
    /// server to stop. New jobs are turned away; the running ones may end within this time, counted from when the layer
    /// or a [handle](Self::handle) notices the token, which every call and every running job does. What is left then is
    /// cancelled, with [`CancelReason::Shutdown`](crate::CancelReason::Shutdown). Nobody has to wait for it. Whoever
    /// wants to, or to know what became of the jobs, calls [`CancelHandle::shutdown`] besides.
    #[must_use]
    pub fn shutdown_on(mut self, token: CancellationToken, within: Duration) -> Self {
        self.unshare();
        self.external_token = Some(ExternalToken::new(token, Some(within)));
        self
    }

    /// Lets a cancelled job run on for this long after its token fired, so that it can clean up; then it is dropped.
    /// The caller gets [`Cancelled`] either way, and the event says which of the two it was. Default: it is dropped
    /// at once.
    ///
    /// Only work that runs is given the time. A job that waits is dropped at once: for readiness or another gate before
    /// it starts, for its next attempt, for quiet, or for what another job does. So is one of several callers of a joined
    /// execution, which goes on for the others.
    ///
    /// A client stack that the clean-up calls would be a child of the cancelled job, and so cancelled at once: run it
    /// in `Job::default().scope(..)`, as nobody's child.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.unshare();
        self.grace = (!grace.is_zero()).then_some(grace);
        self
    }

    /// Within a group, a new job cancels the one before it, with
    /// [`CancelReason::Replaced`](crate::CancelReason::Replaced), before it starts. `None` belongs to no group.
    ///
    /// Of two jobs the newer one counts: an older one that comes back by a retry outside this layer is replaced itself. A
    /// job whose own code calls with its group replaces itself, and its caller is told so. A layer puts jobs into groups
    /// in one way: this or [`group_by`](Self::group_by), whichever was said last. For two ways, use two layers.
    ///
    /// ```
    /// use tower_keep::CancelLayer;
    ///
    /// struct Search { user: u64, words: String }
    ///
    /// let layer = CancelLayer::new().replace(|search: &Search| Some(search.user));
    /// ```
    #[must_use]
    pub fn replace<F, Request, K>(self, group: F) -> CancelLayer<GroupBy<F, K>, D, O>
    where
        F: Fn(&Request) -> Option<K>,
        K: Clone + Eq + Hash,
    {
        self.by_group(group, true)
    }

    /// Puts jobs into groups that a [group handle](Self::group_handle) cancels together. None replaces another. `None`
    /// belongs to no group.
    #[must_use]
    pub fn group_by<F, Request, K>(self, group: F) -> CancelLayer<GroupBy<F, K>, D, O>
    where
        F: Fn(&Request) -> Option<K>,
        K: Clone + Eq + Hash,
    {
        self.by_group(group, false)
    }

    fn by_group<F, K>(self, group: F, replaces: bool) -> CancelLayer<GroupBy<F, K>, D, O> {
        let layer = self.unshared();
        CancelLayer {
            registry: layer.registry,
            external_token: layer.external_token,
            grace: layer.grace,
            group: GroupBy {
                group,
                groups: Arc::new(Groups::new(replaces)),
            },
            on_reject: layer.on_reject,
            on_drop: layer.on_drop,
        }
    }

    /// The job runs in a task of its own: when its caller goes away it runs on, ends, and is reported. It can still be
    /// cancelled through the handle.
    ///
    /// The service's future then has to be `Send + 'static`, and calls have to be made within a tokio runtime.
    ///
    /// Only what lies inside this layer runs on. A layer outside it, such as a retry, is dropped with the caller: a caller
    /// that leaves between two attempts ends the job. Of several calls that run when the caller leaves, the last to end
    /// says how the job ended.
    ///
    /// Work runs on only when its caller leaves. If a layer outside this one gives up an attempt, as a time limit or a hedge
    /// does, the task drops that attempt's work soon after. Work that is left when the job is over stops too.
    ///
    /// The task runs in the tracing span that is current where the call is made, and keeps that open until it is over. It
    /// does not see the caller's task-locals: task-locals belong to the task that polls.
    ///
    /// As any setter, it goes before [`handle`](Self::handle): a handle that was taken before does not see these jobs.
    #[must_use]
    pub fn detached(self) -> CancelLayer<G, Detached, O> {
        let layer = self.unshared();
        CancelLayer {
            registry: layer.registry,
            external_token: layer.external_token,
            grace: layer.grace,
            group: layer.group,
            on_reject: layer.on_reject,
            on_drop: Detached,
        }
    }

    /// Fails with the user's own error instead of a [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn fail_with<F, E>(self, fail: F) -> CancelLayer<G, D, FailWith<F>>
    where
        F: Fn(Cancelled) -> E,
    {
        self.on_reject(FailWith(fail))
    }

    /// Answers with a response instead of an error, and leaves the inner error type untouched.
    #[must_use]
    pub fn respond_with<F, Response>(self, respond: F) -> CancelLayer<G, D, RespondWith<F>>
    where
        F: Fn(Cancelled) -> Response,
    {
        self.on_reject(RespondWith(respond))
    }

    pub(crate) fn on_reject<P>(self, on_reject: P) -> CancelLayer<G, D, P> {
        let layer = self.unshared();
        CancelLayer {
            registry: layer.registry,
            external_token: layer.external_token,
            grace: layer.grace,
            group: layer.group,
            on_reject,
            on_drop: layer.on_drop,
        }
    }
}

impl<F, K, D, O> CancelLayer<GroupBy<F, K>, D, O> {
    /// Cancels the jobs of one group.
    ///
    /// Configure first, then take handles: a setter on a layer that has this handle gives a layer with groups of its own,
    /// which the handle does not see.
    ///
    /// ```
    /// use tower_keep::CancelLayer;
    ///
    /// struct Search { user: u64, words: String }
    ///
    /// let layer = CancelLayer::new().group_by(|search: &Search| Some(search.user));
    /// let users = layer.group_handle();
    /// // Later, when user 7 signs out:
    /// users.cancel_because(&7, "signed out");
    /// ```
    #[must_use]
    pub fn group_handle(&self) -> GroupHandle<K> {
        GroupHandle {
            groups: Arc::clone(&self.group.groups),
        }
    }
}

impl<G: fmt::Debug, D: fmt::Debug, O> fmt::Debug for CancelLayer<G, D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let external_token = self.external_token.as_deref();
        f.debug_struct("CancelLayer")
            .field("handle", &self.handle())
            .field("grace", &self.grace)
            .field("group", &self.group)
            .field("on_drop", &self.on_drop)
            .field(
                "token",
                &external_token.map(|external_token| &external_token.token),
            )
            .field(
                "shutdown_within",
                &external_token.and_then(|external_token| external_token.within()),
            )
            .finish_non_exhaustive()
    }
}
