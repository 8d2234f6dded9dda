//! The layer and its settings.

use std::{fmt, hash::Hash, num::NonZeroUsize, sync::Arc, time::Duration};

use super::{
    bounds::JoinKey,
    cache::CacheLimits,
    error::Duplicate,
    handle::DedupHandle,
    key_table::KeyTable,
    mode::{Cache, Debounce, Join, Latest, NeverRefresh, NoCache, RefreshIf, Reject},
};
use crate::{
    classify::{Classify, ErrorsAsFailures},
    reject::{Fail, FailWith, RespondWith},
    unshare::{Unshare, has_others},
};

/// Executes identical concurrent requests once.
///
/// Its clones, and all services that it makes, share the keys in flight and the cached results. A setter on a layer that
/// is in use, as by a clone, a handle or a service, gives a layer with keys of its own: configure first, then take
/// handles.
///
/// `F` is the closure that gives the key, `K` the key. `M`, the mode, has no public names but the default: to hold a
/// configured layer in a struct, see [there](super#in-a-struct-or-a-signature).
pub struct DedupLayer<F, K, M = Reject, O = Fail> {
    pub(super) key: F,
    pub(super) keys: Arc<KeyTable<K>>,
    pub(super) mode: M,
    pub(super) on_reject: O,
}

impl<F, K> DedupLayer<F, K> {
    /// Tells requests apart by the key that this closure gives them; `None` is never a duplicate, and goes past the
    /// cache. It runs outside every lock.
    #[must_use]
    pub fn new<Request>(key: F) -> Self
    where
        F: Fn(&Request) -> Option<K>,
        K: Clone + Eq + Hash,
    {
        Self {
            key,
            keys: Arc::default(),
            mode: Reject,
            on_reject: Fail,
        }
    }
}

impl<F, K, M, O> Unshare for DedupLayer<F, K, M, O> {
    fn is_shared(&self) -> bool {
        has_others(&self.keys)
    }

    fn renew(&mut self) {
        self.keys = Arc::default();
    }
}

impl<F, K, M, O> DedupLayer<F, K, M, O> {
    /// A call with a key in flight waits for the result instead of being rejected.
    ///
    /// The layer is then around a service that is `Clone + Send + 'static`, with a future that is `Send + 'static` and a
    /// response that is `Clone + Send + Sync + 'static`. The key is `Debug + Send + 'static`: the error of a
    /// call that would [wait for itself](super#calls-inside-an-execution) shows it. With [`fail_with`](Self::fail_with) and
    /// [`respond_with`](Self::respond_with) its error has to be `Clone` too. Where one of them is missing, the compiler
    /// [says which](super#if-it-does-not-compile).
    ///
    /// The execution runs in the tracing span of the caller that began it, and without anybody's task-locals: see
    /// [there](super#what-a-caller-sees-of-the-work).
    ///
    /// As any setter, it goes before a [handle](DedupLayer::handle): a handle that was taken before does not see these
    /// calls.
    #[must_use]
    pub fn join(self) -> DedupLayer<F, K, Join, O>
    where
        K: JoinKey,
    {
        self.with_mode(Join(NoCache))
    }

    /// A call with a key in flight takes the place of the call that has it: the older call is cancelled and its work
    /// dropped, and the newer call runs at once. For jobs that have to clean up there is
    /// [`CancelLayer::replace`](crate::CancelLayer::replace); [this table](super) says which of the two is for what.
    ///
    /// The older one's caller gets a [`Duplicate`] that was [`replaced`](Duplicate::replaced), and its job, if it has
    /// one, is cancelled as [`Replaced`](crate::CancelReason::Replaced). It never ends in success once the newer one has
    /// begun; if it has its result by then, it keeps it. Of two jobs the newer one counts, also where the older one's retry
    /// outside this layer calls again.
    #[must_use]
    pub fn latest(self) -> DedupLayer<F, K, Latest, O> {
        self.with_mode(Latest)
    }

    /// A call waits until none came with its key for this long, then runs. A call that comes meanwhile takes the place
    /// of the waiting call, as [`latest`](Self::latest) has it, and starts the wait again.
    ///
    /// The running call is not disturbed: a call that comes then waits for its end too, so that a key never has more than
    /// one execution. With [`Duration::ZERO`], a call runs at once if no call with its key runs; of the calls that come
    /// during a run, only the last runs. Without a key there is no wait.
    ///
    /// # Panics
    ///
    /// A call that has to wait panics when it is polled outside a tokio runtime with time enabled.
    #[must_use]
    pub fn debounce(self, quiet: Duration) -> DedupLayer<F, K, Debounce, O> {
        self.with_mode(Debounce {
            quiet,
            max_wait: None,
        })
    }

    fn with_mode<N>(self, mode: N) -> DedupLayer<F, K, N, O> {
        let layer = self.unshared();
        DedupLayer {
            key: layer.key,
            keys: layer.keys,
            mode,
            on_reject: layer.on_reject,
        }
    }

    fn with_on_reject<P>(self, on_reject: P) -> DedupLayer<F, K, M, P> {
        let layer = self.unshared();
        DedupLayer {
            key: layer.key,
            keys: layer.keys,
            mode: layer.mode,
            on_reject,
        }
    }

    /// Fails with the user's own error instead of a [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn fail_with<G, E>(self, fail: G) -> DedupLayer<F, K, M, FailWith<G>>
    where
        G: Fn(Duplicate) -> E,
    {
        self.with_on_reject(FailWith(fail))
    }

