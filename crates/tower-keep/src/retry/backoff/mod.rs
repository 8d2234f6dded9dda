//! How long to wait. Pure: no clock, and chance comes from a generator that the caller hands in.

use std::{fmt, sync::Arc, time::Duration};

use fastrand::Rng;

/// How long to wait before each retry: a strategy, a cap, and jitter.
///
/// Retry `n`, counted from 0, comes after the strategy's delay, jittered, and never after more than
/// [`max_delay`](Self::max_delay): the cap comes last, whatever the strategy and the jitter, for every `n`.
///
/// | strategy | delay | with a base of 1 s |
/// |---|---|---|
/// | [`exponential`](Self::exponential), the default | `base * 2^n` | 1, 2, 4, 8 s |
/// | [`constant`](Self::constant) | `base` | 1, 1, 1, 1 s |
/// | [`linear`](Self::linear) | `base * (n + 1)` | 1, 2, 3, 4 s |
/// | [`decorrelated`](Self::decorrelated) | by chance, from `base` to three times the delay before | 1 to 3 s, then to 9 s at most |
/// | [`custom`](Self::custom) | one's own | |
///
/// ```
/// use std::time::Duration;
/// use tower_keep::{RetryLayer, retry::{Backoff, Jitter}};
///
/// let backoff = Backoff::linear(Duration::from_millis(200))
///     .max_delay(Duration::from_secs(5))
///     .jitter(Jitter::Equal);
/// let retry = RetryLayer::new().backoff(backoff);
///
/// // Any function of the retry's number is a strategy.
/// let squares = Backoff::custom(|n: u32| Duration::from_secs(u64::from(n).pow(2)));
/// ```
#[derive(Clone)]
pub struct Backoff {
    pub(super) strategy: Growth,
    pub(super) base: Duration,
    /// Whether the base was set, rather than being a default that a cap may cut.
    is_base_set: bool,
    max: Option<Duration>,
    pub(super) jitter: Jitter,
}

/// The cap where none is set and the base is not longer.
const MAX_DELAY: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(super) enum Growth {
    Exponential,
    Constant,
    Linear,
    Custom(Arc<dyn BackoffStrategy>),
}

/// What chance does to a delay, so that clients that failed together do not come back together.
///
/// The kinds are those of Marc Brooker's "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Jitter {
    /// Nothing. The default.
    #[default]
    None,
    /// Anything from nothing to the delay. Spreads the most.
    Full,
    /// Half of the delay for certain, and anything up to the other half.
    Equal,
    /// Anything from the base delay to three times the wait before it. This walk takes the place of the strategy.
    Decorrelated,
}

/// A backoff strategy of one's own, for [`Backoff::custom`].
///
/// Any `Fn(u32) -> Duration` of the retry's number is one.
pub trait BackoffStrategy: Send + Sync {
    /// The delay before retry `retry`, counted from 0, before jitter and the cap. `previous` is the wait that the
    /// backoff gave before it in the same call.
    fn delay(&self, retry: u32, base: Duration, previous: Option<Duration>) -> Duration;
}

impl<F> BackoffStrategy for F
where
    F: Fn(u32) -> Duration + Send + Sync,
{
    fn delay(&self, retry: u32, _: Duration, _: Option<Duration>) -> Duration {
        self(retry)
    }
}

impl Backoff {
    const fn with(strategy: Growth, base: Duration) -> Self {
        Self {
            strategy,
            base,
            is_base_set: true,
            max: None,
            jitter: Jitter::None,
        }
    }

    /// With a base that was not asked for.
    pub(super) const fn with_default_base(mut self) -> Self {
        self.is_base_set = false;
        self
    }

    /// Doubles with each retry, from `base`.
    #[must_use]
    pub const fn exponential(base: Duration) -> Self {
        Self::with(Growth::Exponential, base)
    }

    /// Always the same.
    #[must_use]
    pub const fn constant(delay: Duration) -> Self {
        Self::with(Growth::Constant, delay)
    }

    /// Grows by `base` with each retry, from `base`.
    #[must_use]
    pub const fn linear(base: Duration) -> Self {
        Self::with(Growth::Linear, base)
    }

    /// A random walk: each delay is between `base` and three times the one before. Grows about as an exponential one
    /// does, and spreads from the first retry on.
    #[must_use]
    pub const fn decorrelated(base: Duration) -> Self {
        let mut backoff = Self::with(Growth::Exponential, base);
        backoff.jitter = Jitter::Decorrelated;
        backoff
    }

    /// By a strategy of one's own, with a base of 1 s.
    #[must_use]
    pub fn custom(strategy: impl BackoffStrategy + 'static) -> Self {
        Self::with(Growth::Custom(Arc::new(strategy)), Duration::from_secs(1)).with_default_base()
    }

