//! The modes: a duplicate is rejected, joins, takes the slot, or waits for quiet.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::cache::CacheLimits;
use crate::classify::{Classify, ErrorsAsFailures, Outcome};

/// Duplicates are rejected. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reject;

/// Duplicates wait for the result. `C` says whether successes are cached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Join<C = NoCache>(pub(super) C);

/// A newer call takes the slot of the running call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latest;

/// Calls wait for quiet, and the last one runs.
#[derive(Clone, Copy, Debug)]
pub struct Debounce {
    pub(super) quiet: Duration,
    pub(super) max_wait: Option<Duration>,
}

impl Debounce {
    /// When a call that comes now may run, if no newer call comes and none runs. `since` is the
    /// time of the first call of its burst. `None` is never.
    pub(super) fn due(&self, since: Instant, now: Instant) -> Option<Instant> {
        let quiet = now.checked_add(self.quiet);
        let latest = self.max_wait.and_then(|wait| since.checked_add(wait));
        quiet.into_iter().chain(latest).min()
    }
}

/// Nothing is cached. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCache;

/// Successes are cached. `C` classifies results, `R` selects the calls that are executed despite a
/// cached result.
#[derive(Clone, Copy)]
pub struct Cache<C = ErrorsAsFailures, R = NeverRefresh> {
    pub(super) limits: CacheLimits,
    pub(super) classify: C,
    pub(super) refresh: R,
}

impl<C, R> fmt::Debug for Cache<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.limits.fmt(f)
    }
}

/// Selects the cached results, their lifetime, and the calls that bypass them.
pub trait CacheMode<Request, Response, Error>: Clone + Send + 'static {
    /// The cache's limits; `None` without a cache.
    fn limits(&self) -> Option<CacheLimits>;

    /// Whether this request is executed despite a cached result.
    fn refreshes(&self, request: &Request) -> bool;

    /// Whether this result may be cached.
    fn is_cacheable(&self, result: &Result<Response, Error>) -> bool;
}

impl<Request, Response, Error> CacheMode<Request, Response, Error> for NoCache {
    #[inline(always)]
    fn limits(&self) -> Option<CacheLimits> {
        None
    }

    #[inline(always)]
    fn refreshes(&self, _: &Request) -> bool {
        false
    }

    #[inline(always)]
    fn is_cacheable(&self, _: &Result<Response, Error>) -> bool {
        false
    }
}

impl<C, R, Request, Response, Error> CacheMode<Request, Response, Error> for Cache<C, R>
where
    C: CacheClassifier<Response, Error> + Clone + Send + 'static,
    R: Refresh<Request> + Clone + Send + 'static,
{
    fn limits(&self) -> Option<CacheLimits> {
        Some(self.limits)
    }

    fn refreshes(&self, request: &Request) -> bool {
        self.refresh.refreshes(request)
    }

    fn is_cacheable(&self, result: &Result<Response, Error>) -> bool {
        self.classify.classify(result) == Outcome::Success
    }
}

/// Selects the cached results.
///
/// ```compile_fail,E0277
/// # use std::time::Duration;
/// # use tower::{Layer, service_fn, util::BoxCloneSyncService};
/// # use tower_keep::{BoxError, Classify, DedupLayer, Outcome};
/// #[derive(Clone)]
/// struct OfTexts;
///
/// impl Classify<String, BoxError> for OfTexts {
///     fn classify(&self, _: &Result<String, BoxError>) -> Outcome {
///         Outcome::Success
///     }
/// }
///
/// let key = |request: &u32| Some(*request);
/// let dedup = DedupLayer::new(key).join().cache(Duration::from_secs(1)).classify(OfTexts);
/// let service = dedup.layer(service_fn(|request: u32| async move { Ok::<u32, BoxError>(request) }));
/// BoxCloneSyncService::<u32, u32, BoxError>::new(service);
/// ```
#[diagnostic::on_unimplemented(
    message = "the classifier of the cache does not accept the service's results, `&Result<{Response}, {Error}>`",
    label = "classifies the results of another service",
    note = "the classifier given to `DedupLayer::classify` has to be `Classify<{Response}, {Error}>`"
)]
pub trait CacheClassifier<Response, Error>: Classify<Response, Error> {}

#[diagnostic::do_not_recommend]
impl<C: Classify<Response, Error>, Response, Error> CacheClassifier<Response, Error> for C {}

/// Selects the requests that are executed despite a cached result.
pub trait Refresh<Request> {
    /// Whether this request is executed despite a cached result.
    fn refreshes(&self, request: &Request) -> bool;
}

/// A cached result answers every call. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct NeverRefresh;

impl<Request> Refresh<Request> for NeverRefresh {
    #[inline(always)]
    fn refreshes(&self, _: &Request) -> bool {
        false
    }
}

/// A closure selects the calls that are executed despite a cached result.
#[derive(Clone, Copy)]
pub struct RefreshIf<F>(pub(super) F);

impl<F, Request> Refresh<Request> for RefreshIf<F>
where
    F: Fn(&Request) -> bool,
{
    #[inline(always)]
    fn refreshes(&self, request: &Request) -> bool {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for RefreshIf<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshIf").finish_non_exhaustive()
    }
}
