//! Backoff strategies and jitter: the wait before each retry.
//!
//! Pure: no clock, and the caller passes the random generator.

mod worst_case;

use std::{fmt, sync::Arc, time::Duration};

use fastrand::Rng;

/// The backoff strategy: how the wait grows with each retry, for
/// [`RetryLayer::backoff`](super::RetryLayer::backoff).
///
/// The table shows the delay before retry `n`, counted from 0. The layer then applies its
/// [`jitter`](super::RetryLayer::jitter), and last its [`max_delay`](super::RetryLayer::max_delay).
/// No wait is longer than that.
///
/// | strategy | delay | with a base of 1 s |
/// |---|---|---|
/// | [`exponential`](Self::exponential), the default | `base * 2^n` | 1, 2, 4, 8 s |
/// | [`constant`](Self::constant) | `base` | 1, 1, 1, 1 s |
/// | [`linear`](Self::linear) | `base * (n + 1)` | 1, 2, 3, 4 s |
/// | [`custom`](Self::custom) | your own | |
///
/// ```
/// use std::time::Duration;
/// use tower_keep::{RetryLayer, retry::{Backoff, Jitter}};
///
/// let retry = RetryLayer::new()
///     .backoff(Backoff::linear(Duration::from_millis(200)))
///     .max_delay(Duration::from_secs(5))
///     .jitter(Jitter::Equal);
///
/// // Any function of the retry's number is a strategy.
/// let squares = Backoff::custom(|n: u32| Duration::from_secs(u64::from(n).pow(2)));
/// ```
#[derive(Clone)]
pub struct Backoff {
    pub(super) strategy: StrategyKind,
    pub(super) base: Duration,
    /// Whether the base was set. `max_delay` may be shorter than a default base.
    is_base_set: bool,
    max: Option<Duration>,
    pub(super) jitter: Jitter,
}

/// The default cap, unless the base is longer.
const MAX_DELAY: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(super) enum StrategyKind {
    Exponential,
    Constant,
    Linear,
    Custom(Arc<dyn BackoffStrategy>),
}

/// How a wait is randomized, so that clients that failed together do not return together.
///
/// The kinds are those of Marc Brooker's "Exponential Backoff And Jitter" (AWS Architecture Blog,
/// 2015).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Jitter {
    /// No jitter. The default.
    #[default]
    None,
    /// A random wait between zero and the delay. Spreads the most.
    Full,
    /// A random wait between half of the delay and the delay.
    Equal,
    /// A random wait between the base delay and three times the previous wait. It replaces the
    /// strategy.
    Decorrelated,
}

/// A custom backoff strategy, for [`Backoff::custom`]: computes the wait before each retry.
///
/// Any `Fn(u32) -> Duration` of the retry's number is a strategy.
pub trait BackoffStrategy: Send + Sync {
    /// The delay before retry number `retry`, counted from 0, without jitter and cap. `previous` is
    /// the previous backoff wait of the same call.
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
    const fn with(strategy: StrategyKind, base: Duration) -> Self {
        Self {
            strategy,
            base,
            is_base_set: true,
            max: None,
            jitter: Jitter::None,
        }
    }

    /// Marks the base as a default.
    pub(super) const fn with_default_base(mut self) -> Self {
        self.is_base_set = false;
        self
    }

    /// Doubles with each retry, from `base`.
    #[must_use]
    pub const fn exponential(base: Duration) -> Self {
        Self::with(StrategyKind::Exponential, base)
    }

    /// Always waits for `delay`.
    #[must_use]
    pub const fn constant(delay: Duration) -> Self {
        Self::with(StrategyKind::Constant, delay)
    }

    /// Grows by `base` with each retry, from `base`.
    #[must_use]
    pub const fn linear(base: Duration) -> Self {
        Self::with(StrategyKind::Linear, base)
    }

    /// Uses a custom strategy. Its base is 1 s unless the layer's
    /// [`base_delay`](super::RetryLayer::base_delay) is set.
    #[must_use]
    pub fn custom(strategy: impl BackoffStrategy + 'static) -> Self {
        Self::with(
            StrategyKind::Custom(Arc::new(strategy)),
            Duration::from_secs(1),
        )
        .with_default_base()
    }

    /// Sets the base. Panics if the cap was set below it.
    #[track_caller]
    pub(super) const fn base_delay(mut self, base: Duration) -> Self {
        self.base = base;
        self.is_base_set = true;
        self.check();
        self
    }

    /// Sets the cap. Panics if it is below a base that was set.
    #[track_caller]
    pub(super) const fn max_delay(mut self, max: Duration) -> Self {
        self.max = Some(max);
        self.check();
        self
    }

