//! A flight: one execution, shared by the callers that wait for it. No clock, no runtime.
//!
//! The execution belongs to all callers: the leader, which began it, and its followers. Any of them
//! that is polled drives the execution. So no caller depends on another one being polled: a caller
//! may be set aside, in a `select!` or a `Vec`, for any time. The execution has its own waker. It
//! wakes every waiting caller, as any subset of them may have been set aside. When the last caller
//! leaves, the execution is dropped.
//!
//! # Invariants
//!
//! 1. The future is taken out of the state while it is polled, so that no user code runs under the
//!    lock. A caller that is polled meanwhile leaves its waker and waits.
//! 2. While the future is in the state, `woken` says whether it was woken since its last poll. If
//!    so, every caller that had left its waker was woken after that. If not, no caller has to poll
//!    it.
//! 3. Once `over`, no waker is stored: all were woken. The output stays until the last caller has
//!    it.
//! 4. The future may hold the flight's own waker, and thus the flight. It is dropped when the
//!    flight is over.
//! 5. A flight is reused only when no reference to it is left. So a caller or a waker of one
//!    execution never reaches the next.

use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_util::task::{ArcWake, waker_ref};

use crate::{
    error::unharmed,
    sync::{Mutex, MutexGuard},
};

/// Boxed and type-erased, so that followers need not know the leader's types.
pub(crate) type FlightFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(crate) struct Flight<T> {
    /// A leaf lock.
    state: Mutex<State<T>>,
}

struct State<T> {
    /// `None` until the launch, while it is polled, and once it is over.
    future: Option<FlightFuture<T>>,
    /// The future has to be polled.
    woken: bool,
    /// The caller that polled the future last. Whenever that caller is polled, so is the future, as
    /// if it were not shared.
    polled_by: u64,
    output: Option<Arc<T>>,
    over: bool,
    /// No caller can join any more.
    closed: bool,
    /// The number of callers that have neither left nor got the output.
    callers: usize,
    /// Whether the leader is one of `callers`.
    leader: bool,
    waiting: Waiting,
    /// The id of the next caller.
    next: u64,
}

/// The leader's id.
const LEADER: u64 = 0;

/// The wakers of the waiting callers.
#[derive(Default)]
struct Waiting {
    leader: Option<Waker>,
    /// By caller id, which is the order in which they joined.
    followers: BTreeMap<u64, Waker>,
}

impl Waiting {
    fn has(&self, id: u64, waker: &Waker) -> bool {
        let known = match id {
            LEADER => self.leader.as_ref(),
            _ => self.followers.get(&id),
        };
        known.is_some_and(|known| known.will_wake(waker))
    }

    /// Returns the replaced waker, whose drop may run user code.
    #[must_use]
    fn put(&mut self, id: u64, waker: Waker) -> Option<Waker> {
        match id {
            LEADER => self.leader.replace(waker),
            _ => self.followers.insert(id, waker),
        }
    }

    #[must_use]
    #[inline]
    fn remove(&mut self, id: u64) -> Option<Waker> {
        match id {
            LEADER => self.leader.take(),
            _ => self.followers.remove(&id),
        }
    }

    /// Takes all wakers, to wake them without the lock.
    #[must_use]
    fn take(&mut self) -> Option<WakeAll> {
        let any = self.leader.is_some() || !self.followers.is_empty();
        any.then(|| WakeAll(mem::take(self)))
    }
}

/// Wakes the waiting callers on drop.
struct WakeAll(Waiting);

impl Drop for WakeAll {
    fn drop(&mut self) {
        let Waiting { leader, followers } = mem::take(&mut self.0);
        for waker in leader.into_iter().chain(followers.into_values()) {
            unharmed(|| waker.wake());
        }
    }
}

impl<T> State<T> {
    fn new() -> Self {
        Self {
            future: None,
            woken: true,
            polled_by: LEADER,
            output: None,
            over: false,
            closed: false,
            callers: 1,
            leader: true,
            waiting: Waiting::default(),
            next: LEADER + 1,
        }
    }

    /// Resets a flight that is over and has no caller, and so holds no future, output or waker.
    fn reset(&mut self) {
        self.woken = true;
        self.polled_by = LEADER;
        self.over = false;
        self.closed = false;
        self.callers = 1;
        self.leader = true;
        self.next = LEADER + 1;
    }

    /// Takes the waiting callers, if the future was woken while it was polled.
    #[must_use]
    fn take_if_woken(&mut self) -> Option<WakeAll> {
        if self.woken && self.future.is_some() {
            self.waiting.take()
        } else {
            None
        }
    }

    /// Removes a caller, and returns its waker.
    #[must_use]
    fn remove(&mut self, id: u64) -> Option<Waker> {
        self.callers -= 1;
        self.leader &= id != LEADER;
        self.waiting.remove(id)
    }
}

