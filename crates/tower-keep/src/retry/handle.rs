use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::budget::{Balance, Budget};
use crate::{ratio::Ratio, sharded::SHARDS};

/// How many retries there may be, as a share of the calls.
///
/// A retry helps one call and burdens the service. Where everything fails, three retries for each call are four times
/// the load, just when the service can bear it least. A budget bounds that: within any window up to now there are at
/// most as many retries as its share of the first attempts made in the window, or its floor if that is more. Once it
/// is empty, a failure is returned as it is.
///
/// Clones are the same budget. Hand one to several layers ([`RetryLayer::budget`](super::RetryLayer::budget)) that
/// burden the same service, and they share it.
///
/// | setting | default | source |
/// |---|---|---|
/// | share of the first attempts | 20 % | Finagle, Envoy, tower |
/// | [`floor`](Self::floor) | 3 retries a window | Envoy and failsafe-go, whose least concurrency is 3 |
/// | [`window`](Self::window) | 10 s | Finagle, tower |
///
/// Inside a circuit that is open or half-open there are so few first attempts that the floor may be more than the share:
/// set it to 0 where the share is to hold there too.
///
/// It is exact at every share, and needs no work for the time that nothing happens. Calls pay in without a lock; only
/// who retries takes one. The window moves on by tenths.
///
/// ```
/// use tower_keep::{Ratio, RetryLayer, retry::RetryBudget};
///
/// let budget = RetryBudget::new(Ratio::percent(10)?).floor(5);
/// let reads = RetryLayer::new().budget(budget.clone());
/// let writes = RetryLayer::new().max_retries(1).budget(budget.clone());
/// assert_eq!(budget.balance().available(), 5);
/// # Ok::<(), tower_keep::InvalidRatio>(())
/// ```
#[derive(Clone)]
pub struct RetryBudget(Arc<Shared>);

struct Shared {
    settings: Settings,
    budget: Budget,
    born: Instant,
}

#[derive(Clone, Copy)]
struct Settings {
    ratio: Ratio,
    floor: u32,
    window: Duration,
}

impl RetryBudget {
    /// Retries may be this share of the first attempts.
    #[must_use]
    pub fn new(ratio: Ratio) -> Self {
        let settings = Settings {
            ratio,
            floor: 3,
            window: Duration::from_secs(10),
        };
        Self::with(settings, SHARDS)
    }

    fn with(settings: Settings, shards: usize) -> Self {
        let Settings {
            ratio,
            floor,
            window,
        } = settings;
        Self(Arc::new(Shared {
            settings,
            budget: Budget::new(ratio, floor.into(), window, shards),
            born: Instant::now(),
        }))
    }

    /// A new budget with these settings, except that each window grants at least this number of retries. Default: 3.
    #[must_use = "it returns a new budget, and leaves this budget as it is"]
    pub fn floor(&self, floor: u32) -> Self {
        let settings = Settings {
            floor,
            ..self.0.settings
        };
        Self::with(settings, SHARDS)
    }

    /// A new budget with these settings, except that it counts the calls and retries of the last `window`. Default: 10 s.
    ///
    /// # Errors
    ///
    /// [`InvalidWindow`] if it is shorter than 10 ms.
    #[must_use = "it returns a new budget, and leaves this budget as it is"]
    pub fn window(&self, window: Duration) -> Result<Self, InvalidWindow> {
        if window < Budget::SHORTEST {
            return Err(InvalidWindow(window));
        }
        let settings = Settings {
            window,
            ..self.0.settings
        };
        Ok(Self::with(settings, SHARDS))
    }

    /// A new budget with the same settings, for one of many keys: calls meet at the table of these
    /// anyway.
    pub(super) fn empty_like(&self) -> Self {
        Self::with(self.0.settings, 1)
    }

    /// What is in it now.
    #[must_use]
    pub fn balance(&self) -> Balance {
        self.0.budget.balance_at(self.now())
    }

    #[inline]
    pub(super) fn deposit(&self, shard: usize) {
        self.0.budget.deposit(self.now(), shard);
    }

    pub(super) fn withdraw(&self) -> bool {
        self.0.budget.withdraw(self.now())
    }

    fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.0.born)
    }
}

impl Default for RetryBudget {
    /// A fifth of the first attempts, and 3 retries in any case, within 10 s.
    fn default() -> Self {
        Self::new(Ratio::FIFTH)
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.0.settings;
        f.debug_struct("RetryBudget")
            .field("ratio", &settings.ratio)
            .field("floor", &settings.floor)
            .field("window", &settings.window)
            .field("balance", &self.balance())
            .finish()
    }
}

/// A [`RetryBudget`]'s window would be shorter than 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a window of {0:?} is shorter than 10 ms")]
pub struct InvalidWindow(Duration);
