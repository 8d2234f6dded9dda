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
//! 2. If the future waits and there is no driver, some caller with a waker has been woken to take over, or none has a
//!    waker yet and the next to be polled takes over.
//! 3. Once `landed`, the output is there for every caller that still waits.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::sync::{Mutex, MutexGuard};

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
    driver: Option<u64>,
    /// In the order in which they joined.
    callers: Callers,
    next_caller: u64,
}

/// The callers and where they wait, in the order in which they joined. The first one inline: most flights have no other.
struct Callers {
    first: Option<Option<Waker>>,
    more: BTreeMap<u64, Option<Waker>>,
}

/// The first caller's number.
const FIRST: u64 = 0;

impl Callers {
    fn one() -> Self {
        Self {
            first: Some(None),
            more: BTreeMap::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }

    /// Dropping a waker can run anything, so the caller drops it once the lock is released.
    #[must_use]
    fn remove(&mut self, id: u64) -> Option<Waker> {
        if id == FIRST {
            self.first.take().flatten()
        } else {
            self.more.remove(&id).flatten()
        }
    }

    fn waker(&mut self, id: u64) -> Option<&mut Option<Waker>> {
        if id == FIRST {
            self.first.as_mut()
        } else {
            self.more.get_mut(&id)
        }
    }

    fn wakers(&mut self) -> impl Iterator<Item = &mut Option<Waker>> {
        self.first.iter_mut().chain(self.more.values_mut())
    }
}

impl<T> Flight<T> {
    /// A flight with its first caller.
    pub(super) fn new(future: Execution<T>) -> (Arc<Self>, Caller<T>) {
        let state = State {
            future: Some(future),
            output: None,
            over: false,
            driver: None,
            callers: Callers::one(),
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
        self.state().callers.more.len()
    }

    /// Joins the flight; `None` if it is over.
    pub(super) fn join(self: &Arc<Self>) -> Option<Caller<T>> {
        let mut state = self.state();
        if state.over {
            return None;
        }
        let id = state.next_caller;
        state.next_caller += 1;
        state.callers.more.insert(id, None);
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

impl<T: Clone> Caller<T> {
    /// The output: moved to the last caller, cloned for the others.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let mut state = self.flight.state();
        if state.over {
            return self.take_output(state);
        }
        let mut future = match (state.driver, state.future.take()) {
            (Some(driver), future) if driver != self.id => {
                state.future = future;
                return wait(state, self.id, cx);
            }
            (_, Some(future)) => future,
            // Two polls of one caller at once cannot be; nothing is lost by waiting.
            (_, None) => return wait(state, self.id, cx),
        };
        state.driver = Some(self.id);
        drop(state);

        let polled = future.as_mut().poll(cx);

        let mut state = self.flight.state();
        let Poll::Ready(output) = polled else {
            state.future = Some(future);
            return Poll::Pending;
        };
        state.over = true;
        state.driver = None;
        let _waker = state.callers.remove(self.id);
        self.done = true;
        let waiting: Vec<Waker> = state.callers.wakers().filter_map(Option::take).collect();
        if state.callers.is_empty() {
            drop(state);
            // What the execution holds (its key) is free before the caller sees the output.
            drop(future);
            return Poll::Ready(output);
        }
        let output = Arc::new(output);
        state.output = Some(Arc::clone(&output));
        drop(state);
        drop(future);
        waiting.into_iter().for_each(Waker::wake);
        Poll::Ready(unwrap_or_clone(output))
    }

    fn take_output(&self, mut state: MutexGuard<'_, State<T>>) -> Poll<T> {
        let _waker = state.callers.remove(self.id);
        let output = if state.callers.is_empty() {
            state.output.take()
        } else {
            state.output.clone()
        };
        drop(state);
        match output {
            Some(output) => Poll::Ready(unwrap_or_clone(output)),
            None => {
                panic!("the joined execution panicked, or the call was polled after it was ready")
            }
        }
    }
}

fn wait<T>(mut state: MutexGuard<'_, State<T>>, id: u64, cx: &Context<'_>) -> Poll<T> {
    let mut old = None;
    if let Some(waker) = state.callers.waker(id) {
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            old = waker.replace(cx.waker().clone());
        }
    }
    drop(state);
    drop(old);
    Poll::Pending
}

fn unwrap_or_clone<T: Clone>(output: Arc<T>) -> T {
    Arc::try_unwrap(output).unwrap_or_else(|output| (*output).clone())
}

impl<T> Drop for Caller<T> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.flight.state();
        let _waker = state.callers.remove(self.id);
        if state.driver == Some(self.id) {
            state.driver = None;
            // Gone in the middle of its poll: that panicked, and took the future along.
            state.over |= state.future.is_none();
        }
        let wake = |waker: &mut Option<Waker>| waker.take();
        let (future, output, next) = if state.callers.is_empty() {
            state.over = true;
            (state.future.take(), state.output.take(), Vec::new())
        } else if state.over {
            (
                None,
                None,
                state.callers.wakers().filter_map(wake).collect(),
            )
        } else if state.driver.is_none() {
            // Whoever was woken to take over may be the one that leaves: wake another.
            (
                None,
                None,
                state.callers.wakers().find_map(wake).into_iter().collect(),
            )
        } else {
            (None, None, Vec::new())
        };
        drop(state);
        drop(future);
        drop(output);
        next.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
#[path = "flight_tests.rs"]
mod tests;
