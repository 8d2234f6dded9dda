//! The snapshot of a circuit: its state and counts at one moment. Pure.

use std::{sync::Arc, time::Duration};

use super::{mode::Mode, packed_state::State};

/// The state and the counts of a circuit at one moment, from
/// [`CircuitBreakerHandle::snapshot`](super::CircuitBreakerHandle::snapshot).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CircuitSnapshot {
    /// The state.
    pub state: State,
    /// The mode: automatic, or forced by a handle.
    pub mode: Mode,
    /// The number of failures in a row in the closed state.
    pub failures_in_a_row: u32,
    /// The number of calls in the window, from the current or the last closed state. 0 if no rate
    /// is set.
    pub calls: u64,
    /// The number of failed calls in the window.
    pub failures: u64,
    /// The number of slow calls in the window.
    pub slow_calls: u64,
    /// The number of slow calls in flight, if they are counted.
    pub slow_in_flight: u64,
    /// The number of running probes, that is of occupied probe slots.
    pub probes: usize,
    /// The number of successful probes in the current half-open state. 0 in other states.
    pub probe_successes: u32,
    /// The number of failed probes in the current half-open state. 0 in other states.
    pub probe_failures: u32,
    /// The total number of calls that the circuit rejected, or would have rejected.
    pub rejected: u64,
    /// The total number of automatic openings.
    pub opened: u64,
    /// The time until the circuit may admit a call. `None` if it admits calls now, or if it was
    /// opened manually until a reset.
    pub time_until_probe: Option<Duration>,
    /// The failure that opened the circuit last, even if it has closed since. `None` before the
    /// first opening, and after a manual change such as
    /// [`force_open`](super::CircuitBreakerHandle::force_open) or
    /// [`reset`](super::CircuitBreakerHandle::reset).
    pub cause: Option<Arc<str>>,
}

impl CircuitSnapshot {
    /// The share of failed calls in the window, from 0.0 to 1.0; `None` if the window is empty.
    #[must_use]
    pub fn failure_rate(&self) -> Option<f64> {
        share(self.failures, self.calls)
    }

    /// The share of slow calls, from 0.0 to 1.0; `None` without calls.
    ///
    /// It includes slow calls in flight, if they are counted.
    #[must_use]
    pub fn slow_call_rate(&self) -> Option<f64> {
        let slow = self.slow_calls + self.slow_in_flight;
        share(slow, self.calls + self.slow_in_flight)
    }
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}
