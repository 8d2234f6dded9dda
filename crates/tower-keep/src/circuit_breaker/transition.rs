//! What is known of a change of a circuit's state. Pure.

use std::{sync::Arc, time::Duration};

use super::{mode::Mode, packed_state::State};

/// A change of a circuit's state, as a listener gets it:
/// [`CircuitBreakerLayer::on_transition`](super::CircuitBreakerLayer::on_transition).
///
/// The counts are those at the end of the state that the circuit leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CircuitTransition {
    /// The circuit's name.
    pub circuit: Arc<str>,
    /// The number of this transition of the circuit, counted from 1. A listener that several
    /// threads call at once tells by it which of two transitions came later.
    pub sequence: u64,
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// Whether the circuit acts by itself after the transition.
    pub mode: Mode,
    /// Whether a method of the handle caused the transition: `force_open`, `reset`, `probe_now`,
    /// and so on.
    pub manual: bool,
    /// How many calls failed in a row in the closed state that ends; otherwise 0.
    pub failures_in_a_row: u32,
    /// How many calls the window holds. 0 where no rate is set.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many of them were slow.
    pub slow_calls: u64,
    /// How many probes succeeded in the half-open state that ends; otherwise 0.
    pub probe_successes: u32,
    /// How many probes failed in the half-open state that ends; otherwise 0.
    pub probe_failures: u32,
    /// The failure that opened the circuit the last time. `None` if it was opened by hand, and
    /// before it opened.
    pub cause: Option<Arc<str>>,
    /// How long the circuit stays open, if it opens. `None` if it was opened until a reset.
    pub cooldown: Option<Duration>,
}

/// The same, without the circuit's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) sequence: u64,
    pub(super) from: State,
    pub(super) to: State,
    pub(super) mode: Mode,
    pub(super) manual: bool,
    pub(super) failures_in_a_row: u32,
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) slow_calls: u64,
    pub(super) probe_successes: u32,
    pub(super) probe_failures: u32,
    pub(super) cause: Option<Arc<str>>,
    pub(super) cooldown: Option<Duration>,
}

impl Transition {
    /// For the listeners.
    pub(super) fn of_circuit(&self, circuit: Arc<str>) -> CircuitTransition {
        CircuitTransition {
            circuit,
            sequence: self.sequence,
            from: self.from,
            to: self.to,
            mode: self.mode,
            manual: self.manual,
            failures_in_a_row: self.failures_in_a_row,
            calls: self.calls,
            failures: self.failures,
            slow_calls: self.slow_calls,
            probe_successes: self.probe_successes,
            probe_failures: self.probe_failures,
            cause: self.cause.clone(),
            cooldown: self.cooldown,
        }
    }
}
