use std::time::Duration;

use tokio::time::Instant;

use super::{handle::RetryBudget, layer::RetryLayer};

/// What a call takes along with one reference count.
pub(super) struct Shared<P, C, H, B, N, A> {
    pub(super) layer: RetryLayer<P, C, H, B, N, A>,
    /// From when the ends of calls are counted, where they have one.
    born: Option<Instant>,
}

/// When all attempts of a call are to be over, in nanoseconds from the birth of what it shares.
pub(super) type End = u64;

/// Never.
const NO_END: End = End::MAX;

impl<P, C, H, B, N, A> Shared<P, C, H, B, N, A> {
    pub(super) fn new(layer: RetryLayer<P, C, H, B, N, A>) -> Self {
        Self {
            born: layer.settings.max_total_time.map(|_| Instant::now()),
            layer,
        }
    }

    /// A call of this shard begins, which may have a budget of its own: when it is to end.
    #[inline(always)]
    pub(super) fn begin(&self, budget: Option<&RetryBudget>, shard: usize) -> End {
        let settings = &self.layer.settings;
        if budget.is_none() && settings.budget.is_none() && settings.max_total_time.is_none() {
            return NO_END;
        }
        self.begin_by_the_clock(budget, shard)
    }

    // Out of the way of calls that need no clock: these have nothing to do then, and little code.
    #[cold]
    #[inline(never)]
    fn begin_by_the_clock(&self, budget: Option<&RetryBudget>, shard: usize) -> End {
        let settings = &self.layer.settings;
        if let Some(budget) = budget.or(settings.budget.as_ref()) {
            budget.deposit(shard);
        }
        match (self.born, settings.max_total_time) {
            (Some(born), Some(total)) => {
                let end = born.elapsed().saturating_add(total);
                u64::try_from(end.as_nanos()).unwrap_or(NO_END)
            }
            _ => NO_END,
        }
    }

    #[cold]
    pub(super) fn end_at(&self, end: End) -> Option<Instant> {
        if end == NO_END {
            return None;
        }
        self.born?.checked_add(Duration::from_nanos(end))
    }
}