    /// What the strategy starts from.
    ///
    /// # Panics
    ///
    /// If [`max_delay`](Self::max_delay) was set to less.
    #[must_use]
    #[track_caller]
    pub const fn base_delay(mut self, base: Duration) -> Self {
        self.base = base;
        self.is_base_set = true;
        self.check();
        self
    }

    /// No wait of the backoff is longer than this. Default: 30 s, or the base if that is longer.
    ///
    /// # Panics
    ///
    /// If it is less than the base delay that was set.
    #[must_use]
    #[track_caller]
    pub const fn max_delay(mut self, max: Duration) -> Self {
        self.max = Some(max);
        self.check();
        self
    }

    #[track_caller]
    const fn check(&self) {
        if let Some(max) = self.max {
            assert!(
                !self.is_base_set || self.base.as_nanos() <= max.as_nanos(),
                "max_delay is shorter than base_delay, so that every wait would be max_delay: set max_delay to at least \
                 base_delay"
            );
        }
    }

    /// The cap in force.
    pub(super) fn cap(&self) -> Duration {
        self.max.unwrap_or_else(|| MAX_DELAY.max(self.base))
    }

    /// What chance does to each delay. Default: nothing.
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Whether a wait depends on chance or on the one before it, so that a call has to keep something between two.
    pub(super) fn is_walk(&self) -> bool {
        self.jitter != Jitter::None || matches!(self.strategy, Growth::Custom(_))
    }

    /// The wait before retry `n`, counted from 0.
    pub(super) fn next(&self, n: u32, walk: &mut Walk) -> Duration {
        let delay = match self.jitter {
            Jitter::None => self.steady(n, walk.previous),
            Jitter::Full => between(
                Duration::ZERO,
                self.steady(n, walk.previous),
                &mut walk.chance,
            ),
            Jitter::Equal => {
                let delay = self.steady(n, walk.previous);
                between(delay / 2, delay, &mut walk.chance)
            }
            Jitter::Decorrelated => {
                let previous = walk.previous.unwrap_or(self.base);
                between(self.base, previous.saturating_mul(3), &mut walk.chance)
            }
        };
        let delay = delay.min(self.cap());
        walk.previous = Some(delay);
        delay
    }

    /// The wait before retry `n` without jitter, where it depends on `n` alone or on the one before.
    pub(super) fn steady(&self, n: u32, previous: Option<Duration>) -> Duration {
        let delay = match &self.strategy {
            Growth::Exponential => doubled(self.base, n),
            Growth::Constant => self.base,
            Growth::Linear => from_nanos(self.base.as_nanos().saturating_mul(u128::from(n) + 1)),
            Growth::Custom(strategy) => strategy.delay(n, self.base, previous),
        };
        delay.min(self.cap())
    }
}

impl Default for Backoff {
    /// Exponential from 1 s, at most 30 s, without jitter.
    fn default() -> Self {
        Self::exponential(Duration::from_secs(1)).with_default_base()
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strategy = match &self.strategy {
            Growth::Exponential => "exponential",
            Growth::Constant => "constant",
            Growth::Linear => "linear",
            Growth::Custom(_) => "custom",
        };
        f.debug_struct("Backoff")
            .field("strategy", &strategy)
            .field("base_delay", &self.base)
            .field("max_delay", &self.cap())
            .field("jitter", &self.jitter)
            .finish()
    }
}

/// What one call's waits have in common.
#[derive(Debug)]
pub(super) struct Walk {
    previous: Option<Duration>,
    chance: Rng,
}

impl Walk {
    pub(super) fn new(chance: Rng) -> Self {
        Self {
            previous: None,
            chance,
        }
    }

    /// This delay, and up to a tenth of it more, so that clients that were asked for the same wait
    /// do not come back together.
    pub(super) fn lengthen(&mut self, delay: Duration) -> Duration {
        between(delay, delay.saturating_add(delay / 10), &mut self.chance)
    }
}

fn doubled(base: Duration, n: u32) -> Duration {
    let base = base.as_nanos();
    if base == 0 {
        Duration::ZERO
    } else if n >= base.leading_zeros() {
        // 2^127 and more, while no `Duration` reaches 2^94 nanoseconds.
        Duration::MAX
    } else {
        from_nanos(base << n)
    }
}

/// Any of these, both ends included, with the same chance. The ends may be the wrong way round.
fn between(one: Duration, other: Duration, chance: &mut Rng) -> Duration {
    let (least, most) = (one.min(other), one.max(other));
    from_nanos(chance.u128(least.as_nanos()..=most.as_nanos()))
}

/// As long as a `Duration` can be at most.
pub(super) fn from_nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    match (u64::try_from(nanos / SECOND), u32::try_from(nanos % SECOND)) {
        (Ok(seconds), Ok(nanos)) => Duration::new(seconds, nanos),
        _ => Duration::MAX,
    }
}

#[cfg(test)]
pub(super) mod tests;
