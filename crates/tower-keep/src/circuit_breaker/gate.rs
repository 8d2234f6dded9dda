//! Which circuit a call goes through, and who waits for it.

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
    listeners::Listeners,
    packed_state::State,
    settings::Settings,
    shared::{Shared, SharedRef},
    state::{Answer, Seen},
    waiters::Ticket,
};
use crate::{sharded::Sharded, unshare::Unshare};

/// Whom to ask for readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Inner,
    /// The call will be rejected.
    Nobody,
}

pub(crate) mod sealed {
    use super::{Arc, Ask, Context, Cow, Listeners, Poll, Settings, SharedRef, Unshare};

    /// The circuits that a layer has.
    #[allow(private_interfaces, reason = "the trait is sealed")]
    pub trait Circuits: Unshare {
        fn settings(&self) -> Settings;
        fn change_settings(&self, change: &dyn Fn(&mut Settings));
        fn name(&self) -> Arc<str>;
        fn rename(&self, name: Arc<str>);
        fn seed(&self, seed: u64);
        fn listeners(&self) -> &Listeners;
    }

    /// How the clones of a service come by the circuits.
    pub trait Spread {
        fn spread(&self) -> Self;
    }

    /// What a service does at its circuit.
    #[allow(private_interfaces, reason = "the trait is sealed")]
    pub trait Admits<Request>: Circuits + Clone {
        fn poll_ready(&self, ready: &mut super::Ready, cx: &mut Context<'_>) -> Poll<Ask>;
        /// The service is called, perhaps in another thread than before.
        fn follow_thread(&mut self) {}
        /// The circuit of this request.
        fn circuit(&self, request: &Request) -> Cow<'_, SharedRef>;
    }
}

/// What an instance of the service knows from `poll_ready`. A clone begins with nothing.
#[derive(Default)]
pub(super) struct Ready {
    /// The circuit rejected, so that the inner service was not asked and must not be called.
    pub(super) rejecting: Option<Seen>,
    pub(super) place: Place,
}

/// A place at a circuit that makes its callers wait.
#[derive(Default)]
pub(super) enum Place {
    #[default]
    None,
    Awaited(Box<Waiting>),
    Reserved(Reserved),
}

/// One circuit for all calls. The default.
#[derive(Clone)]
pub struct Single {
    pub(super) shared: Sharded<Shared>,
}

impl Unshare for Single {
    fn is_shared(&self) -> bool {
        self.shared.is_shared() || self.shared.is_watched()
    }

    fn renew(&mut self) {
        self.shared = Sharded::new(self.shared.renewed());
    }
}

#[allow(private_interfaces, reason = "the trait is sealed")]
impl sealed::Circuits for Single {
    fn settings(&self) -> Settings {
        self.shared.circuit.settings()
    }

    fn change_settings(&self, change: &dyn Fn(&mut Settings)) {
        self.shared.change_settings(change);
    }

    fn name(&self) -> Arc<str> {
        self.shared.name()
    }

    fn rename(&self, name: Arc<str>) {
        self.shared.rename(name);
    }

    fn seed(&self, seed: u64) {
        self.shared.circuit.seed(seed);
    }

    fn listeners(&self) -> &Listeners {
        &self.shared.listeners
    }
}

impl sealed::Spread for Single {
    fn spread(&self) -> Self {
        Self {
            shared: self.shared.spread(),
        }
    }
}

#[allow(private_interfaces, reason = "the trait is sealed")]
impl<Request> sealed::Admits<Request> for Single {
    #[inline(always)]
    fn follow_thread(&mut self) {
        self.shared.follow_thread();
    }

    #[inline(always)]
    fn poll_ready(&self, ready: &mut Ready, _: &mut Context<'_>) -> Poll<Ask> {
        if self.shared.circuit.state() != State::Closed {
            return Poll::Ready(ready.ask(&self.shared));
        }
        ready.rejecting = None;
        Poll::Ready(Ask::Inner)
    }

    #[inline(always)]
    fn circuit(&self, _: &Request) -> Cow<'_, SharedRef> {
        Cow::Borrowed(&self.shared)
    }
}

impl Ready {
    /// Asks a circuit that is not closed.
    #[cold]
    fn ask(&mut self, shared: &Shared) -> Ask {
        self.rejecting = shared.circuit.rejects(|| shared.now());
        match self.rejecting {
            Some(_) => Ask::Nobody,
            None => Ask::Inner,
        }
    }
}

impl Place {
    /// What becomes of a call now.
    pub(super) fn enter(self, shared: &Shared) -> Answer {
        let Self::Reserved(reserved) = self else {
            return shared.circuit.admit(false, || shared.now());
        };
        let reject = || shared.circuit.reject(None, || shared.now());
        Answer {
            admission: reserved.begin().ok_or_else(reject),
            transition: None,
        }
    }
}

/// One circuit for all calls, and a service that is not ready while it is open. Made by
/// [`CircuitBreakerLayer::backpressure`](super::CircuitBreakerLayer::backpressure).
#[derive(Clone)]
pub struct Backpressure(pub(super) Single);

impl Unshare for Backpressure {
    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    fn renew(&mut self) {
        self.0.renew();
    }
}

#[allow(private_interfaces, reason = "the trait is sealed")]
impl sealed::Circuits for Backpressure {
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

    fn listeners(&self) -> &Listeners {
        self.0.listeners()
    }
}

impl sealed::Spread for Backpressure {
    fn spread(&self) -> Self {
        Self(self.0.spread())
    }
}

#[allow(private_interfaces, reason = "the trait is sealed")]
impl<Request> sealed::Admits<Request> for Backpressure {
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

    fn circuit(&self, _: &Request) -> Cow<'_, SharedRef> {
        Cow::Borrowed(&self.0.shared)
    }
}

/// Reserves a place, if there is one. Watchers and listeners learn of a transition: there is no job
/// yet.
fn reserve(shared: &SharedRef) -> Option<Reserved> {
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
    shared: SharedRef,
    ticket: Option<Ticket>,
    /// For when a place is free at the latest.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Waiting {
    fn new(shared: SharedRef) -> Self {
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

impl fmt::Debug for Single {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Single")
            .field("circuit", &self.shared.name())
            .finish()
    }
}

impl fmt::Debug for Backpressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backpressure")
            .field("circuit", &self.0.shared.name())
            .finish()
    }
}
