//! Backpressure: callers wait in `poll_ready` while the circuit is open.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use super::{
    admitted::Reserved,
    circuit_kind::{Admits, Circuits, ProbeSlot, Readiness, Ready, Spread},
    one_circuit::OneCircuit,
    packed_state::State,
    settings::Settings,
    shared_circuit::CircuitRef,
    state::AdmitResult,
    transition_listeners::TransitionListeners,
    waiters::Ticket,
};
use crate::{job::call_end::AtResponse, unshare::Unshare};

/// One circuit for all calls; its service is not ready while it is open. Made by
/// [`CircuitBreakerLayer::backpressure`](super::CircuitBreakerLayer::backpressure).
#[derive(Clone)]
pub struct Backpressure(pub(super) OneCircuit);

impl Unshare for Backpressure {
    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    fn renew(&mut self) {
        self.0.renew();
    }
}

#[allow(private_interfaces, reason = "it has no public name")]
impl Circuits for Backpressure {
    fn settings(&self) -> Settings {
        self.0.settings()
    }

    fn change_settings(&self, change: &dyn Fn(&mut Settings)) {
        self.0.change_settings(change);
    }

    fn name(&self) -> Arc<str> {
        self.0.name()
    }

    fn rename(&self, name: Arc<str>) {
        self.0.rename(name);
    }

    fn seed(&self, seed: u64) {
        self.0.seed(seed);
    }

    fn listeners(&self) -> &TransitionListeners {
        self.0.listeners()
    }
}

impl Spread for Backpressure {
    fn spread(&self) -> Self {
        Self(self.0.spread())
    }
}

#[allow(private_interfaces, reason = "it has no public name")]
impl<Request> Admits<Request> for Backpressure {
    type End = AtResponse;

    fn follow_thread(&mut self) {
        self.0.shared.follow_thread();
    }

    fn poll_ready(&self, ready: &mut Ready, cx: &mut Context<'_>) -> Poll<Readiness> {
        let (shared, slot) = (&self.0.shared, &mut ready.slot);
        if let ProbeSlot::Reserved(reserved) = slot {
            if reserved.is_valid() {
                return Poll::Ready(Readiness::PollInner);
            }
            // The circuit changed, or the slot expired, before the call.
            *slot = ProbeSlot::None;
        }
        if shared.circuit.state() == State::Closed {
            if let Some(reserved) = reserve(shared) {
                *slot = ProbeSlot::Reserved(reserved);
                return Poll::Ready(Readiness::PollInner);
            }
        }
        if !matches!(slot, ProbeSlot::Awaited(_)) {
            *slot = ProbeSlot::Awaited(Box::new(Waiting::new(Arc::clone(shared))));
        }
        if let ProbeSlot::Awaited(waiting) = slot {
            let reserved = ready!(waiting.poll(cx));
            // Dropping `waiting` leaves the queue and wakes the next waiter.
            *slot = ProbeSlot::Reserved(reserved);
        }
        Poll::Ready(Readiness::PollInner)
    }

    fn circuit(&self, _: &Request) -> Cow<'_, CircuitRef> {
        Cow::Borrowed(&self.0.shared)
    }
}

/// Reserves a slot, if one is free. A transition goes to watchers and listeners only: there is no
/// job yet.
fn reserve(shared: &CircuitRef) -> Option<Reserved> {
    let AdmitResult {
        admission,
        transition,
    } = shared.circuit.admit(true, || shared.now());
    let admission = admission.ok();
    let reserved = admission.map(|admission| Reserved::new(Arc::clone(shared), admission));
    if let Some(transition) = &transition {
        shared.publish(transition);
    }
    reserved
}

/// The head start of the first waiter for a slot that time has freed.
const TURN: Duration = Duration::from_millis(1);

/// An instance of the service that waits for a slot.
pub(super) struct Waiting {
    shared: CircuitRef,
    ticket: Option<Ticket>,
    /// Fires when a slot must be free at the latest.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Waiting {
    fn new(shared: CircuitRef) -> Self {
        Self {
            shared,
            ticket: None,
            sleep: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Reserved> {
        loop {
            let ticket = self.shared.waiters.wait(self.ticket, cx.waker());
            self.ticket = Some(ticket);
            if let Some(reserved) = reserve(&self.shared) {
                return Poll::Ready(reserved);
            }
            let shared = &self.shared;
            let now = Instant::now();
            let left = match shared.circuit.rejects(|| shared.now()) {
                // The circuit changed in between.
                None => continue,
                Some(seen) => seen.wait.0,
            };
            // The other waiters get their turn later, in case the first is no longer polled.
            let turn = if self.shared.waiters.is_first(ticket) {
                Duration::ZERO
            } else {
                TURN
            };
            let Some(until) = left.and_then(|left| now.checked_add(left.saturating_add(turn)))
            else {
                self.sleep = None;
                return Poll::Pending;
            };
            let made = || Box::pin(tokio::time::sleep_until(until));
            let sleep = self.sleep.get_or_insert_with(made);
            if sleep.deadline() != until {
                sleep.as_mut().reset(until);
            }
            ready!(sleep.as_mut().poll(cx));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.waiters.leave(ticket);
        }
    }
}

impl fmt::Debug for Backpressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backpressure")
            .field("circuit", &self.0.shared.name())
            .finish()
    }
}
