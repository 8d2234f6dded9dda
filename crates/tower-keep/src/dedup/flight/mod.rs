//! One execution and the callers that wait for it. No clock, no runtime.
//!
//! The execution belongs to all callers. One of them, the *driver*, polls it with its own waker; the others only wait.
//! When the driver leaves, a waiting caller is woken and becomes the driver; when the last caller leaves, the execution
//! is dropped.
//!
//! # Invariants
//!
//! 1. The future is taken out of the state while it is polled, so that no user code runs under the lock. Only the
//!    driver takes it, and a driver is not dropped while it polls.
//! 2. If the future waits and there is no driver, either the `heir` has been woken to take over, or nobody has a waker
//!    there and the next to be polled takes over.
//! 3. Once `over`, nobody has a waker there: all were woken. The output stays until the last caller has it.

use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{
    error::unharmed,
    sync::{Mutex, MutexGuard},
};

/// Boxed and nameless, so that whoever joins need not know what is executed.
type Execution<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(super) struct Flight<T> {
    /// A leaf lock.
    state: Mutex<State<T>>,
}

struct State<T> {
    /// `None` while it is polled, and once it is over.
    future: Option<Execution<T>>,
    output: Option<Arc<T>>,
    over: bool,
    /// Nobody joins any more.
    closed: bool,
    driver: Option<u64>,
    /// Was woken to become the driver, and was not polled since.
    heir: Option<u64>,
    /// How many neither left nor have the output.
    callers: usize,
    /// Whether the first is one of them.
    first: bool,
    /// Who waits and where, in the order in which they joined: whoever was polled while another drove.
    waiting: BTreeMap<u64, Waker>,
    next_caller: u64,
}

/// The first caller's number.
const FIRST: u64 = 0;

impl<T> State<T> {
    /// Takes a caller out. What is returned can run anything when it is dropped, so that goes without the lock.
    #[must_use]
    fn remove(&mut self, id: u64) -> Option<Waker> {
        self.callers -= 1;
        self.first &= id != FIRST;
        self.waiting.remove(&id)
    }

    /// Chooses who is to go on, where nobody does, to be woken without the lock.
    #[must_use]
    fn choose_heir(&mut self) -> Option<(u64, Waker)> {
        let next = self.waiting.pop_first();
        self.heir = next.as_ref().map(|(heir, _)| *heir);
        next
    }
}

impl<T> Flight<T> {
    /// A flight with its first caller.
    pub(super) fn new(future: Execution<T>) -> (Arc<Self>, Caller<T>) {
        let state = State {
            future: Some(future),
            output: None,
            over: false,
            closed: false,
            driver: None,
            heir: None,
            callers: 1,
            first: true,
            waiting: BTreeMap::new(),
            next_caller: FIRST + 1,
        };
        let flight = Arc::new(Self {
            state: Mutex::new(state),
        });
        let first = Caller {
            flight: Arc::clone(&flight),
            id: FIRST,
            done: false,
        };
        (flight, first)
    }

    /// How many joined and still wait.
    pub(super) fn followers(&self) -> usize {
        let state = self.state();
        state.callers - usize::from(state.first)
    }

