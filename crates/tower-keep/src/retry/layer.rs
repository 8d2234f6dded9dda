//! The layer and its settings: how often it retries, and when.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    backoff::{Backoff, Jitter},
    budget::RetryBudget,
    hooks::HookSet,
    policy::OnError,
    settings::{Seeds, Settings},
};
use crate::unshare::Unshare;

mod decisions;
mod hooks;

/// Tries again after a failure. In production begin with [`RetryLayer::for_clients`].
///
/// ```
/// use tower_keep::{RetryLayer, retry::Backoff};
///
/// // Jitter, short waits, and a budget of 20 %: for a client that calls a service over a network.
/// let production = RetryLayer::for_clients();
/// // 1, 2 and 4 s to the millisecond, without a budget: for tests, and as a base for settings of your own.
/// let plain = RetryLayer::new();
/// # let _ = (production, plain);
/// ```
///
/// Without jitter, clients that failed together come back together. Without a budget, a service where everything fails
/// gets four times its load. [`new`](Self::new) has neither, so that its waits are exact.
///
/// See the [module](super) for what the settings do together.
///
/// # In a struct
///
/// `RetryLayer` alone is the type of a layer with the default policy. Closures have types without a name: keep a
/// configured layer or service behind a type parameter, as `impl Layer<S>`, or boxed.
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
/// `P` is the policy, `X` the rare hooks.
#[derive(Clone)]
pub struct RetryLayer<P = OnError, X = HookSet> {
    pub(crate) settings: Settings,
    pub(super) policy: P,
    pub(super) hooks: X,
}

impl RetryLayer {
    /// Three retries of every error, after exactly 1, 2 and 4 s: no jitter, no budget.
    ///
    /// For production there is [`for_clients`](Self::for_clients).
    #[must_use]
    pub const fn new() -> Self {
        let backoff = Backoff::exponential(Duration::from_secs(1)).with_default_base();
        Self::with(3, backoff)
    }

    /// The production preset for a client with a caller who waits.
    ///
    /// | sets | to | because |
    /// |---|---|---|
    /// | [`max_retries`](Self::max_retries) | 3 | |
    /// | [`base_delay`](Self::base_delay) | 100 ms | a caller waits |
    /// | [`max_delay`](Self::max_delay) | 20 s | as the standard mode of the AWS SDKs |
    /// | [`jitter`](Self::jitter) | [`Full`](Jitter::Full) | clients that failed together do not come back together |
    /// | [`budget`](Self::budget) | a new one: 20 % of the first attempts, at least 30 retries in 10 s | retries must not multiply the load of a service that fails; a client with few calls still gets the retries of ten of them |
    ///
    /// So the waits are up to 100, 200 and 400 ms. Clones of the layer share the budget; several layers that call one
    /// service share one by [`budget`](Self::budget).
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
    /// | [`max_retries`](Self::max_retries) | 8 | nobody waits |
    /// | [`base_delay`](Self::base_delay) | 1 s | |
    /// | [`max_delay`](Self::max_delay) | 60 s | all waits together are at most 5.7 min |
    /// | [`jitter`](Self::jitter) | [`Decorrelated`](Jitter::Decorrelated) | clients that failed together do not come back together |
    ///
    /// It sets no budget: an empty budget gives a job up at once, and here it is to go on. Where such work is a large
    /// share of a service's load, add a [`budget`](Self::budget).
    #[must_use]
    pub const fn for_background() -> Self {
        let backoff = Backoff::exponential(Duration::from_secs(1))
            .max_delay(Duration::from_secs(60))
            .jitter(Jitter::Decorrelated);
        Self::with(8, backoff)
    }

