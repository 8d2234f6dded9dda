//! One execution and the callers that wait for it. No clock, no runtime.
//!
//! The execution belongs to all callers. Any of them that is polled drives it, so that none depends on another being
//! polled: a caller may be set aside, in a `select!` or a `Vec`, for as long as it likes. The execution has a waker of
//! its own, which wakes every caller that waits, as any subset of them may have been set aside. When the last caller
//! leaves, the execution is dropped.
//!
//! # Invariants
//!
//! 1. The future is taken out of the state while it is polled, so that no user code runs under the lock. A caller that
//!    is polled meanwhile leaves its waker and waits.
//! 2. While the future is in the state, `woken` says whether it was woken since it was last polled. If it was, every
//!    caller that had left its waker was woken after that; if it was not, no caller has to poll it.
//! 3. Once `over`, no waker is there: all were woken. The output stays until the last caller has it.
//! 4. The future may hold the flight's own waker, and so the flight. It is dropped when the flight is over.

use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    error::unharmed,
    sync::{Mutex, MutexGuard},
};

/// Boxed and nameless, so that a caller that joins need not know what is executed.
type Execution<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(super) struct Flight<T> {
    /// A leaf lock.
    state: Mutex<State<T>>,
}

struct State<T> {
    /// `None` until it is launched, while it is polled, and once it is over.
    future: Option<Execution<T>>,
    /// There is a reason to poll the future.
    woken: bool,
    /// Who polled it last: as a future that nobody shares, it is polled whenever that caller is.
    polled_by: u64,
    output: Option<Arc<T>>,
    over: bool,
    /// Nobody joins any more.
    closed: bool,
    /// How many neither left nor have the output.
    callers: usize,
    /// Whether the first is one of them.
    first: bool,
    waiting: Waiting,
    next_caller: u64,
}

/// The first caller's number.
const FIRST: u64 = 0;

/// The wakers of the callers that wait: of the first one, and of the others in the order in which they joined.
#[derive(Default)]
struct Waiting {
    first: Option<Waker>,
    others: BTreeMap<u64, Waker>,
}

impl Waiting {
    fn has(&self, id: u64, waker: &Waker) -> bool {
        let known = match id {
            FIRST => self.first.as_ref(),
            _ => self.others.get(&id),
        };
        known.is_some_and(|known| known.will_wake(waker))
    }

    /// Returns the waker before, which can run anything when it is dropped.
    #[must_use]
    fn put(&mut self, id: u64, waker: Waker) -> Option<Waker> {
        match id {
            FIRST => self.first.replace(waker),
            _ => self.others.insert(id, waker),
        }
    }

    #[must_use]
    fn remove(&mut self, id: u64) -> Option<Waker> {
        match id {
            FIRST => self.first.take(),
            _ => self.others.remove(&id),
        }
    }

    /// All of them, to be woken without the lock.
    #[must_use]
    fn take(&mut self) -> WakeAll {
        WakeAll(mem::take(self))
    }
}

/// Wakes the waiting callers when it is dropped.
struct WakeAll(Waiting);

impl Drop for WakeAll {
    fn drop(&mut self) {
        let Waiting { first, others } = mem::take(&mut self.0);
        for waker in first.into_iter().chain(others.into_values()) {
            unharmed(|| waker.wake());
        }
    }
}

impl<T> State<T> {
    /// The waiting callers, if the future was woken while it was polled.
    #[must_use]
    fn wakes_all(&mut self) -> Option<WakeAll> {
        (self.woken && self.future.is_some()).then(|| self.waiting.take())
    }

    /// Takes a caller out.
    #[must_use]
    fn remove(&mut self, id: u64) -> Option<Waker> {
        self.callers -= 1;
        self.first &= id != FIRST;
        self.waiting.remove(id)
    }
}

