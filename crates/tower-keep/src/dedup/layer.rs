//! `DedupLayer` and its settings: mode, cache, stale-while-revalidate, refresh, errors.

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
/// The layer's clones and services share the keys in flight and the cache. A setter on a layer that
/// is in use, by a clone, a handle or a service, returns a separate layer: configure first, then
/// take handles.
///
/// `F` is the key closure, `K` the key. Only the default of the mode `M` can be named. See [how to
/// hold a configured layer in a struct](super#in-a-struct-or-a-signature).
pub struct DedupLayer<F, K, M = Reject, O = Fail> {
    pub(crate) key: F,
    pub(super) keys: Arc<KeyTable<K>>,
    pub(crate) mode: M,
    pub(super) on_reject: O,
}

impl<F, K> DedupLayer<F, K> {
    /// Creates a layer that rejects duplicates. The closure gives the key of a request.
    ///
    /// A request with the key `None` is never a duplicate, and bypasses the cache. The closure runs
    /// outside every lock.
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
    /// Lets a duplicate wait for the result of the running call, instead of rejecting it.
    ///
    /// What the types need:
    ///
    /// | type | bounds | reason |
    /// |---|---|---|
    /// | inner service | `Clone + Send + 'static` | any caller may drive it |
    /// | its future | `Send + 'static` | any caller may drive it |
    /// | response | `Clone + Send + Sync + 'static` | each caller gets a clone |
    /// | error, with [`fail_with`](Self::fail_with) or [`respond_with`](Self::respond_with) | `Clone + Send + Sync + 'static` | each caller gets a clone |
    /// | key | `Debug + Send + 'static` | if a call would [wait for itself](super#calls-inside-an-execution), its error shows the key |
    ///
    /// If a bound is missing, the compiler [names it](super#if-it-does-not-compile).
    ///
    /// The execution runs in the leader's tracing span, and without the callers' task-locals: see
    /// [Reports, spans and task-locals](super#reports-spans-and-task-locals).
    ///
    /// Call this setter before [`handle`](DedupLayer::handle): an earlier handle does not see these
    /// calls.
    #[must_use]
    pub fn join(self) -> DedupLayer<F, K, Join, O>
    where
        K: JoinKey,
    {
        self.with_mode(Join(NoCache))
    }

    /// Lets a newer call replace the running call with the same key.
    ///
    /// The older call is cancelled and its work dropped, and the newer call runs at once. For jobs
    /// that need to clean up, use [`CancelLayer::replace`](crate::CancelLayer::replace): see [the
    /// comparison](super#when-a-newer-call-comes).
    ///
    /// The older caller gets a [`Duplicate`] with [`replaced`](Duplicate::replaced). Its job, if it
    /// has one, is cancelled as [`Replaced`](crate::CancelReason::Replaced). Once the newer call
    /// has the slot, the older call never succeeds: if its work has finished and the call was not
    /// polled since, that result is lost.
    ///
    /// The newer of two jobs wins, even if a retry outside this layer calls again for the older
    /// job.
    #[must_use]
    pub fn latest(self) -> DedupLayer<F, K, Latest, O> {
        self.with_mode(Latest)
    }

    /// Delays each call until this much time passes without a call with its key. Then the last call
    /// runs.
    ///
    /// A newer call replaces the waiting call, as with [`latest`](Self::latest), and restarts the
    /// wait.
    ///
    /// The running call is not disturbed. A call that comes meanwhile also waits until the running
    /// call ends, so that newer calls never run next to it. With [`Duration::ZERO`], a call runs at
    /// once if no call with its key runs. Of the calls that come during a run, only the last one
    /// runs. A call without a key does not wait.
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

    /// A layer of another module, in collapse mode.
    #[cfg(feature = "http")]
    pub(crate) fn collapsing(key: F, mode: M, on_reject: O) -> Self {
        Self {
            key,
            keys: Arc::default(),
            mode,
            on_reject,
        }
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

    /// Fails with an error of your own instead of a [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn fail_with<G, E>(self, fail: G) -> DedupLayer<F, K, M, FailWith<G>>
    where
        G: Fn(Duplicate) -> E,
    {
        self.with_on_reject(FailWith(fail))
    }

    /// Answers with a response instead of an error, and keeps the inner error type.
    #[must_use]
    pub fn respond_with<G, Response>(self, respond: G) -> DedupLayer<F, K, M, RespondWith<G>>
    where
        G: Fn(Duplicate) -> Response,
    {
        self.with_on_reject(RespondWith(respond))
    }
}

impl<F, K, O> DedupLayer<F, K, Debounce, O> {
    /// Limits how long a burst of calls may delay an execution, counted from its first call.
    /// Default: no limit.
    ///
    /// After this time the last call of the burst runs, as soon as no call with its key runs.
    #[must_use]
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.unshare();
        self.mode.max_wait = Some(wait);
        self
    }
}

impl<F, K, O> DedupLayer<F, K, Join, O> {
    /// Caches each success for this long. A call with a cached key gets the result at once, without
    /// an execution and without polling the inner service for readiness.
    ///
    /// [`latest`](DedupLayer::latest) and [`debounce`](DedupLayer::debounce) have no cache: their
    /// key names a slot, not a request.
    ///
    /// Three kinds of results are never cached: failures, responses that an inner layer returns in
    /// place of the service, and results of a cancelled job. The cache has at most 1000 entries:
    /// see [`max_entries`](DedupLayer::max_entries).
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
    /// Limits the number of cached results. Above this number, the layer evicts the least recently
    /// used entry. Default: 1000.
    #[must_use]
    pub fn max_entries(mut self, max: NonZeroUsize) -> Self {
        self.unshare();
        self.mode.0.limits.max_entries = max;
        self
    }

    /// Returns stale results for this long after their time to live, while one execution
    /// revalidates them. Default: stale results are not returned.
    ///
    /// The revalidation runs in its own task. If it fails, the stale result stays, and the next
    /// call tries again.
    ///
    /// - A revalidation belongs to no caller and no job. So a cancellation or shutdown of jobs does
    ///   not reach it, and layers do not report it: see
    ///   [`DedupCounts::failed_revalidations`](super::DedupCounts::failed_revalidations).
    /// - A call that comes after the result has expired joins the revalidation. A revalidation that
    ///   no call joined is dropped after this duration.
    /// - The call needs a tokio runtime with time enabled. Without a runtime, no result is
    ///   revalidated.
    /// - It runs in the tracing span of the call that began it, and without that call's
    ///   task-locals.
    #[must_use]
    pub fn stale_while_revalidate(mut self, stale: Duration) -> Self {
        self.unshare();
        self.mode.0.limits.stale = stale;
        self
    }

    /// Selects the results to cache: each [`Success`](crate::Outcome::Success). Default: each `Ok`.
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

    /// Selects requests that are executed despite a cached result, as with HTTP's `Cache-Control:
    /// no-cache`. Default: none.
    ///
    /// Such a call begins an execution, or joins a running one. A success replaces the cached
    /// result, and a failure keeps it. Until then, other calls get the older result. To ignore
    /// executions that are already running, use [`DedupHandle::invalidate`].
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
    /// Returns a handle that lists the keys in flight, counts calls, and invalidates cached
    /// results.
    ///
    /// Configure first, then take handles: a setter on a layer with a handle returns another layer,
    /// whose state this handle does not see.
    #[must_use]
    pub fn handle(&self) -> DedupHandle<K> {
        DedupHandle::new(Arc::clone(&self.keys))
    }

    /// The number of keys in flight.
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