impl<T> Flight<T> {
    /// Creates a flight, whose [leader](Self::leader) has to [launch](Caller::launch) it.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new()),
        })
    }

    /// The leader of a new flight. Call it once.
    pub(crate) fn leader(self: &Arc<Self>) -> Caller<T> {
        Caller {
            flight: Arc::clone(self),
            id: LEADER,
            done: false,
        }
    }

    /// The number of followers that still wait.
    pub(crate) fn followers(&self) -> usize {
        let state = self.state();
        state.callers - usize::from(state.leader)
    }

    /// Joins the flight. Returns `None` if it is over or closed.
    pub(crate) fn join(self: &Arc<Self>) -> Option<Caller<T>> {
        let mut state = self.state();
        if state.over || state.closed {
            return None;
        }
        let id = state.next;
        state.next += 1;
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

impl<T: Send + Sync + 'static> Flight<T> {
    /// As [`new`](Self::new), but reuses the memory of a finished flight. Fails with `spare` if it
    /// is still referenced or of another type.
    pub(crate) fn reuse(
        spare: Arc<dyn AnyFlight>,
    ) -> Result<Arc<Self>, Arc<dyn Any + Send + Sync>> {
        let mut flight = spare.any().downcast::<Self>()?;
        match Arc::get_mut(&mut flight) {
            Some(Self { state }) => {
                let state = state.get_mut();
                state.unwrap_or_else(PoisonError::into_inner).reset();
                Ok(flight)
            }
            None => Err(flight),
        }
    }
}

impl<T: Send + Sync + 'static> ArcWake for Flight<T> {
    /// Marks the future as woken, so that any waiting caller polls it.
    fn wake_by_ref(flight: &Arc<Self>) {
        let mut state = flight.state();
        if state.over || mem::replace(&mut state.woken, true) {
            // All waiting callers were woken, or will be when the future comes back.
            return;
        }
        // If a caller is polling the future, that caller wakes the others when it puts the future
        // back. They could do nothing before.
        let waiting = state.take_if_woken();
        drop(state);
        drop(waiting);
    }
}

/// One caller's share of a flight.
pub(crate) struct Caller<T> {
    flight: Arc<Flight<T>>,
    id: u64,
    done: bool,
}

impl<T> Caller<T> {
    /// Sets the execution. Callers that were polled before can poll it now. If `make` panics, the
    /// flight is over.
    pub(crate) fn launch(&self, make: impl FnOnce() -> FlightFuture<T>) {
        let launching = Polling(&self.flight);
        let future = make();
        mem::forget(launching);
        let mut state = self.flight.state();
        state.future = Some(future);
        let waiting = state.waiting.take();
        drop(state);
        drop(waiting);
    }

    /// Closes the flight if this is its only caller. Returns whether the flight is closed.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.flight.state();
        state.closed |= state.callers == 1;
        state.closed
    }
}

impl<T: Clone + Send + Sync + 'static> Caller<T> {
    /// Returns the output: moved to the last caller, cloned for the others. `None` if the execution
    /// or its construction panicked.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.flight.state();
        if state.over {
            drop(state);
            return Poll::Ready(self.take_output());
        }
        let is_due = state.woken || state.polled_by == self.id;
        let Some(mut future) = state.future.take_if(|_| is_due) else {
            drop(state);
            return self.wait(None, cx);
        };
        state.woken = false;
        state.polled_by = self.id;
        drop(state);
        // A panic ends the flight, and drops the future.
        let polling = Polling(&self.flight);
        let waker = waker_ref(&self.flight);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        mem::forget(polling);
        match polled {
            Poll::Ready(output) => Poll::Ready(Some(self.complete(future, output))),
            Poll::Pending => self.wait(Some(future), cx),
        }
    }

    /// Puts the future back, if this caller polled it, and stores this caller's waker, unless it is
    /// stored already.
    fn wait(&mut self, polled: Option<FlightFuture<T>>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.flight.state();
        if polled.is_some() {
            state.future = polled;
        }
        let mut old = None;
        if !state.over && !state.waiting.has(self.id, cx.waker()) {
            // First, as the clone may panic: a future woken during its poll must reach the other
            // callers.
            let woken = state.take_if_woken();
            drop(state);
            drop(woken);
            // Cloning runs user code: not under the lock.
            let waker = cx.waker().clone();
            state = self.flight.state();
            old = state.waiting.put(self.id, waker);
        }
        let (over, woken) = match state.over {
            // All others were woken, and this caller continues at once.
            true => (true, state.waiting.take()),
            false => (false, state.take_if_woken()),
        };
        drop(state);
        drop((old, woken));
        match over {
            true => Poll::Ready(self.take_output()),
            false => Poll::Pending,
        }
    }

    fn complete(&mut self, future: FlightFuture<T>, output: T) -> T {
        let mut state = self.flight.state();
        state.over = true;
        let own = state.remove(self.id);
        self.done = true;
        if state.callers == 0 {
            drop(state);
            // The execution's key is free before the caller sees the output.
            drop((future, own));
            return output;
        }
        let output = Arc::new(output);
        state.output = Some(Arc::clone(&output));
        // Dropped last, so that the callers are woken even if dropping the future panics.
        let waiting = state.waiting.take();
        drop(state);
        drop((future, own));
        drop(waiting);
        unwrap_or_clone(output)
    }

    fn take_output(&mut self) -> Option<T> {
        assert!(
            !mem::replace(&mut self.done, true),
            "a call was polled after it was ready"
        );
        let mut state = self.flight.state();
        // Its waker was taken when the flight ended.
        let _none = state.remove(self.id);
        let output = match state.callers {
            0 => state.output.take(),
            _ => state.output.clone(),
        };
        drop(state);
        output.map(unwrap_or_clone)
    }
}

fn unwrap_or_clone<T: Clone>(output: Arc<T>) -> T {
    Arc::try_unwrap(output).unwrap_or_else(|output| (*output).clone())
}

/// Ends the flight on drop, after a panic in the future's poll or its construction.
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

/// A flight with its output type erased.
pub(crate) trait AnyFlight: Send + Sync {
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