impl<T> Flight<T> {
    /// A flight with its first caller, which [launches](Caller::launch) it.
    pub(super) fn new() -> (Arc<Self>, Caller<T>) {
        let state = State {
            future: None,
            woken: true,
            polled_by: FIRST,
            output: None,
            over: false,
            closed: false,
            callers: 1,
            first: true,
            waiting: Waiting::default(),
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

impl<T: Send + Sync + 'static> Wake for Flight<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    /// The future is to be polled: by any caller that waits.
    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.state();
        if state.over || mem::replace(&mut state.woken, true) {
            // All that wait were woken, or will be when the future comes back.
            return;
        }
        // Where it is being polled, that caller wakes them when it puts it back: they could do nothing before.
        if state.future.is_some() {
            let waiting = state.waiting.take();
            drop(state);
            drop(waiting);
        }
    }
}

/// One caller's share of a flight.
pub(super) struct Caller<T> {
    flight: Arc<Flight<T>>,
    id: u64,
    done: bool,
}

impl<T> Caller<T> {
    /// Says what the execution is. Callers that were polled before can poll it now. If `make` panics, the flight is over.
    pub(super) fn launch(&self, make: impl FnOnce() -> Execution<T>) {
        let launching = Polling(&self.flight);
        let future = make();
        mem::forget(launching);
        let mut state = self.flight.state();
        state.future = Some(future);
        let waiting = state.waiting.take();
        drop(state);
        drop(waiting);
    }

    /// Keeps others from joining, unless some have.
    pub(super) fn close(&self) -> bool {
        let mut state = self.flight.state();
        state.closed |= state.callers == 1;
        state.closed
    }
}

impl<T: Clone + Send + Sync + 'static> Caller<T> {
    /// The output: moved to the last caller, cloned for the others.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let future = {
            let mut state = self.flight.state();
            if state.over {
                drop(state);
                return Poll::Ready(self.take_output());
            }
            let future = if state.woken || state.polled_by == self.id {
                state.future.take()
            } else {
                None
            };
            if future.is_some() {
                state.woken = false;
                state.polled_by = self.id;
            }
            future
        };
        let Some(mut future) = future else {
            return self.wait(None, cx);
        };
        // A panic ends the flight, and takes the future along.
        let polling = Polling(&self.flight);
        let waker = Waker::from(Arc::clone(&self.flight));
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        mem::forget(polling);
        match polled {
            Poll::Ready(output) => Poll::Ready(self.land(future, output)),
            Poll::Pending => self.wait(Some(future), cx),
        }
    }

    /// Puts the future back, where this caller polled it, and leaves its waker, unless that is known.
    fn wait(&mut self, polled: Option<Execution<T>>, cx: &mut Context<'_>) -> Poll<T> {
        let mut state = self.flight.state();
        if polled.is_some() {
            state.future = polled;
        }
        if !state.over && !state.waiting.has(self.id, cx.waker()) {
            // First, as the clone may panic: what was woken while it was polled every caller can poll now.
            let woken = state.wakes_all();
            drop(state);
            drop(woken);
            // Cloning it can run anything, so that is done without the lock.
            let waker = cx.waker().clone();
            state = self.flight.state();
            let old = state.waiting.put(self.id, waker);
            if state.over {
                // All others were woken, and this one goes on at once.
                let own = state.waiting.take();
                drop(state);
                drop((old, own));
                return Poll::Ready(self.take_output());
            }
            let woken = state.wakes_all();
            drop(state);
            drop((old, woken));
            return Poll::Pending;
        }
        if state.over {
            drop(state);
            return Poll::Ready(self.take_output());
        }
        let woken = state.wakes_all();
        drop(state);
        drop(woken);
        Poll::Pending
    }

    fn land(&mut self, future: Execution<T>, output: T) -> T {
        let mut state = self.flight.state();
        state.over = true;
        let own = state.remove(self.id);
        self.done = true;
        if state.callers == 0 {
            drop(state);
            // What the execution holds (its key) is free before the caller sees the output.
            drop((future, own));
            return output;
        }
        let output = Arc::new(output);
        state.output = Some(Arc::clone(&output));
        // They are woken even if dropping the future panics.
        let waiting = state.waiting.take();
        drop(state);
        drop((future, own));
        drop(waiting);
        unwrap_or_clone(output)
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

/// Ends the flight if it is dropped: the poll of its future panicked, or what was to make that.
struct Polling<'a, T>(&'a Flight<T>);

impl<T> Drop for Polling<'_, T> {
    #[cold]
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.over = true;
        let waiting = state.waiting.take();
        drop(state);
        drop(waiting);
    }
}

impl<T> Drop for Caller<T> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.flight.state();
        let own = state.remove(self.id);
        let mut gone = None;
        if state.callers == 0 {
            state.over = true;
            gone = Some((state.future.take(), state.output.take()));
        }
        drop(state);
        drop((own, gone));
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
