//! `Transition`: a circuit's change of state, as its listeners receive it. Pure.

use std::{sync::Arc, time::Duration};

use super::{mode::Mode, packed_state::State};

/// A circuit's change of state, for
/// [`CircuitBreakerLayer::on_transition`](super::CircuitBreakerLayer::on_transition).
///
/// The counts are those at the end of the old state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The circuit's name.
    pub circuit: Arc<str>,
    /// The number of this transition of the circuit, counted from 1. A listener that runs in
    /// several threads can order transitions by it.
    pub sequence: u64,
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// The mode after the transition.
    pub mode: Mode,
    /// Whether a method of the handle caused the transition, such as `force_open`, `reset` or
    /// `probe_now`.
    pub manual: bool,
    /// The number of failures in a row in the closed state that ends; otherwise 0.
    pub failures_in_a_row: u32,
    /// The number of calls in the window. 0 if no rate is set.
    pub calls: u64,
    /// The number of failed calls in the window.
    pub failures: u64,
    /// The number of slow calls in the window.
    pub slow_calls: u64,
    /// The number of successful probes in the half-open state that ends; otherwise 0.
    pub probe_successes: u32,
    /// The number of failed probes in the half-open state that ends; otherwise 0.
    pub probe_failures: u32,
    /// The failure that opened the circuit last. `None` if it was opened manually, or never opened.
    pub cause: Option<Arc<str>>,
    /// How long the circuit stays open, if it opens. `None` if it was opened until a reset, or does
    /// not open.
    pub cooldown: Option<Duration>,
}

/// A [`Transition`] without the circuit's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StateChange {
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

impl StateChange {
    /// Adds the circuit's name, for listeners.
    pub(super) fn of_circuit(&self, circuit: Arc<str>) -> Transition {
        Transition {
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
