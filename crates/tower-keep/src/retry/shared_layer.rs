//! The layer as its services and calls share it, with the clock of `max_total_time`.

use std::time::Duration;

use tokio::time::Instant;

use super::{budget::RetryBudget, layer::RetryLayer};

/// What a call takes along with one reference count.
pub(super) struct SharedLayer<P, X> {
    pub(super) layer: RetryLayer<P, X>,
    /// The origin of the deadlines, where calls have one.
    origin: Option<Instant>,
}

/// When all attempts of a call have to be over, in nanoseconds from the origin.
pub(super) type Deadline = u64;

/// Never.
const NO_DEADLINE: Deadline = Deadline::MAX;

impl<P, X> SharedLayer<P, X> {
    pub(super) fn new(layer: RetryLayer<P, X>) -> Self {
        Self {
            origin: layer.settings.max_total_time.map(|_| Instant::now()),
            layer,
        }
    }

    /// A call of this shard begins, perhaps with a budget of its own: counts it, and returns its deadline.
    #[inline(always)]
    pub(super) fn begin(&self, budget: Option<&RetryBudget>, shard: usize) -> Deadline {
        let settings = &self.layer.settings;
        if budget.is_none() && settings.budget.is_none() && settings.max_total_time.is_none() {
            return NO_DEADLINE;
        }
        self.begin_by_the_clock(budget, shard)
    }

    // Out of the way of calls that need no clock: these have nothing to do then, and little code.
    #[cold]
    #[inline(never)]
    fn begin_by_the_clock(&self, budget: Option<&RetryBudget>, shard: usize) -> Deadline {
        let settings = &self.layer.settings;
        if let Some(budget) = budget.or(settings.budget.as_ref()) {
            budget.deposit(shard);
        }
        match (self.origin, settings.max_total_time) {
            (Some(origin), Some(total)) => {
                let deadline = origin.elapsed().saturating_add(total);
                u64::try_from(deadline.as_nanos()).unwrap_or(NO_DEADLINE)
            }
            _ => NO_DEADLINE,
        }
    }

    #[cold]
    pub(super) fn deadline_at(&self, deadline: Deadline) -> Option<Instant> {
        if deadline == NO_DEADLINE {
            return None;
        }
        self.origin?.checked_add(Duration::from_nanos(deadline))
    }
}