    #[track_caller]
    const fn check(&self) {
        if let Some(max) = self.max {
            assert!(
                !self.is_base_set || self.base.as_nanos() <= max.as_nanos(),
                "max_delay is shorter than base_delay: set max_delay to at least base_delay"
            );
        }
    }

    /// The cap in force.
    pub(super) fn cap(&self) -> Duration {
        self.max.unwrap_or_else(|| MAX_DELAY.max(self.base))
    }

    /// Any jitter, unchecked: the presets are exponential.
    pub(super) const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Takes the cap and the jitter of `other`. Panics if that cap was set below the base, or if
    /// that jitter leaves nothing of the strategy.
    #[track_caller]
    pub(super) fn within(mut self, other: &Self) -> Self {
        self.max = other.max;
        self.check();
        self.with_jitter(other.jitter)
    }

    /// The jitter. Panics if it leaves nothing of the strategy.
    #[track_caller]
    pub(super) fn with_jitter(mut self, jitter: Jitter) -> Self {
        let walks = jitter == Jitter::Decorrelated;
        assert!(
            !walks || matches!(self.strategy, StrategyKind::Exponential),
            "Jitter::Decorrelated takes the place of the backoff's strategy, so that this backoff would have no effect: set \
             Jitter::Full, Equal or None before it, or leave the backoff exponential"
        );
        self.jitter = jitter;
        self
    }

    /// Whether a call must keep state between waits: a wait is random or depends on the previous
    /// wait.
    pub(super) fn needs_state(&self) -> bool {
        self.jitter != Jitter::None || matches!(self.strategy, StrategyKind::Custom(_))
    }

    /// The wait before retry `n`, counted from 0.
    pub(super) fn next(&self, n: u32, state: &mut JitterState) -> Duration {
        let delay = match self.jitter {
            Jitter::None => self.nominal(n, state.previous),
            Jitter::Full => uniform(
                Duration::ZERO,
                self.nominal(n, state.previous),
                &mut state.rng,
            ),
            Jitter::Equal => {
                let delay = self.nominal(n, state.previous);
                uniform(delay / 2, delay, &mut state.rng)
            }
            Jitter::Decorrelated => {
                let previous = state.previous.unwrap_or(self.base);
                uniform(self.base, previous.saturating_mul(3), &mut state.rng)
            }
        };
        let delay = delay.min(self.cap());
        state.previous = Some(delay);
        delay
    }

    /// The wait before retry `n` without jitter; `previous` is the previous wait.
    pub(super) fn nominal(&self, n: u32, previous: Option<Duration>) -> Duration {
        let delay = match &self.strategy {
            StrategyKind::Exponential => doubled(self.base, n),
            StrategyKind::Constant => self.base,
            StrategyKind::Linear => {
                from_nanos(self.base.as_nanos().saturating_mul(u128::from(n) + 1))
            }
            StrategyKind::Custom(strategy) => strategy.delay(n, self.base, previous),
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
            StrategyKind::Exponential => "exponential",
            StrategyKind::Constant => "constant",
            StrategyKind::Linear => "linear",
            StrategyKind::Custom(_) => "custom",
        };
        f.debug_struct("Backoff")
            .field("strategy", &strategy)
            .field("base_delay", &self.base)
            .field("max_delay", &self.cap())
            .field("jitter", &self.jitter)
            .finish()
    }
}

/// The state of a call between its waits.
#[derive(Debug)]
pub(super) struct JitterState {
    previous: Option<Duration>,
    rng: Rng,
}

impl JitterState {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            previous: None,
            rng,
        }
    }

    /// Adds up to 10 % to a requested delay, so that clients with the same delay do not return
    /// together.
    pub(super) fn lengthen(&mut self, delay: Duration) -> Duration {
        uniform(delay, delay.saturating_add(delay / 10), &mut self.rng)
    }
}

fn doubled(base: Duration, n: u32) -> Duration {
    let base = base.as_nanos();
    if base == 0 {
        Duration::ZERO
    } else if n >= base.leading_zeros() {
        // At least 2^127 nanoseconds; a `Duration` holds less than 2^94.
        Duration::MAX
    } else {
        from_nanos(base << n)
    }
}

/// A uniformly distributed duration between `a` and `b`, inclusive, in either order.
fn uniform(a: Duration, b: Duration, rng: &mut Rng) -> Duration {
    let (min, max) = (a.min(b), a.max(b));
    from_nanos(rng.u128(min.as_nanos()..=max.as_nanos()))
}

/// Converts nanoseconds, saturating.
pub(super) fn from_nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    match (u64::try_from(nanos / SECOND), u32::try_from(nanos % SECOND)) {
        (Ok(seconds), Ok(nanos)) => Duration::new(seconds, nanos),
        _ => Duration::MAX,
    }
}

#[cfg(test)]
pub(super) mod tests;
