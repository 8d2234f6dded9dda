//! One circuit, and a service that is not ready while it is open: callers wait in `poll_ready`.

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
    circuit_kind::{Admits, Ask, Circuits, Place, Ready, Spread},
    one_circuit::OneCircuit,
    packed_state::State,
    settings::Settings,
    shared_circuit::CircuitRef,
    state::Answer,
    transition_listeners::TransitionListeners,
    waiters::Ticket,
};
use crate::unshare::Unshare;

/// One circuit for all calls, and a service that is not ready while it is open. Made by
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
    fn follow_thread(&mut self) {
        self.0.shared.follow_thread();
    }

    fn poll_ready(&self, ready: &mut Ready, cx: &mut Context<'_>) -> Poll<Ask> {
        let (shared, place) = (&self.0.shared, &mut ready.place);
        if let Place::Reserved(reserved) = place {
            if reserved.is_valid() {
                return Poll::Ready(Ask::Inner);
            }
            // The inner service or the caller took its time, and meanwhile the circuit changed or the place was lost.
            *place = Place::None;
        }
        if shared.circuit.state() == State::Closed {
            if let Some(reserved) = reserve(shared) {
                *place = Place::Reserved(reserved);
                return Poll::Ready(Ask::Inner);
            }
        }
        if !matches!(place, Place::Awaited(_)) {
            *place = Place::Awaited(Box::new(Waiting::new(Arc::clone(shared))));
        }
        if let Place::Awaited(waiting) = place {
            let reserved = ready!(waiting.poll(cx));
            // Leaving the queue wakes the next one.
            *place = Place::Reserved(reserved);
        }
        Poll::Ready(Ask::Inner)
    }

    fn circuit(&self, _: &Request) -> Cow<'_, CircuitRef> {
        Cow::Borrowed(&self.0.shared)
    }
}

/// Reserves a place, if there is one. Watchers and listeners learn of a transition: there is no job
/// yet.
fn reserve(shared: &CircuitRef) -> Option<Reserved> {
    let Answer {
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

/// For how long a place that became free by time is left to the first in the queue.
const TURN: Duration = Duration::from_millis(1);

/// An instance of the service that waits for a place.
pub(super) struct Waiting {
    shared: CircuitRef,
    ticket: Option<Ticket>,
    /// For when a place is free at the latest.
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
                // It has changed its mind this very moment.
                None => continue,
                Some(seen) => seen.wait.0,
            };
            // The others come after the first, and only if that was not polled: it may have been set aside.
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
