//! Settings of a circuit breaker: when its circuit opens.

use std::{num::NonZeroU32, time::Duration};

use super::{
    super::{circuit_kind::Circuits, settings::Window},
    CircuitBreakerLayer,
};
use crate::ratio::Ratio;

/// When the circuit opens.
impl<C, B: Circuits, O> CircuitBreakerLayer<C, B, O> {
    /// Opens the circuit after more than this number of failures in a row. Default: 5, or no such
    /// condition if a rate is set.
    ///
    /// A success resets the count.
    #[must_use]
    pub fn failure_threshold(self, failures: u32) -> Self {
        self.set(|settings| settings.failure_threshold = Some(failures))
    }

    /// Opens the circuit if at least this share of the calls in the [`window`](Self::window)
    /// failed. Default: no such condition.
    #[must_use]
    pub fn failure_rate(self, rate: Ratio) -> Self {
        self.set(|settings| settings.failure_rate = Some(rate))
    }

    /// Opens the circuit if at least this share of the calls in the [`window`](Self::window) took
    /// [`slow_call_duration`](Self::slow_call_duration) or longer. Default: no such condition.
    ///
    /// Successes and failures count alike. A slow probe counts as failed.
    #[must_use]
    pub fn slow_call_rate(self, rate: Ratio) -> Self {
        self.set(|settings| settings.slow_call_rate = Some(rate))
    }

    /// A call that takes this long, or longer, is slow. Default: 10 s.
    ///
    /// It has no effect without a [`slow_call_rate`](Self::slow_call_rate).
    #[must_use]
    pub fn slow_call_duration(self, duration: Duration) -> Self {
        self.set(|settings| settings.slow_call_duration = duration)
    }

    /// Counts calls in flight as soon as they are slow, instead of when they end. Default: off.
    ///
    /// A slow call counts no later than one eighth of the slow-call duration after it became slow.
    /// The rate is checked whenever a call begins or ends. It has no effect without a
    /// [`slow_call_rate`](Self::slow_call_rate).
    #[must_use]
    pub fn count_in_flight(self) -> Self {
        self.set(|settings| settings.count_in_flight = true)
    }

    /// The calls from which the rates are computed. Default: the last 100 calls.
    #[must_use]
    pub fn window(self, window: Window) -> Self {
        self.set(|settings| settings.window = window)
    }

    /// The minimum number of calls in the window: with fewer calls, the rates are not checked.
    /// Default: 20.
    ///
    /// A count window is always checked when it is full, even if it is smaller than this minimum.
    #[must_use]
    pub fn minimum_calls(self, calls: NonZeroU32) -> Self {
        self.set(|settings| settings.minimum_calls = calls)
    }
}
