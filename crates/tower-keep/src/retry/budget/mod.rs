//! Retry budgets: `RetryBudget`, its settings, and budgets per key.

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

pub(crate) use self::by_request::ChooseBudget;
#[cfg(feature = "http")]
pub(crate) use self::by_request::sealed::Sealed as SealedBudget;
pub(super) use self::by_request::{BudgetBy, LayerBudget};
pub use self::{by_key::RetryBudgets, ledger::Balance};

/// Limits retries to a share of the calls, so that retries cannot overload a failing service.
///
/// A retry helps one call and adds load to the service. If every call fails, three retries per call
/// mean four times the load. At every moment, the budget limits the retries of the last window to
/// the larger of two numbers:
///
/// - its share of the first attempts in that window
/// - its floor
///
/// If the budget is empty, the retry gives up and returns the failure unchanged. A retry is
/// withdrawn before its wait. If the call is dropped during the wait, the withdrawal stays in the
/// window.
///
/// Clones share one budget. Give clones to all layers that call the same service, with
/// [`RetryLayer::budget`](super::RetryLayer::budget).
///
/// | setting | default | source |
/// |---|---|---|
/// | share of the first attempts | 20 % | Finagle, Envoy, tower |
/// | [`floor`](Self::floor) | 3 retries per window | Envoy and failsafe-go, whose minimum concurrency is 3 |
/// | [`window`](Self::window) | 10 s | Finagle, tower |
///
/// Inside an open or half-open circuit there are few first attempts, so the floor can exceed the
/// share. To enforce the share there too, set the floor to 0.
///
/// The limit is exact for every share. The window moves in steps of a tenth. Idle time costs no
/// work. First attempts take no lock, retries take one.
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
    /// A budget for this share of the first attempts, with the default floor and window.
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

    /// A new budget that grants at least this number of retries per window. Default: 3.
    ///
    /// The other settings are copied.
    #[must_use = "it returns a new budget, and leaves this budget as it is"]
    pub fn floor(&self, floor: u32) -> Self {
        let settings = Settings {
            floor,
            ..self.0.settings
        };
        Self::with(settings, SHARDS)
    }

    /// A new budget that counts the calls and retries of the last `window`. Default: 10 s.
    ///
    /// The other settings are copied.
    ///
    /// # Errors
    ///
    /// [`InvalidWindow`] if `window` is shorter than 10 ms.
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

    /// A new budget with the same settings, for one of many keys. One shard is enough: calls
    /// already contend for the lock of the table.
    fn empty_like(&self) -> Self {
        Self::with(self.0.settings, 1)
    }

    /// The current counts, and the retries that are left.
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
    /// 20 % of the first attempts, at least 3 retries, per 10 s.
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
