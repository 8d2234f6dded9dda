use std::{fmt, sync::Arc, time::Duration};

use super::{
    backoff::{Backoff, Jitter},
    handle::RetryBudget,
    policy::{Attempt, Decision, ErrorsIf, OnClass, OnError},
    request::{ByClone, CloneRequest, CloneWith},
    settings::{Seeds, Settings},
};
use crate::classify::{Classify, WithRetryAfter};

/// Tries again after a failure.
///
/// See the [module](super) for what the settings do together.
#[derive(Clone)]
pub struct RetryLayer<P = OnError, C = ByClone> {
    pub(super) settings: Settings,
    pub(super) policy: P,
    pub(super) clone_request: C,
}

impl RetryLayer {
    /// Three retries after 1, 2 and 4 s, of every error.
    #[must_use]
    pub const fn new() -> Self {
        Self::with(3, Backoff::exponential(Duration::from_secs(1)))
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
        }
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

/// How often, and when.
impl<P, C> RetryLayer<P, C> {
    /// How many retries may follow the first attempt. Default: 3, which makes 4 attempts.
    #[must_use]
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.settings.max_retries = max_retries;
        self
    }

    /// How long to wait before each retry: the whole of it, with its base, cap and jitter. Default: exponential from
    /// 1 s, at most 30 s, without jitter.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// What the [`backoff`](Self::backoff) starts from: its first wait, where it is exponential. Default: 1 s.
    #[must_use]
    pub fn base_delay(mut self, base_delay: Duration) -> Self {
        self.settings.backoff.base = base_delay;
        self
    }

    /// No wait is longer than this, not even one that a server asked for. Default: 30 s.
    #[must_use]
    pub fn max_delay(mut self, max_delay: Duration) -> Self {
        self.settings.backoff.max = max_delay;
        self
    }

    /// What chance does to each wait of the [`backoff`](Self::backoff). Default: nothing.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.settings.backoff.jitter = jitter;
        self
    }

    /// Makes jitter repeatable, for tests: the nth call that comes to wait by chance has the nth of the generators
    /// that this seed gives. Default: each call has one of its own, seeded by the operating system.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seeds = Some(Arc::new(Seeds::new(seed)));
        self
    }

    /// The time for all attempts and waits, from the call on: a retry that could not begin within it is given up at
    /// once. It ends no attempt that runs; for that there is [`TimeoutLayer`](crate::timeout). Default: none.
    #[must_use]
    pub fn max_total_time(mut self, max_total_time: Duration) -> Self {
        self.settings.max_total_time = Some(max_total_time);
        self
    }

    /// Bounds the retries to a share of the calls, together with the other layers that have this budget. Default: none.
    #[must_use]
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.settings.budget = Some(budget);
        self
    }

    /// The most that all waits can sum up to, if every retry is used: jitter only shortens them, except that a
    /// decorrelated walk counts with its longest steps. Of a strategy of one's own it is what that computes without
    /// jitter. Delays that a service asks for are not in it.
    #[must_use]
    pub fn total_delay(&self) -> Duration {
        self.settings.backoff.total(self.settings.max_retries)
    }

    /// How many of the retries have waits that sum up to less than `limit`.
    #[cfg(feature = "pipeline")]
    pub(crate) fn fitting_retries(&self, limit: Duration) -> u32 {
        self.settings
            .backoff
            .fitting(self.settings.max_retries, limit)
    }
}

/// What to retry. Of `should_retry`, `classify`, `decide_with` and `policy` the last one called decides.
impl<P, C> RetryLayer<P, C> {
    /// Which errors to retry. Default: all of them.
    #[must_use]
    pub fn should_retry<F, Error>(self, should_retry: F) -> RetryLayer<ErrorsIf<F>, C>
    where
        F: Fn(&Error) -> bool,
    {
        self.policy(ErrorsIf(should_retry))
    }

    /// Retries what this classifier calls a failure, so that a response can be retried too, and waits as long as its
    /// [`retry_after`](Classify::retry_after) says.
    #[must_use]
    pub fn classify<D, Response, Error>(self, classify: D) -> RetryLayer<OnClass<D>, C>
    where
        D: Classify<Response, Error>,
    {
        self.policy(OnClass(classify))
    }

    /// Decides by a closure that sees the outcome, the attempt and its job, and says whether and when to try again.
    ///
    /// ```
    /// use std::{io, time::Duration};
    /// use tower_keep::{RetryLayer, retry::Decision};
    ///
    /// let retry = RetryLayer::new().decide_with(|result: &Result<u32, io::Error>, attempt| match result {
    ///     Ok(_) => Decision::Stop,
    ///     // Another try soon, but only one.
    ///     Err(error) if error.kind() == io::ErrorKind::TimedOut && attempt.number() == 1 => {
    ///         Decision::RetryAfter(Duration::from_millis(10))
    ///     }
    ///     Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Decision::Never,
    ///     Err(_) => Decision::Retry,
    /// });
    /// ```
    #[must_use]
    pub fn decide_with<F, Response, Error>(self, decide: F) -> RetryLayer<F, C>
    where
        F: Fn(&Result<Response, Error>, &Attempt<'_>) -> Decision,
    {
        self.policy(decide)
    }

    /// Decides by a [`Policy`](super::Policy) of one's own.
    #[must_use]
    pub fn policy<Q>(self, policy: Q) -> RetryLayer<Q, C> {
        RetryLayer {
            settings: self.settings,
            policy,
            clone_request: self.clone_request,
        }
    }

    /// How long the service asks to be left alone before a retry, as by HTTP's `Retry-After`; `None` leaves it to the
    /// backoff. Clamped to `max_delay`. Asked where the policy set so far says to retry, so call it after that.
    #[must_use]
    pub fn retry_after<F, Response, Error>(
        self,
        retry_after: F,
    ) -> RetryLayer<WithRetryAfter<P, F>, C>
    where
        F: Fn(&Result<Response, Error>) -> Option<Duration>,
    {
        RetryLayer {
            settings: self.settings,
            policy: WithRetryAfter {
                classify: self.policy,
                retry_after,
            },
            clone_request: self.clone_request,
        }
    }

    /// How to repeat a request that is not `Clone`; what gives `None` is tried once. A path will do, such as
    /// `reqwest::Request::try_clone`.
    #[must_use]
    pub fn clone_with<F, Request>(self, clone: F) -> RetryLayer<P, CloneWith<F>>
    where
        F: Fn(&Request) -> Option<Request>,
        CloneWith<F>: CloneRequest<Request>,
    {
        RetryLayer {
            settings: self.settings,
            policy: self.policy,
            clone_request: CloneWith(clone),
        }
    }
}

impl<P, C> fmt::Debug for RetryLayer<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.settings;
        f.debug_struct("RetryLayer")
            .field("max_retries", &settings.max_retries)
            .field("backoff", &settings.backoff)
            .field("max_total_time", &settings.max_total_time)
            .field("budget", &settings.budget)
            .finish_non_exhaustive()
    }
}
