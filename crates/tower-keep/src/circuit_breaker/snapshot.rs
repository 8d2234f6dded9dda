//! What a circuit tells of itself. Pure.

use std::{sync::Arc, time::Duration};

use super::{mode::Mode, packed_state::State};

/// What there is to know of a circuit at one moment. Made by
/// [`CircuitBreakerHandle::snapshot`](super::CircuitBreakerHandle::snapshot).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The state.
    pub state: State,
    /// Whether the circuit acts by itself.
    pub mode: Mode,
    /// How many failures there were in a row, while closed.
    pub failures_in_a_row: u32,
    /// How many calls are in the window: those of the current closed state, or of the last one. 0 where no rate is set.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many of them were slow.
    pub slow_calls: u64,
    /// How many calls in flight are slow already, where those are counted.
    pub slow_in_flight: u64,
    /// How many probes are under way, which is how many of the half-open places are taken.
    pub probes: usize,
    /// How many probes of the current half-open state succeeded. 0 in other states.
    pub probe_successes: u32,
    /// How many probes of the current half-open state failed. 0 in other states.
    pub probe_failures: u32,
    /// How many calls the circuit rejected, or would have rejected, ever.
    pub rejected: u64,
    /// How often it opened by itself, ever.
    pub opened: u64,
    /// How long it is until a call may be let through; `None` if one may now, or if it was opened by hand.
    pub time_until_probe: Option<Duration>,
    /// The failure that opened the circuit the last time, also once it has closed again. `None`
    /// before it opened, and after an order by hand such as
    /// [`force_open`](super::CircuitBreakerHandle::force_open) or
    /// [`reset`](super::CircuitBreakerHandle::reset).
    pub cause: Option<Arc<str>>,
}

impl Snapshot {
    /// The share of failed calls in the window, within 0.0..=1.0; `None` where it is empty.
    #[must_use]
    pub fn failure_rate(&self) -> Option<f64> {
        share(self.failures, self.calls)
    }

    /// The share of slow calls among those in the window and those in flight that are slow, within 0.0..=1.0; `None`
    /// where there are none.
    #[must_use]
    pub fn slow_call_rate(&self) -> Option<f64> {
        let slow = self.slow_calls + self.slow_in_flight;
        share(slow, self.calls + self.slow_in_flight)
    }
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}
