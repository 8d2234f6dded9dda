//! [`Faults`]: the record of injected faults.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{injected::InjectedFault, kind::Fault};
use crate::sync::lock;

/// The record of a [`FaultLayer`](crate::FaultLayer), over all its services and their clones.
///
/// A cheap handle: clones share the record and always show the current state. `{}` prints the seed
/// and each fault, for the message of an assertion.
///
/// Each call is in exactly one state: `count == in_flight + completed + dropped + panicked`.
#[derive(Clone)]
pub struct Faults(pub(super) Arc<Record>);

pub(super) struct Record {
    pub(super) seed: u64,
    stopped: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: Vec<(Option<Fault>, Option<End>)>,
    readiness: Vec<Option<Fault>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Completed,
    Dropped,
    Panicked,
}

impl Record {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            stopped: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// The next wait for readiness: its number and its fault.
    pub(super) fn wait(
        &self,
        fault: impl FnOnce(usize) -> Option<Fault>,
    ) -> (usize, Option<Fault>) {
        let mut state = lock(&self.state);
        let number = state.readiness.len();
        let fault = fault(number).filter(|_| !self.is_stopped());
        state.readiness.push(fault);
        (number, fault)
    }

    /// The next call.
    pub(super) fn call(
        self: &Arc<Self>,
        fault: impl FnOnce(usize) -> Option<Fault>,
    ) -> (Ticket, Option<Fault>) {
        let mut state = lock(&self.state);
        let number = state.calls.len();
        let fault = fault(number).filter(|_| !self.is_stopped());
        state.calls.push((fault, None));
        let ticket = Ticket {
            record: Arc::clone(self),
            number,
        };
        (ticket, fault)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(super) fn fault(&self, kind: Fault, number: usize) -> InjectedFault {
        InjectedFault::new(kind, number, self.seed)
    }
}

/// A call in flight. Dropping it records that the future was dropped, unless it ended before.
pub(super) struct Ticket {
    pub(super) record: Arc<Record>,
    pub(super) number: usize,
}

impl Ticket {
    pub(super) fn end(&self, how: End) {
        lock(&self.record.state).calls[self.number]
            .1
            .get_or_insert(how);
    }

    pub(super) fn fault(&self, kind: Fault) -> InjectedFault {
        self.record.fault(kind, self.number)
    }

    /// Runs code that may panic. A panic is recorded as the end of the call.
    pub(super) fn watch<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Watch<'a>(&'a Ticket, bool);

        impl Drop for Watch<'_> {
            fn drop(&mut self) {
                if !self.1 {
                    self.0.end(End::Panicked);
                }
            }
        }

        let mut watch = Watch(self, false);
        let result = work();
        watch.1 = true;
        result
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end(End::Dropped);
    }
}

impl Faults {
    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Stops injecting faults, like a service that recovers. Earlier faults stay: a hanging call
    /// still hangs, and an instance that is never ready stays so.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
    }

    /// The fault of each call, in call order: the input of
    /// [`FaultLayer::script`](crate::FaultLayer::script).
    #[must_use]
    pub fn calls(&self) -> Vec<Option<Fault>> {
        let state = lock(&self.0.state);
        state.calls.iter().map(|(fault, _)| *fault).collect()
    }

    /// The fault of each wait for readiness, in order of their beginning: the input of
    /// [`FaultLayer::readiness_script`](crate::FaultLayer::readiness_script).
    #[must_use]
    pub fn readiness(&self) -> Vec<Option<Fault>> {
        lock(&self.0.state).readiness.clone()
    }

    /// The number of calls, with and without a fault.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.0.state).calls.len()
    }

    /// The number of injections of this fault.
    #[must_use]
    pub fn injected(&self, fault: Fault) -> usize {
        self.by_kind().get(&fault).copied().unwrap_or(0)
    }

    /// The number of injections of each fault; only faults that happened.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<Fault, usize> {
        let mut counts = BTreeMap::new();
        let state = lock(&self.0.state);
        let of_calls = state.calls.iter().filter_map(|(fault, _)| *fault);
        for fault in of_calls.chain(state.readiness.iter().filter_map(|fault| *fault)) {
            *counts.entry(fault).or_insert(0) += 1;
        }
        counts
    }

    fn ended(&self, how: Option<End>) -> usize {
        let state = lock(&self.0.state);
        state.calls.iter().filter(|(_, end)| *end == how).count()
    }

    /// Calls whose future exists and has not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.ended(None)
    }

    /// Calls whose future returned an answer or an error.
    #[must_use]
    pub fn completed(&self) -> usize {
        self.ended(Some(End::Completed))
    }

    /// Calls whose future was dropped before it completed.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.ended(Some(End::Dropped))
    }

    /// Calls that panicked, by an injected fault or in the service itself.
    #[must_use]
    pub fn panicked(&self) -> usize {
        self.ended(Some(End::Panicked))
    }

    /// Asserts that no call is in flight.
    ///
    /// # Panics
    ///
    /// If the layer under test still holds a call, for example a hanging one.
    #[track_caller]
    pub fn assert_idle(&self) {
        let in_flight = self.in_flight();
        assert!(in_flight == 0, "{in_flight} calls are in flight\n{self}");
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0.state);
        write!(f, "seed {}, {} calls", self.0.seed, state.calls.len())?;
        for (number, (fault, end)) in state.calls.iter().enumerate() {
            let end = match end {
                None => "in flight",
                Some(End::Completed) => "completed",
                Some(End::Dropped) => "dropped",
                Some(End::Panicked) => "panicked",
            };
            if let Some(fault) = fault {
                write!(f, "\ncall {number}: {fault}, {end}")?;
            } else if end != "completed" {
                write!(f, "\ncall {number}: no fault, {end}")?;
            }
        }
        for (number, fault) in state.readiness.iter().enumerate() {
            if let Some(fault) = fault {
                write!(f, "\nreadiness {number}: {fault}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("seed", &self.seed())
            .field("by_kind", &self.by_kind())
            .field("in_flight", &self.in_flight())
            .field("completed", &self.completed())
            .field("dropped", &self.dropped())
            .field("panicked", &self.panicked())
            .finish()
    }
}
