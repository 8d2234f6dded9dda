//! Which circuit a call goes through, and who waits for it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use super::{
    admitted::{Admitted, Counting},
    listeners::Listeners,
    settings::Settings,
    shared::Shared,
    state::{Rejection, Wait},
    transition::Transition,
    waiters::Ticket,
    word::State,
};

/// What became of a call that came to the gate.
pub(super) struct Entry {
    pub(super) shared: Arc<Shared>,
    pub(super) admitted: Result<Admitted, Rejection>,
    pub(super) transition: Option<Box<Transition>>,
}

/// Whom to ask for readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Inner,
    /// The call will be rejected.
    Nobody,
}

pub(crate) mod sealed {
    use super::{Arc, Ask, Context, Counting, Entry, Listeners, Poll, Settings};

    /// The circuits that a layer has.
    #[allow(private_interfaces, reason = "the trait is sealed")]
    pub trait Circuits {
        fn settings(&self) -> Settings;
        fn change_settings(&self, change: &dyn Fn(&mut Settings));
        fn name(&self) -> Arc<str>;
        fn rename(&self, name: Arc<str>);
        fn seed(&self, seed: u64);
        fn listeners(&self) -> &Listeners;
    }

    /// What a service does at its circuit.
    #[allow(private_interfaces, reason = "the trait is sealed")]
    pub trait Admits<Request>: Circuits + Clone {
        fn poll_ready(
            &self,
            ready: &mut super::Ready,
            counting: Counting,
            cx: &mut Context<'_>,
        ) -> Poll<Ask>;
        fn admit(&self, ready: &mut super::Ready, counting: Counting, request: &Request) -> Entry;
    }
}

/// What an instance of the service knows from `poll_ready`. A clone begins with nothing.
#[derive(Default)]
pub(super) enum Ready {
    #[default]
    Unknown,
    /// The circuit rejected, so that the inner service was not asked and must not be called.
    Rejecting,
    /// Waits for a place.
    Waiting(Box<Waiting>),
    /// A place is reserved.
    Reserved(Admitted),
}

/// One circuit for all calls. The default.
#[derive(Clone)]
pub struct Single {
    pub(super) shared: Arc<Shared>,
}

#[allow(private_interfaces, reason = "the trait is sealed")]
impl sealed::Circuits for Single {
    fn settings(&self) -> Settings {
        self.shared.circuit.settings()
    }