    const fn with(max_retries: u32, backoff: Backoff) -> Self {
        Self {
            settings: Settings::new(max_retries, backoff),
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

/// How often, and when.
impl<P, X> RetryLayer<P, X> {
    /// How many retries may follow the first attempt. Default: 3, which makes 4 attempts.
    #[must_use]
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.settings.unshare();
        self.settings.max_retries = max_retries;
        self
    }

    /// How the wait grows from retry to retry, and from which base. Default: exponential from 1 s.
    ///
    /// The [`max_delay`](Self::max_delay) and the [`jitter`](Self::jitter) of the layer hold for it, whichever is set
    /// first.
    ///
    /// # Panics
    ///
    /// If [`max_delay`](Self::max_delay) was set to less than the base of this backoff, or if it is not exponential and the
    /// jitter is [`Decorrelated`](Jitter::Decorrelated), as in [`for_background`](RetryLayer::for_background): that takes
    /// the place of the strategy. Set another [`jitter`](Self::jitter) first.
    #[must_use]
    #[track_caller]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.unshare();
        self.settings.backoff = backoff.within(&self.settings.backoff);
        self
    }

    /// What the [`backoff`](Self::backoff) starts from: its first wait, where it is exponential. Default: 1 s.
    ///
    /// # Panics
    ///
    /// If [`max_delay`](Self::max_delay) was set to less.
    #[must_use]
    #[track_caller]
    pub fn base_delay(mut self, base_delay: Duration) -> Self {
        self.settings.unshare();
        self.settings.backoff = self.settings.backoff.base_delay(base_delay);
        self
    }

    /// No wait of the backoff is longer than this. Default: 30 s, or the base delay if that is
    /// longer.
    ///
    /// What the service asks for has a limit of its own,
    /// [`max_requested_delay`](Self::max_requested_delay).
    ///
    /// # Panics
    ///
    /// If it is less than the base delay that was set.
    #[must_use]
    #[track_caller]
    pub fn max_delay(mut self, max_delay: Duration) -> Self {
        self.settings.unshare();
        self.settings.backoff = self.settings.backoff.max_delay(max_delay);
        self
    }

    /// The longest wait that the service may ask for, as by HTTP's `Retry-After`. Default: 60 s.
    ///
    /// Where it asks for more, the retry gives up at once with the outcome unchanged, and the reason
    /// is [`AskedTooLong`](crate::GiveUpReason::AskedTooLong): coming back earlier would only be
    /// turned away again. [`clamp_requested_delay`](Self::clamp_requested_delay) comes back all the
    /// same.
    #[must_use]
    pub fn max_requested_delay(mut self, max_requested_delay: Duration) -> Self {
        self.settings.unshare();
        self.settings.max_requested_delay = max_requested_delay;
        self
    }

    /// Waits for [`max_requested_delay`](Self::max_requested_delay) where the service asks for
    /// more, and so comes back earlier than it was asked to. Default: the retry gives up.
    #[must_use]
    pub fn clamp_requested_delay(mut self) -> Self {
        self.settings.unshare();
        self.settings.clamps_requested_delay = true;
        self
    }

    /// How each wait of the [`backoff`](Self::backoff) is randomized. Default: not at all.
    ///
    /// # Panics
    ///
    /// If it is [`Decorrelated`](Jitter::Decorrelated) and the backoff is not exponential, of which it would leave nothing.
    #[must_use]
    #[track_caller]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.settings.unshare();
        self.settings.backoff = self.settings.backoff.with_jitter(jitter);
        self
    }

    /// Makes jitter repeatable, for tests: the nth call that waits with jitter has the nth of the generators that this
    /// seed gives. The layer's clones and services count together; a setter on a layer that has any begins
    /// with the first generator again. Default: each call has one of its own, seeded by the operating system.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.unshare();
        self.settings.seeds = Some(Arc::new(Seeds::new(seed)));
        self
    }

    /// The time for all attempts and waits, from the call on: a retry that could not begin within it is given up at
    /// once. It ends no attempt that runs; for that there is [`TimeoutLayer`](crate::timeout). Default: none.
    #[must_use]
    pub fn max_total_time(mut self, max_total_time: Duration) -> Self {
        self.settings.unshare();
        self.settings.max_total_time = Some(max_total_time);
        self
    }

    /// When this retry gives up, the retries around it give up too, so that nested retries do not
    /// multiply: three retries inside three retries make 4 attempts rather than 16.
    ///
    /// The retries around it are those of the same stack, and those of the jobs whose code made
    /// this call, if a layer tracks these jobs. From then on these jobs make no other attempt, also
    /// where their code survives this failure and fails later for another reason. Default: each
    /// retry decides by itself.
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

    /// Bounds the retries to a share of the calls, together with the other layers that have this budget. Default: none.
    #[must_use]
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.settings.unshare();
        self.settings.budget = Some(budget);
        self
    }

    /// The most that all waits can sum up to, if every retry is used: jitter only shortens them, except that
    /// [`Decorrelated`](Jitter::Decorrelated) jitter counts with its longest waits. Of a custom strategy it is what that
    /// computes without jitter. Delays that a service asks for are not in it.
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
