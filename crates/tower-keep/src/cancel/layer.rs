//! `CancelLayer` and its settings: grace period, groups, tokens, shutdown, detached jobs.

use std::{fmt, hash::Hash, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    drop_policy::{Detached, MayDetach, StopOnDrop},
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

/// Gives each job a cancellation token, and stops the job when it is cancelled.
///
/// The layer's clones and services share the running jobs, and a shutdown. A setter on a layer that
/// is in use, by a clone, a handle or a service, returns a separate layer: configure first, then
/// take handles.
///
/// `CancelLayer` without parameters is the layer without groups that stops dropped calls. `G` (the
/// grouping) and `D` (what happens on drop) have no other public names. A struct that holds a
/// configured layer or its service needs a type parameter, or tower's
/// [`BoxCloneSyncService`](https://docs.rs/tower/0.5/tower/util/struct.BoxCloneSyncService.html).
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
    /// Creates a layer without groups and without a grace period, which stops dropped calls.
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
    /// Returns a handle that lists and cancels the running jobs.
    ///
    /// Configure first, then take handles: a setter on a layer with a handle returns another layer,
    /// whose jobs this handle does not see.
    #[must_use]
    pub fn handle(&self) -> CancelHandle {
        CancelHandle {
            registry: Arc::clone(&self.registry),
            external_token: self.external_token.clone(),
        }
    }

    /// Uses the job table of a board in the same stack, unless this layer is in use already.
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
    /// Cancels every job at once when this token is cancelled, with
    /// [`CancelReason::Requested`](crate::CancelReason::Requested).
    ///
    /// From then on the layer refuses new jobs. With a token that is already cancelled, the layer
    /// refuses all jobs. A layer has one token: the last setter wins, whether this one or
    /// [`shutdown_on`](Self::shutdown_on).
    #[must_use]
    pub fn token(mut self, token: CancellationToken) -> Self {
        self.unshare();
        self.external_token = Some(ExternalToken::new(token, None));
        self
    }

    /// Shuts the layer down when this token is cancelled, for a token that stops a server.
    ///
    /// As with [`CancelHandle::shutdown`], new jobs are refused and running jobs get this long to
    /// end. The remaining jobs are then cancelled with
    /// [`CancelReason::Shutdown`](crate::CancelReason::Shutdown).
    ///
    /// The time counts from the moment when the layer or a [handle](Self::handle) notices the
    /// token. Every call and every running job notices it. No future needs to be awaited. To wait
    /// for the end of the jobs, or for the report, call [`CancelHandle::shutdown`] as well.
    #[must_use]
    pub fn shutdown_on(mut self, token: CancellationToken, within: Duration) -> Self {
        self.unshare();
        self.external_token = Some(ExternalToken::new(token, Some(within)));
        self
    }

    /// Gives a cancelled job this long to clean up, from its next poll on; then its work is dropped.
    /// Default: the work is dropped at once.
    ///
    /// The caller gets [`Cancelled`] in both cases. The event says whether the work ended by itself
    /// or was dropped.
    ///
    /// Only running work gets a grace period. A waiting job is dropped at once: it may wait for
    /// readiness or admission, for its next attempt, for quiet, or for another job's result. A job
    /// is also dropped at once if several callers share its joined execution, which then continues
    /// for the others.
    ///
    /// If the clean-up makes a call through another stack, that call becomes a child of the
    /// cancelled job and is cancelled at once. To avoid this, make the call in
    /// `Job::default().scope(..)`, where it has no parent.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.unshare();
        self.grace = (!grace.is_zero()).then_some(grace);
        self
    }

    /// Cancels the previous job of a group when a new one comes, before the new one starts. The
    /// reason is [`CancelReason::Replaced`](crate::CancelReason::Replaced).
    ///
    /// The closure gives the group of a request. `None` means no group.
    ///
    /// The newer of two jobs wins: if a retry outside this layer calls again for an older job, the
    /// older job is replaced. If a job's own code makes a call with the job's group, the job
    /// replaces itself, and its caller gets that error.
    ///
    /// A layer has one grouping, this or [`group_by`](Self::group_by): the last setter wins. For
    /// two groupings, use two layers.
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

    /// Puts jobs into groups, which a [group handle](Self::group_handle) cancels together. No job
    /// replaces another.
    ///
    /// The closure gives the group of a request. `None` means no group.
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

    /// Runs each job in its own task, so that it outlives its caller.
    ///
    /// Such a job ends like any other job: layers report it, and the handle can cancel it.
    ///
    /// The service's future has to be `Send + 'static`, and calls have to be made within a tokio
    /// runtime.
    ///
    /// Only the stack inside this layer continues. A layer outside it, such as a retry, is dropped
    /// with the caller: if the caller leaves between two attempts, the job ends. If several calls
    /// of a job run when the caller leaves, the last one to end determines how the job ended.
    ///
    /// Work continues only when its caller leaves. If a layer outside gives up an attempt, as a
    /// time limit or a hedge does, the task drops that attempt's work soon after. Work that still
    /// runs when the job is over stops too.
    ///
    /// The task runs in the tracing span of the call, and keeps that span open until it is over. It
    /// does not see the caller's task-locals, which belong to the caller's task.
    ///
    /// Call this setter before [`handle`](Self::handle): an earlier handle does not see these jobs.
    #[must_use]
    pub fn detached(self) -> CancelLayer<G, Detached, O>
    where
        D: MayDetach,
    {
        self.dropping(Detached)
    }

    pub(crate) fn dropping<P>(self, on_drop: P) -> CancelLayer<G, P, O> {
        let layer = self.unshared();
        CancelLayer {
            registry: layer.registry,
            external_token: layer.external_token,
            grace: layer.grace,
            group: layer.group,
            on_reject: layer.on_reject,
            on_drop,
        }
    }

    /// The same layer, for calls with another way to end. It shares the running jobs.
    #[cfg(all(feature = "dispatch", feature = "http"))]
    pub(crate) fn calls_dropping<P>(&self, on_drop: P) -> CancelLayer<G, P, O>
    where
        G: Clone,
        O: Clone,
    {
        CancelLayer {
            registry: Arc::clone(&self.registry),
            external_token: self.external_token.clone(),
            grace: self.grace,
            group: self.group.clone(),
            on_reject: self.on_reject.clone(),
            on_drop,
        }
    }

    /// Fails with an error of your own instead of a [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn fail_with<F, E>(self, fail: F) -> CancelLayer<G, D, FailWith<F>>
    where
        F: Fn(Cancelled) -> E,
    {
        self.on_reject(FailWith(fail))
    }

    /// Answers with a response instead of an error, and keeps the inner error type.
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
    /// Returns a handle that lists and cancels the jobs of a group.
    ///
    /// Configure first, then take handles: a setter on a layer with this handle returns another
    /// layer, whose groups this handle does not see.
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
