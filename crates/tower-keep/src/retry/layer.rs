//! `RetryLayer`: presets, number of retries, backoff, jitter, budget and total time.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    backoff::{Backoff, Jitter},
    budget::RetryBudget,
    hooks::HookSet,
    policy::OnError,
    settings::{RetrySettings, Seeds},
};
use crate::unshare::Unshare;

mod decisions;
mod hooks;

/// Retries failed calls. In production, begin with [`RetryLayer::for_clients`].
///
/// ```
/// use tower_keep::{RetryLayer, retry::Backoff};
///
/// // Jitter, short waits, and a budget of 20 %: for a client that calls a service over a network.
/// let production = RetryLayer::for_clients();
/// // Exactly 1, 2 and 4 s, no budget: for tests, and as a base for your own settings.
/// let plain = RetryLayer::new();
/// # let _ = (production, plain);
/// ```
///
/// [`new`](Self::new) has neither jitter nor budget, so its waits are exact. Without jitter,
/// clients that failed together return together. Without a budget, a service that fails every call
/// gets four times its load.
///
/// See the [module](super) for how the settings interact.
///
/// # In a struct
///
/// `RetryLayer` without parameters is the type of a layer with the default policy. The type of a
/// closure has no name. For a layer with closures, use a type parameter or `impl Layer<S>`, or
/// store a boxed service.
///
/// ```
/// use http::{Request, Response};
/// use tower::{Layer, util::BoxCloneSyncService, service_fn};
/// use tower_keep::{BoxError, RetryLayer};
///
/// struct Defaults {
///     retry: RetryLayer,
/// }
///
/// struct Client<L> {
///     retry: L,
/// }
///
/// struct Boxed {
///     service: BoxCloneSyncService<Request<String>, Response<String>, BoxError>,
/// }
///
/// fn gets() -> impl Layer<(), Service: Send> + Clone {
///     RetryLayer::for_clients().clone_with(|request: &Request<String>| {
///         request.method().is_safe().then(|| request.clone())
///     })
/// }
///
/// let defaults = Defaults { retry: RetryLayer::for_clients().max_retries(2) };
/// let client = Client { retry: gets() };
/// let echo = service_fn(|request: Request<String>| async {
///     Ok::<_, BoxError>(Response::new(request.into_body()))
/// });
/// let boxed = Boxed { service: BoxCloneSyncService::new(defaults.retry.layer(echo)) };
/// # let _ = (client.retry, boxed.service);
/// ```
///
/// `P` is the policy, `X` the optional hooks.
#[derive(Clone)]
pub struct RetryLayer<P = OnError, X = HookSet> {
    pub(crate) settings: RetrySettings,
    pub(crate) policy: P,
    pub(crate) hooks: X,
}

impl RetryLayer {
    /// Retries every error three times, after exactly 1, 2 and 4 s, without jitter or a budget.
    ///
    /// For production, use [`for_clients`](Self::for_clients).
    #[must_use]
    pub const fn new() -> Self {
        let backoff = Backoff::exponential(Duration::from_secs(1)).with_default_base();
        Self::with(3, backoff)
    }

    /// The production preset for a client whose caller waits.
    ///
    /// | sets | to | because |
    /// |---|---|---|
    /// | [`max_retries`](Self::max_retries) | 3 | |
    /// | [`base_delay`](Self::base_delay) | 100 ms | a caller waits |
    /// | [`max_delay`](Self::max_delay) | 20 s | as in the standard mode of the AWS SDKs |
    /// | [`jitter`](Self::jitter) | [`Full`](Jitter::Full) | clients that failed together do not return together |
    /// | [`budget`](Self::budget) | a new one: 20 % of the first attempts, at least 30 retries in 10 s | retries must not multiply the load of a failing service; a client with few calls can still use all retries of ten calls |
    ///
    /// The waits are thus up to 100, 200 and 400 ms. Clones of the layer share the budget. Several
    /// layers that call the same service can share one through [`budget`](Self::budget).
    #[must_use]
    pub fn for_clients() -> Self {
        let backoff = Backoff::exponential(Duration::from_millis(100))
            .max_delay(Duration::from_secs(20))
            .jitter(Jitter::Full);
        Self::with(3, backoff).budget(RetryBudget::default().floor(30))
    }

