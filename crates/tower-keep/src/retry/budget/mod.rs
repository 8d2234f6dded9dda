//! The retry budget: its settings, its handle, and how a layer chooses one.

mod by_key;
mod by_request;
mod ledger;

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use self::ledger::Ledger;
use crate::{
    ratio::{InvalidWindow, Ratio},
    sharded::SHARDS,
};

pub(super) use self::by_request::{BudgetBy, ChooseBudget, LayerBudget};
pub use self::{by_key::RetryBudgets, ledger::Balance};

/// Bounds the retries to a share of the calls, so that retries cannot overload a service that fails.
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
    ledger: Ledger,
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
            ledger: Ledger::new(ratio, floor.into(), window, shards),
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
        if window < Ledger::SHORTEST {
            return Err(InvalidWindow::new(window, Ledger::SHORTEST));
        }
        let settings = Settings {
            window,
            ..self.0.settings
        };
        Ok(Self::with(settings, SHARDS))
    }

    /// A new budget with the same settings, for one of many keys: calls meet at the table of these
    /// anyway.
    fn empty_like(&self) -> Self {
        Self::with(self.0.settings, 1)
    }

    /// What is in it now.
    #[must_use]
    pub fn balance(&self) -> Balance {
        self.0.ledger.balance_at(self.now())
    }

    #[inline]
    pub(in crate::retry) fn deposit(&self, shard: usize) {
        self.0.ledger.deposit(self.now(), shard);
    }

    pub(in crate::retry) fn withdraw(&self) -> bool {
        self.0.ledger.withdraw(self.now())
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