    fn change_settings(&self, change: &dyn Fn(&mut Settings)) {
        let now = self.shared.now();
        self.shared.circuit.change_settings(change, now);
        self.shared.waiters.wake_all();
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

#[allow(private_interfaces, reason = "the trait is sealed")]
impl<Request> sealed::Admits<Request> for Single {
    #[inline(always)]
    fn poll_ready(&self, ready: &mut Ready, _: Counting, _: &mut Context<'_>) -> Poll<Ask> {
        let shared = &self.shared;
        if shared.circuit.rejects(|| shared.now()).is_some() {
            *ready = Ready::Rejecting;
            return Poll::Ready(Ask::Nobody);
        }
        *ready = Ready::Unknown;
        Poll::Ready(Ask::Inner)
    }

    #[inline(always)]
    fn admit(&self, ready: &mut Ready, counting: Counting, _: &Request) -> Entry {
        let shared = &self.shared;
        if matches!(ready, Ready::Rejecting) {
            *ready = Ready::Unknown;
            return rejected_before(shared);
        }
        enter(Arc::clone(shared), counting)
    }
}

/// The circuit may have changed its mind meanwhile, but the inner service was not made ready.
#[cold]
fn rejected_before(shared: &Arc<Shared>) -> Entry {
    let rejection = shared.circuit.reject_again(shared.now());
    Entry {
        shared: Arc::clone(shared),
        admitted: Err(rejection),
        transition: None,
    }
}

/// Asks the circuit.
#[inline(always)]
pub(super) fn enter(shared: Arc<Shared>, counting: Counting) -> Entry {
    let answer = shared.circuit.admit(false, || shared.now());
    let admitted = answer
        .admission
        .map(|admission| Admitted::new(Arc::clone(&shared), admission, counting));
    Entry {
        shared,
        admitted,
        transition: answer.transition,
    }
}

/// One circuit for all calls, and a service that is not ready while it is open. Made by
/// [`CircuitBreakerLayer::backpressure`](super::CircuitBreakerLayer::backpressure).
#[derive(Clone)]
pub struct Backpressure(pub(super) Single);

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

#[allow(private_interfaces, reason = "the trait is sealed")]
impl<Request> sealed::Admits<Request> for Backpressure {
    fn poll_ready(&self, ready: &mut Ready, counting: Counting, cx: &mut Context<'_>) -> Poll<Ask> {
        let shared = &self.0.shared;
        if let Ready::Reserved(admitted) = ready {
            if admitted.is_valid() {
                return Poll::Ready(Ask::Inner);
            }
            // The inner service or the caller took its time, and meanwhile the circuit changed or the place was lost.
            *ready = Ready::Unknown;
        }
        if shared.circuit.state() == State::Closed {
            if let Some(admitted) = reserve(shared, counting) {
                *ready = Ready::Reserved(admitted);
                return Poll::Ready(Ask::Inner);
            }
        }
        if !matches!(ready, Ready::Waiting(_)) {
            *ready = Ready::Waiting(Box::new(Waiting::new(Arc::clone(shared))));
        }
        if let Ready::Waiting(waiting) = ready {
            let admitted = ready!(waiting.poll(counting, cx));
            // Leaving the queue wakes the next one.
            *ready = Ready::Reserved(admitted);
        }
        Poll::Ready(Ask::Inner)
    }

    fn admit(&self, ready: &mut Ready, counting: Counting, _: &Request) -> Entry {
        let shared = Arc::clone(&self.0.shared);
        match std::mem::take(ready) {
            // What is done by hand takes effect at once.
            Ready::Reserved(admitted) if admitted.is_forced_open() => rejected_before(&shared),
            Ready::Reserved(mut admitted) => {
                admitted.begin();
                Entry {
                    shared,
                    admitted: Ok(admitted),
                    transition: None,
                }
            }
            _ => enter(shared, counting),
        }
    }
}

/// Reserves a place, if there is one. Watchers and listeners learn of a transition: there is no job
/// yet.
fn reserve(shared: &Arc<Shared>, counting: Counting) -> Option<Admitted> {
    let answer = shared.circuit.admit(true, || shared.now());
    if let Some(transition) = &answer.transition {
        shared.publish(transition);
    }
    let admission = answer.admission.ok()?;
    Some(Admitted::new(Arc::clone(shared), admission, counting))
}

/// For how long a place that became free by time is left to the first in the queue.
const TURN: Duration = Duration::from_millis(1);

/// An instance of the service that waits for a place.
pub(super) struct Waiting {
    shared: Arc<Shared>,
    ticket: Option<Ticket>,
    /// For when a place is free at the latest.
    sleep: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Waiting {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            ticket: None,
            sleep: None,
        }
    }

    fn poll(&mut self, counting: Counting, cx: &mut Context<'_>) -> Poll<Admitted> {
        loop {
            let ticket = self.shared.waiters.wait(self.ticket, cx.waker());
            self.ticket = Some(ticket);
            if let Some(admitted) = reserve(&self.shared, counting) {
                return Poll::Ready(admitted);
            }
            let shared = &self.shared;
            let now = Instant::now();
            let left = match shared.circuit.rejects(|| shared.now()) {
                // It has changed its mind this very moment.
                None => continue,
                Some(Wait(left)) => left,
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
            if self.sleep.as_ref().is_none_or(|(at, _)| *at != until) {
                self.sleep = Some((until, Box::pin(tokio::time::sleep_until(until))));
            }
            if let Some((_, sleep)) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
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