    /// The preset for background work, where late is better than lost.
    ///
    /// | sets | to | because |
    /// |---|---|---|
    /// | [`max_retries`](Self::max_retries) | 8 | no caller waits |
    /// | [`base_delay`](Self::base_delay) | 1 s | |
    /// | [`max_delay`](Self::max_delay) | 60 s | all waits together are at most 5.7 min |
    /// | [`jitter`](Self::jitter) | [`Decorrelated`](Jitter::Decorrelated) | clients that failed together do not return together |
    ///
    /// It sets no budget: an empty budget would end the retries at once, and background work should
    /// continue. If such work is a large share of a service's load, add a [`budget`](Self::budget).
    #[must_use]
    pub const fn for_background() -> Self {
        let backoff = Backoff::exponential(Duration::from_secs(1))
            .max_delay(Duration::from_secs(60))
            .jitter(Jitter::Decorrelated);
        Self::with(8, backoff)
    }

    const fn with(max_retries: u32, backoff: Backoff) -> Self {
        Self {
            settings: RetrySettings::new(max_retries, backoff),
            policy: OnError,
            hooks: HookSet::DEFAULT,
        }
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<P, X> Unshare for RetryLayer<P, X> {
    fn is_shared(&self) -> bool {
        self.settings.is_shared()
    }

    fn renew(&mut self) {
        self.settings.renew();
    }
}

/// Number of retries, delays and budget.
impl<P, X> RetryLayer<P, X> {
    /// Maximum number of retries after the first attempt. Default: 3, that is 4 attempts.
    #[must_use]
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.settings.unshare();
        self.settings.max_retries = max_retries;
        self
    }

    /// The backoff strategy and its base delay. Default: exponential from 1 s.
    ///
    /// The layer's [`max_delay`](Self::max_delay) and [`jitter`](Self::jitter) apply to it, in
    /// whatever order the three are set.
    ///
    /// # Panics
    ///
    /// - If [`max_delay`](Self::max_delay) was set below the base delay of this backoff.
    /// - If this backoff is not exponential and the jitter is
    ///   [`Decorrelated`](Jitter::Decorrelated), as in
    ///   [`for_background`](RetryLayer::for_background). That jitter replaces the strategy, so set
    ///   another [`jitter`](Self::jitter) first.
    #[must_use]
    #[track_caller]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.unshare();
        self.settings.backoff = backoff.within(&self.settings.backoff);
        self
    }

    /// The base delay of the [`backoff`](Self::backoff). For an exponential backoff, it is the
    /// first wait. Default: 1 s.
    ///
    /// # Panics
    ///
    /// If [`max_delay`](Self::max_delay) was set below this base delay.
    #[must_use]
    #[track_caller]
    pub fn base_delay(mut self, base_delay: Duration) -> Self {
        self.settings.unshare();
        self.settings.backoff = self.settings.backoff.base_delay(base_delay);
        self
    }

    /// The longest wait of the backoff. Default: 30 s, or the base delay if that is longer.
    ///
    /// Delays that the service requests have their own limit,
    /// [`max_requested_delay`](Self::max_requested_delay).
    ///
    /// # Panics
    ///
    /// If it is below a base delay that was set.
    #[must_use]
    #[track_caller]
    pub fn max_delay(mut self, max_delay: Duration) -> Self {
        self.settings.unshare();
        self.settings.backoff = self.settings.backoff.max_delay(max_delay);
        self
    }

    /// The longest delay that the service may request, as with HTTP's `Retry-After`. Default: 60 s.
    ///
    /// If the service requests more, the retry gives up at once and returns the outcome unchanged.
    /// The reason is [`AskedTooLong`](crate::GiveUpReason::AskedTooLong). An earlier retry would
    /// only be rejected again. To retry nevertheless, set
    /// [`clamp_requested_delay`](Self::clamp_requested_delay).
    #[must_use]
    pub fn max_requested_delay(mut self, max_requested_delay: Duration) -> Self {
        self.settings.unshare();
        self.settings.max_requested_delay = max_requested_delay;
        self
    }

