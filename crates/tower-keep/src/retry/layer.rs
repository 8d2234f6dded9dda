//! The layer and its settings: how often it retries, and when.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    backoff::{Backoff, Jitter},
    before_attempt::AsItIs,
    budgets::OneBudget,
    give_up::KeepOutcome,
    handle::RetryBudget,
    policy::OnError,
    request::ByClone,
    retries::FixedRetries,
    settings::{Seeds, Settings},
};
use crate::unshare::Unshare;

/// The layer with one part replaced by the argument of that name, which may be of another type, and state of its own; the
/// rest is listed because a struct cannot be rebuilt around it.
macro_rules! with {
    ($layer:ident, $part:ident; $($rest:ident),+) => {
        RetryLayer {
            settings: $layer.settings.unshared(),
            $part,
            $($rest: $layer.$rest,)+
        }
    };
}

// They use the macro.
mod decisions;
mod hooks;

/// Tries again after a failure.
///
/// See the [module](super) for what the settings do together.
///
/// `P` decides, `C` repeats the request, `H` sees the last outcome, `B` chooses the budget and `N` the number of
/// retries, `A` changes the request before each attempt.
#[derive(Clone)]
pub struct RetryLayer<
    P = OnError,
    C = ByClone,
    H = KeepOutcome,
    B = OneBudget,
    N = FixedRetries,
    A = AsItIs,
> {
    pub(crate) settings: Settings,
    pub(super) policy: P,
    pub(super) clone_request: C,
    pub(super) on_give_up: H,
    pub(super) choose_budget: B,
    pub(super) choose_retries: N,
    pub(super) before_attempt: A,
}

impl RetryLayer {
    /// Three retries after 1, 2 and 4 s, of every error.
    #[must_use]
    pub const fn new() -> Self {
        let backoff = Backoff::exponential(Duration::from_secs(1)).with_default_base();
        Self::with(3, backoff)
    }

    /// For a client that somebody waits for: three retries, each after anything up to 100, 200 and 400 ms.
    ///
    /// Exponential with full jitter, capped at 20 s, as the AWS SDKs' standard mode (there from 50 ms or 1 s). For a
    /// client that makes many calls add a [`budget`](Self::budget).
    #[must_use]
    pub const fn for_clients() -> Self {
        let backoff = Backoff::exponential(Duration::from_millis(100))
            .max_delay(Duration::from_secs(20))
            .jitter(Jitter::Full);
        Self::with(3, backoff)
    }

    /// For work in the background, which had rather be late than lost: eight retries, decorrelated from 1 s, capped
    /// at 60 s.
    ///
    /// The walk is that of Marc Brooker's "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). All waits
    /// together are 5.7 min at most.
    #[must_use]
    pub const fn for_background() -> Self {
        let backoff =
            Backoff::decorrelated(Duration::from_secs(1)).max_delay(Duration::from_secs(60));
        Self::with(8, backoff)
    }

    const fn with(max_retries: u32, backoff: Backoff) -> Self {
        Self {
            settings: Settings::new(max_retries, backoff),
            policy: OnError,
            clone_request: ByClone,
            on_give_up: KeepOutcome,
            choose_budget: OneBudget,
            choose_retries: FixedRetries,
            before_attempt: AsItIs,
        }
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<P, C, H, B, N, A> Unshare for RetryLayer<P, C, H, B, N, A> {
    fn is_shared(&self) -> bool {
        self.settings.is_shared()
    }

    fn renew(&mut self) {
        self.settings.renew();
    }
}

/// How often, and when.
impl<P, C, H, B, N, A> RetryLayer<P, C, H, B, N, A> {
    /// How many retries may follow the first attempt. Default: 3, which makes 4 attempts.
    #[must_use]
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.settings.unshare();
        self.settings.max_retries = max_retries;
        self
    }

    /// How long to wait before each retry: the whole of it, with its base, cap and jitter. Default: exponential from
    /// 1 s, at most 30 s, without jitter.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.unshare();
        self.settings.backoff = backoff;
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

    /// What chance does to each wait of the [`backoff`](Self::backoff). Default: nothing.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.settings.unshare();
        self.settings.backoff.jitter = jitter;
        self
    }

    /// Makes jitter repeatable, for tests: the nth call that comes to wait by chance has the nth of the generators
    /// that this seed gives. The layer's clones and services count together; a setter on a layer that has any begins
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

    /// The most that all waits can sum up to, if every retry is used: jitter only shortens them, except that a
    /// decorrelated walk counts with its longest steps. Of a strategy of one's own it is what that computes without
    /// jitter. Delays that a service asks for are not in it.
    #[must_use]
    pub fn total_delay(&self) -> Duration {
        self.settings.total_delay()
    }
}

impl<P, C, H, B, N, A> fmt::Debug for RetryLayer<P, C, H, B, N, A> {
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