    /// Joins the flight; `None` if it is over or closed.
    pub(super) fn join(self: &Arc<Self>) -> Option<Caller<T>> {
        let mut state = self.state();
        if state.over || state.closed {
            return None;
        }
        let id = state.next_caller;
        state.next_caller += 1;
        state.callers += 1;
        Some(Caller {
            flight: Arc::clone(self),
            id,
            done: false,
        })
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller's share of a flight.
pub(super) struct Caller<T> {
    flight: Arc<Flight<T>>,
    id: u64,
    done: bool,
}

impl<T> Caller<T> {
    /// Keeps others from joining, unless some have.
    pub(super) fn close(&self) -> bool {
        let mut state = self.flight.state();
        state.closed |= state.callers == 1;
        state.closed
    }
}

impl<T: Clone> Caller<T> {
    /// The output: moved to the last caller, cloned for the others.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let mut waker = None;
        loop {
            let mut state = self.flight.state();
            if state.over {
                drop(state);
                drop(waker);
                return Poll::Ready(self.take_output());
            }
            if state.driver.is_none_or(|driver| driver == self.id) {
                if let Some(future) = state.future.take() {
                    state.driver = Some(self.id);
                    state.heir = None;
                    let own = state.waiting.remove(&self.id);
                    drop(state);
                    drop((own, waker));
                    return self.drive(future, cx);
                }
            }
            let known = state.waiting.get(&self.id);
            if known.is_some_and(|known| known.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            if let Some(waker) = waker.take() {
                let old = state.waiting.insert(self.id, waker);
                drop(state);
                drop(old);
                return Poll::Pending;
            }
            drop(state);
            // Cloning it can run anything, so that is done without the lock, and then looked at again.
            waker = Some(cx.waker().clone());
        }
    }

    fn drive(&mut self, mut future: Execution<T>, cx: &mut Context<'_>) -> Poll<T> {
        let polled = future.as_mut().poll(cx);

        let mut state = self.flight.state();
        let Poll::Ready(output) = polled else {
            state.future = Some(future);
            return Poll::Pending;
        };
        state.over = true;
        state.driver = None;
        let own = state.remove(self.id);
        self.done = true;
        if state.callers == 0 {
            drop(state);
            // What the execution holds (its key) is free before the caller sees the output.
            drop((future, own));
            return Poll::Ready(output);
        }
        let output = Arc::new(output);
        state.output = Some(Arc::clone(&output));
        // They are woken even if dropping the future panics.
        let waiting = WakeAll(mem::take(&mut state.waiting));
        drop(state);
        drop((future, own));
        drop(waiting);
        Poll::Ready(unwrap_or_clone(output))
    }

    fn take_output(&mut self) -> T {
        let mut output = None;
        if !mem::replace(&mut self.done, true) {
            let mut state = self.flight.state();
            // Its waker went when the flight was over.
            let _none = state.remove(self.id);
            output = if state.callers == 0 {
                state.output.take()
            } else {
                state.output.clone()
            };
        }
        match output {
            Some(output) => unwrap_or_clone(output),
            None => {
                panic!("the joined execution panicked, or the call was polled after it was ready")
            }
        }
    }
}

fn unwrap_or_clone<T: Clone>(output: Arc<T>) -> T {
    Arc::try_unwrap(output).unwrap_or_else(|output| (*output).clone())
}

/// Wakes those that wait when it is dropped.
struct WakeAll(BTreeMap<u64, Waker>);

impl Drop for WakeAll {
    fn drop(&mut self) {
        for waker in mem::take(&mut self.0).into_values() {
            unharmed(|| waker.wake());
        }
    }
}

impl<T> Drop for Caller<T> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.flight.state();
        let own = state.remove(self.id);
        // Nobody goes on: the one that did leaves, or the one that was about to.
        let orphaned = state.driver == Some(self.id) || state.heir == Some(self.id);
        if state.driver == Some(self.id) {
            state.driver = None;
            // Gone in the middle of its poll: that panicked, and took the future along.
            state.over |= state.future.is_none();
        }
        let mut gone = None;
        let mut woken = WakeAll(BTreeMap::new());
        if state.callers == 0 {
            state.over = true;
            gone = Some((state.future.take(), state.output.take()));
        } else if state.over {
            woken.0 = mem::take(&mut state.waiting);
        } else if orphaned {
            woken.0.extend(state.choose_heir());
        }
        drop(state);
        drop((own, gone));
        drop(woken);
    }
}

/// A flight whose outcome's type is forgotten.
pub(super) trait AnyFlight: Send + Sync {
    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    fn followers(&self) -> usize;
}

impl<T: Send + Sync + 'static> AnyFlight for Flight<T> {
    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn followers(&self) -> usize {
        Self::followers(self)
    }
}

#[cfg(test)]
mod tests;