    /// Shortens a requested delay to [`max_requested_delay`](Self::max_requested_delay), so the
    /// retry comes earlier than the service requested. Default: the retry gives up.
    #[must_use]
    pub fn clamp_requested_delay(mut self) -> Self {
        self.settings.unshare();
        self.settings.clamps_requested_delay = true;
        self
    }

    /// The jitter of the [`backoff`](Self::backoff): how each wait is randomized. Default: none.
    ///
    /// # Panics
    ///
    /// If it is [`Decorrelated`](Jitter::Decorrelated), which replaces the strategy, and the
    /// backoff is not exponential.
    #[must_use]
    #[track_caller]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.settings.unshare();
        self.settings.backoff = self.settings.backoff.with_jitter(jitter);
        self
    }

    /// Makes jitter repeatable, for tests. Default: the operating system seeds each call.
    ///
    /// The seed gives a sequence of random generators. The nth call that waits with jitter uses the
    /// nth generator. Clones and services of the layer share the sequence. A setter on a layer that
    /// already has clones or services restarts the sequence.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.unshare();
        self.settings.seeds = Some(Arc::new(Seeds::new(seed)));
        self
    }

    /// The time for all attempts and waits, from the start of the call. Default: none.
    ///
    /// The retry gives up at once if the next attempt could not begin within this time. It does not
    /// end a running attempt; [`TimeoutLayer`](crate::timeout) does.
    #[must_use]
    pub fn max_total_time(mut self, max_total_time: Duration) -> Self {
        self.settings.unshare();
        self.settings.max_total_time = Some(max_total_time);
        self
    }

    /// When this retry gives up, outer retries give up too. Default: each retry decides by itself.
    ///
    /// This keeps nested retries from multiplying: three retries inside three retries make 4
    /// attempts rather than 16.
    ///
    /// Outer retries are the retries of the same stack, and the retries of tracked jobs whose code
    /// made this call. Such a job makes no further attempt, even if its code handles this failure
    /// and later fails for another reason.
    ///
    /// ```
    /// use std::{cell::Cell, rc::Rc};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_keep::{BoxError, RetryLayer};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let calls = Rc::new(Cell::new(0));
    /// let counted = Rc::clone(&calls);
    /// let broken = service_fn(move |(): ()| {
    ///     counted.set(counted.get() + 1);
    ///     async { Err::<(), BoxError>("broken".into()) }
    /// });
    /// let inner = RetryLayer::new().stop_outer_retries().layer(broken);
    /// let stack = RetryLayer::new().layer(inner);
    /// stack.oneshot(()).await.unwrap_err();
    /// assert_eq!(calls.get(), 4);
    /// # });
    /// ```
    #[must_use]
    pub fn stop_outer_retries(mut self) -> Self {
        self.settings.unshare();
        self.settings.stops_outer_retries = true;
        self
    }

    /// Limits retries to a share of the calls. All layers with this budget share it. Default: none.
    #[must_use]
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.settings.unshare();
        self.settings.budget = Some(budget);
        self
    }

    /// The longest possible sum of all backoff waits, if every retry is used.
    ///
    /// For [`Decorrelated`](Jitter::Decorrelated) jitter, the sum contains the longest waits. Other
    /// jitter only shortens waits. For a custom strategy, the sum contains the waits without
    /// jitter. It does not include delays that a service requests.
    #[must_use]
    pub fn total_delay(&self) -> Duration {
        self.settings.total_delay()
    }
}

impl<P, X> fmt::Debug for RetryLayer<P, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.settings;
        f.debug_struct("RetryLayer")
            .field("max_retries", &settings.max_retries)
            .field("backoff", &settings.backoff)
            .field("max_total_time", &settings.max_total_time)
            .field("max_requested_delay", &settings.max_requested_delay)
            .field("clamps_requested_delay", &settings.clamps_requested_delay)
            .field("stops_outer_retries", &settings.stops_outer_retries)
            .field("budget", &settings.budget)
            .finish_non_exhaustive()
    }
}
