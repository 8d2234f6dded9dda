//! The layer and its settings.

use std::{fmt, hash::Hash, num::NonZeroUsize, sync::Arc, time::Duration};

use super::{
    cache::Limits,
    error::Duplicate,
    handle::DedupHandle,
    keys::Keys,
    mode::{AlwaysRead, Debounce, Join, Keep, Latest, RefreshIf, Reject},
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
#[derive(Clone)]
pub struct DedupLayer<Y, M = Reject, O = Fail> {
    pub(super) key: Y,
    pub(super) mode: M,
    pub(super) on_reject: O,
}

impl<F, K> DedupLayer<KeyBy<F, K>> {
    /// Tells requests apart by the key that this closure gives them; `None` is never a duplicate, and goes past the
    /// cache. It runs outside every lock.
    #[must_use]
    pub fn new<Request>(key: F) -> Self
    where
        F: Fn(&Request) -> Option<K>,
        K: Clone + Eq + Hash,
    {
        Self {
            key: KeyBy {
                key,
                keys: Arc::default(),
            },
            mode: Reject,
            on_reject: Fail,
        }
    }
}

impl<Y: Unshare, M, O> Unshare for DedupLayer<Y, M, O> {
    fn is_shared(&self) -> bool {
        self.key.is_shared()
    }

    fn renew(&mut self) {
        self.key.renew();
    }
}

impl<Y: Unshare, M, O> DedupLayer<Y, M, O> {
    /// A call with a key in flight waits for the result instead of being rejected.
    ///
    /// The layer is then around a service that is `Clone + Send + 'static`, with a future that is `Send + 'static` and a
    /// response that is `Clone + Send + Sync + 'static`. The key is `Debug + Send + 'static`: the error of a
    /// call that would [wait for itself](super#calls-inside-an-execution) shows it. With [`fail_with`](Self::fail_with) and
    /// [`respond_with`](Self::respond_with) its error has to be `Clone` too. Where one of them is missing, the compiler
    /// says that the layer's service is no `Service`.
    ///
    /// The execution runs in the tracing span of the caller that began it, and without anybody's task-locals: see
    /// [there](super#what-a-caller-sees-of-the-work).
    ///
    /// As any setter, it goes before a [handle](DedupLayer::handle): a handle that was taken before does not see these
    /// calls.
    #[must_use]
    pub fn join(self) -> DedupLayer<Y, Join, O> {
        self.with_mode(Join)
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
    pub fn latest(self) -> DedupLayer<Y, Latest, O> {
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
    pub fn debounce(self, quiet: Duration) -> DedupLayer<Y, Debounce, O> {
        self.with_mode(Debounce {
            quiet,
            max_wait: None,
        })
    }

    fn with_mode<N>(self, mode: N) -> DedupLayer<Y, N, O> {
        DedupLayer {
            key: self.key.unshared(),
            mode,
            on_reject: self.on_reject,
        }
    }

    /// Fails with the user's own error instead of a [`BoxError`](crate::BoxError).
    #[must_use]
    pub fn fail_with<F, E>(self, fail: F) -> DedupLayer<Y, M, FailWith<F>>
    where
        F: Fn(Duplicate) -> E,
    {
        DedupLayer {
            key: self.key.unshared(),
            mode: self.mode,
            on_reject: FailWith(fail),
        }
    }

    /// Answers with a response instead of an error, and leaves the inner error type untouched.
    #[must_use]
    pub fn respond_with<F, Response>(self, respond: F) -> DedupLayer<Y, M, RespondWith<F>>
    where
        F: Fn(Duplicate) -> Response,
    {
        DedupLayer {
            key: self.key.unshared(),
            mode: self.mode,
            on_reject: RespondWith(respond),
        }
    }
}

impl<Y: Unshare, O> DedupLayer<Y, Debounce, O> {
    /// How long calls that come one after another may put off an execution, counted from the first of them: then the
    /// last of them runs, as soon as no call with its key runs. Default: without end.
    #[must_use]
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.unshare();
        self.mode.max_wait = Some(wait);
        self
    }
}

impl<Y: Unshare, O> DedupLayer<Y, Join, O> {
    /// Keeps each success for this long: a call with its key is answered at once, without an execution and without
    /// asking the inner service whether it is ready.
    ///
    /// There is no such thing with [`latest`](DedupLayer::latest) and [`debounce`](DedupLayer::debounce), where the key
    /// names a place and not what is asked for.
    ///
    /// Failures are never cached, nor what a layer inside answered in the service's place, nor what a cancelled job
    /// handed out. At most 1000 results are cached, see [`keep_at_most`](DedupLayer::keep_at_most).
    #[must_use]
    pub fn keep(self, fresh: Duration) -> DedupLayer<Y, Keep, O> {
        DedupLayer {
            key: self.key.unshared(),
            mode: Keep {
                limits: Limits {
                    fresh,
                    stale: Duration::ZERO,
                    most: NonZeroUsize::new(1000).unwrap_or(NonZeroUsize::MAX),
                },
                classify: ErrorsAsFailures,
                refresh: AlwaysRead,
            },
            on_reject: self.on_reject,
        }
    }
}

impl<Y: Unshare, C, R, O> DedupLayer<Y, Keep<C, R>, O> {
    /// How many results are cached. The least recently used goes first. Default: 1000.
    #[must_use]
    pub fn keep_at_most(mut self, most: NonZeroUsize) -> Self {
        self.unshare();
        self.mode.limits.most = most;
        self
    }

    /// How long after its time to live a result is still answered, while one execution renews it in a task of its own.
    /// A failure leaves the stale result in its place, and the next call tries again. Default: not at all.
    ///
    /// That execution belongs to no caller and to no job of theirs; a call that comes when the result has expired joins it.
    /// So what cancels or shuts down those jobs does not reach it, and their layers do not report it:
    /// [`DedupCounts::failed_renewals`](super::DedupCounts::failed_renewals) does. Where nobody joined it, it is dropped
    /// when it has taken as long as this. It needs a tokio runtime with time enabled around the call: without a runtime
    /// nothing is renewed. It runs in the tracing span of the call that began it, and without its task-locals.
    #[must_use]
    pub fn stale_while_revalidate(mut self, stale: Duration) -> Self {
        self.unshare();
        self.mode.limits.stale = stale;
        self
    }

    /// Tells which results are cached: each [`Success`](crate::Outcome::Success). Default: each `Ok`.
    #[must_use]
    pub fn classify<D, Response, Error>(self, classify: D) -> DedupLayer<Y, Keep<D, R>, O>
    where
        D: Classify<Response, Error>,
    {
        DedupLayer {
            key: self.key.unshared(),
            mode: Keep {
                limits: self.mode.limits,
                classify,
                refresh: self.mode.refresh,
            },
            on_reject: self.on_reject,
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
    ///     .keep(Duration::from_secs(60))
    ///     .refresh_if(|request: &Request<String>| {
    ///         request.headers().get(CACHE_CONTROL).is_some_and(|value| value == "no-cache")
    ///     });
    /// # let _ = dedup;
    /// ```
    #[must_use]
    pub fn refresh_if<F, Request>(self, refresh: F) -> DedupLayer<Y, Keep<C, RefreshIf<F>>, O>
    where
        F: Fn(&Request) -> bool,
    {
        let own = self.unshared();
        DedupLayer {
            key: own.key,
            mode: Keep {
                limits: own.mode.limits,
                classify: own.mode.classify,
                refresh: RefreshIf(refresh),
            },
            on_reject: own.on_reject,
        }
    }
}

impl<F, K, M, O> DedupLayer<KeyBy<F, K>, M, O> {
    /// Reaches the keys in flight and the cached results of this layer and its clones.
    ///
    /// Configure first, then take handles: a setter on a layer that has a handle gives a layer with state of its own, which
    /// this handle does not see.
    #[must_use]
    pub fn handle(&self) -> DedupHandle<K> {
        DedupHandle::new(Arc::clone(&self.key.keys))
    }

    /// How many keys are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.key.keys.len()
    }
}

impl<Y: fmt::Debug, M: fmt::Debug, O> fmt::Debug for DedupLayer<Y, M, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupLayer")
            .field("key", &self.key)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// A key that comes from the request. Made by [`DedupLayer::new`].
pub struct KeyBy<F, K> {
    key: F,
    keys: Arc<Keys<K>>,
}

impl<F, K> Unshare for KeyBy<F, K> {
    fn is_shared(&self) -> bool {
        has_others(&self.keys)
    }

    fn renew(&mut self) {
        self.keys = Arc::default();
    }
}

impl<F: Clone, K> Clone for KeyBy<F, K> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            keys: Arc::clone(&self.keys),
        }
    }
}

impl<F, K> fmt::Debug for KeyBy<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyBy")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// A request's key, and the table of the keys in flight; `None` is never a duplicate.
pub type Keyed<'a, K> = Option<(K, &'a Arc<Keys<K>>)>;

/// What makes requests identical. Implemented by [`KeyBy`].
pub trait DedupKey<Request> {
    /// What identical requests have in common.
    type Key: Clone + Eq + Hash;

    /// The request's key.
    fn key(&self, request: &Request) -> Keyed<'_, Self::Key>;
}

impl<F, K, Request> DedupKey<Request> for KeyBy<F, K>
where
    F: Fn(&Request) -> Option<K>,
    K: Clone + Eq + Hash,
{
    type Key = K;

    #[inline(always)]
    fn key(&self, request: &Request) -> Keyed<'_, K> {
        (self.key)(request).map(|key| (key, &self.keys))
    }
}