    /// Answers with a response instead of an error, and leaves the inner error type untouched.
    #[must_use]
    pub fn respond_with<G, Response>(self, respond: G) -> DedupLayer<F, K, M, RespondWith<G>>
    where
        G: Fn(Duplicate) -> Response,
    {
        self.with_on_reject(RespondWith(respond))
    }
}

impl<F, K, O> DedupLayer<F, K, Debounce, O> {
    /// How long calls that come one after another may put off an execution, counted from the first of them: then the
    /// last of them runs, as soon as no call with its key runs. Default: without end.
    #[must_use]
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.unshare();
        self.mode.max_wait = Some(wait);
        self
    }
}

impl<F, K, O> DedupLayer<F, K, Join, O> {
    /// Caches each success for this long: a call with its key is answered at once, without an execution and without
    /// asking the inner service whether it is ready.
    ///
    /// [`latest`](DedupLayer::latest) and [`debounce`](DedupLayer::debounce) have no cache: there, the key names a slot
    /// and not what is asked for.
    ///
    /// Failures are never cached, nor what a layer inside answered in the service's place, nor what a cancelled job
    /// handed out. At most 1000 results are cached, see [`max_entries`](DedupLayer::max_entries).
    #[must_use]
    pub fn cache(self, ttl: Duration) -> DedupLayer<F, K, Join<Cache>, O> {
        self.with_mode(Join(Cache {
            limits: CacheLimits {
                ttl,
                stale: Duration::ZERO,
                max_entries: NonZeroUsize::new(1000).unwrap_or(NonZeroUsize::MAX),
            },
            classify: ErrorsAsFailures,
            refresh: NeverRefresh,
        }))
    }
}

impl<F, K, C, R, O> DedupLayer<F, K, Join<Cache<C, R>>, O> {
    /// How many results are cached. The least recently used goes first. Default: 1000.
    #[must_use]
    pub fn max_entries(mut self, max: NonZeroUsize) -> Self {
        self.unshare();
        self.mode.0.limits.max_entries = max;
        self
    }

    /// How long after its time to live a result is still answered, while one execution revalidates it in a task of its own.
    /// A failure leaves the stale result in its place, and the next call tries again. Default: not at all.
    ///
    /// That execution belongs to no caller and to no job of theirs; a call that comes when the result has expired joins it.
    /// So what cancels or shuts down those jobs does not reach it, and their layers do not report it:
    /// [`DedupCounts::failed_revalidations`](super::DedupCounts::failed_revalidations) does. Where nobody joined it, it is dropped
    /// when it has taken as long as this. It needs a tokio runtime with time enabled around the call: without a runtime
    /// nothing is revalidated. It runs in the tracing span of the call that began it, and without its task-locals.
    #[must_use]
    pub fn stale_while_revalidate(mut self, stale: Duration) -> Self {
        self.unshare();
        self.mode.0.limits.stale = stale;
        self
    }

    /// Tells which results are cached: each [`Success`](crate::Outcome::Success). Default: each `Ok`.
    #[must_use]
    pub fn classify<D, Response, Error>(self, classify: D) -> DedupLayer<F, K, Join<Cache<D, R>>, O>
    where
        D: Classify<Response, Error>,
    {
        let layer = self.unshared();
        DedupLayer {
            key: layer.key,
            keys: layer.keys,
            mode: Join(Cache {
                limits: layer.mode.0.limits,
                classify,
                refresh: layer.mode.0.refresh,
            }),
            on_reject: layer.on_reject,
        }
    }

    /// Picks the requests that are not answered from the cache, as by HTTP's `Cache-Control: no-cache`. Default: none.
    ///
    /// Such a call is executed, or joins the execution that is in flight; a success then takes the place of the cached
    /// result. Until then other calls get the older one, and a failure leaves it there. Where an execution that began
    /// before will not do either, there is [`DedupHandle::invalidate`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::{Request, header::CACHE_CONTROL};
    /// use tower_keep::DedupLayer;
    ///
    /// let dedup = DedupLayer::new(|request: &Request<String>| Some(request.uri().clone()))
    ///     .join()
    ///     .cache(Duration::from_secs(60))
    ///     .refresh_if(|request: &Request<String>| {
    ///         request.headers().get(CACHE_CONTROL).is_some_and(|value| value == "no-cache")
    ///     });
    /// # let _ = dedup;
    /// ```
    #[must_use]
    pub fn refresh_if<G, Request>(
        self,
        refresh: G,
    ) -> DedupLayer<F, K, Join<Cache<C, RefreshIf<G>>>, O>
    where
        G: Fn(&Request) -> bool,
    {
        let layer = self.unshared();
        DedupLayer {
            key: layer.key,
            keys: layer.keys,
            mode: Join(Cache {
                limits: layer.mode.0.limits,
                classify: layer.mode.0.classify,
                refresh: RefreshIf(refresh),
            }),
            on_reject: layer.on_reject,
        }
    }
}

impl<F, K, M, O> DedupLayer<F, K, M, O> {
    /// Reaches the keys in flight and the cached results of this layer and its clones.
    ///
    /// Configure first, then take handles: a setter on a layer that has a handle gives a layer with state of its own, which
    /// this handle does not see.
    #[must_use]
    pub fn handle(&self) -> DedupHandle<K> {
        DedupHandle::new(Arc::clone(&self.keys))
    }

    /// How many keys are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.keys.len()
    }
}

impl<F: Clone, K, M: Clone, O: Clone> Clone for DedupLayer<F, K, M, O> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            keys: Arc::clone(&self.keys),
            mode: self.mode.clone(),
            on_reject: self.on_reject.clone(),
        }
    }
}

impl<F, K, M: fmt::Debug, O> fmt::Debug for DedupLayer<F, K, M, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupLayer")
            .field("keys", &self.keys)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
