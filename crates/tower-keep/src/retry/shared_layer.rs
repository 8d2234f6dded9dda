//! The state that services and calls of one layer share, with the clock of `max_total_time`.

use std::time::Duration;

use tokio::time::Instant;

use super::{budget::RetryBudget, layer::RetryLayer};

/// The shared state of a layer. A call holds it with one reference count.
pub(super) struct SharedLayer<P, X> {
    pub(super) layer: RetryLayer<P, X>,
    /// The origin of the deadlines; `None` without `max_total_time`.
    origin: Option<Instant>,
}

/// The end of `max_total_time` for one call, in nanoseconds from the origin.
pub(super) type RetryDeadline = u64;

/// The call has no `max_total_time`.
const NO_DEADLINE: RetryDeadline = RetryDeadline::MAX;

impl<P, X> SharedLayer<P, X> {
    pub(super) fn new(layer: RetryLayer<P, X>) -> Self {
        Self {
            origin: layer.settings.max_total_time.map(|_| Instant::now()),
            layer,
        }
    }

    /// Deposits a first attempt in the budget and returns the deadline of the call.
    ///
    /// `budget` is the budget of the request, if it chose one. `shard` is the shard of the calling
    /// thread.
    #[inline(always)]
    pub(super) fn begin(&self, budget: Option<&RetryBudget>, shard: usize) -> RetryDeadline {
        let settings = &self.layer.settings;
        if budget.is_none() && settings.budget.is_none() && settings.max_total_time.is_none() {
            return NO_DEADLINE;
        }
        self.begin_by_the_clock(budget, shard)
    }

    // Out of line: most calls need no clock, and their code stays small.
    #[cold]
    #[inline(never)]
    fn begin_by_the_clock(&self, budget: Option<&RetryBudget>, shard: usize) -> RetryDeadline {
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
    pub(super) fn deadline_at(&self, deadline: RetryDeadline) -> Option<Instant> {
        if deadline == NO_DEADLINE {
            return None;
        }
        self.origin?.checked_add(Duration::from_nanos(deadline))
    }
}
