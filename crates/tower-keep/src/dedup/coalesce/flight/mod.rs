//! One execution and the callers that wait for it. No clock, no runtime.
//!
//! The execution belongs to all callers: the leader, which began it, and its followers. Any of them that is polled drives
//! it, so that none depends on another being polled: a caller may be set aside, in a `select!` or a `Vec`, for as long as
//! it likes. The execution has a waker of its own, which wakes every caller that waits, as any subset of them may have been
//! set aside. When the last caller leaves, the execution is dropped.
//!
//! # Invariants
//!
//! 1. The future is taken out of the state while it is polled, so that no user code runs under the lock. A caller that
//!    is polled meanwhile leaves its waker and waits.
//! 2. While the future is in the state, `woken` says whether it was woken since it was last polled. If it was, every
//!    caller that had left its waker was woken after that; if it was not, no caller has to poll it.
//! 3. Once `over`, no waker is there: all were woken. The output stays until the last caller has it.
//! 4. The future may hold the flight's own waker, and so the flight. It is dropped when the flight is over.
//! 5. A flight serves another execution only once nobody else has it: a caller or a waker of one execution never reaches
//!    the next.

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

/// Boxed and nameless, so that a caller that joins need not know what is executed.
pub(crate) type FlightFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(crate) struct Flight<T> {
    /// A leaf lock.
    state: Mutex<State<T>>,
}

struct State<T> {
    /// `None` until it is launched, while it is polled, and once it is over.
    future: Option<FlightFuture<T>>,
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
    /// Whether the leader is one of them.
    leader: bool,
    waiting: Waiting,
    /// The number of the next caller.
    next: u64,
}

/// The leader's number.
const LEADER: u64 = 0;

/// The wakers of the callers that wait.
#[derive(Default)]
struct Waiting {
    leader: Option<Waker>,
    /// In the order in which they joined.
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

    /// Returns the waker before, which can run anything when it is dropped.
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

    /// All of them, to be woken without the lock.
    #[must_use]
    fn take(&mut self) -> Option<WakeAll> {
        let any = self.leader.is_some() || !self.followers.is_empty();
        any.then(|| WakeAll(mem::take(self)))
    }
}

/// Wakes the waiting callers when it is dropped.
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

    /// As a new one, for a flight that is over and has no caller: it holds nothing any more.
    fn begin_again(&mut self) {
        self.woken = true;
        self.polled_by = LEADER;
        self.over = false;
        self.closed = false;
        self.callers = 1;
        self.leader = true;
        self.next = LEADER + 1;
    }

    /// The waiting callers, if the future was woken while it was polled.
    #[must_use]
    fn wakes_all(&mut self) -> Option<WakeAll> {
        if self.woken && self.future.is_some() {
            self.waiting.take()
        } else {
            None
        }
    }

    /// Takes a caller out.
    #[must_use]
    fn remove(&mut self, id: u64) -> Option<Waker> {
        self.callers -= 1;
        self.leader &= id != LEADER;
        self.waiting.remove(id)
    }
}

impl<T> Flight<T> {
    /// A flight, whose [leader](Self::leader) is to [launch](Caller::launch) it.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new()),
        })
    }

    /// The leader of a new flight, once.
    pub(crate) fn leader(self: &Arc<Self>) -> Caller<T> {
        Caller {
            flight: Arc::clone(self),
            id: LEADER,
            done: false,
        }
    }

    /// How many joined and still wait.
    pub(crate) fn followers(&self) -> usize {
        let state = self.state();
        state.callers - usize::from(state.leader)
    }

    /// Joins the flight; `None` if it is over or closed.
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
    /// As [`new`](Self::new), in the memory of a flight that no caller and no waker has any more: it is over. Any other
    /// is given back.
    pub(crate) fn reuse(
        spare: Arc<dyn AnyFlight>,
    ) -> Result<Arc<Self>, Arc<dyn Any + Send + Sync>> {
        let mut flight = spare.any().downcast::<Self>()?;
        match Arc::get_mut(&mut flight) {
            Some(Self { state }) => {
                let state = state.get_mut();
                state.unwrap_or_else(PoisonError::into_inner).begin_again();
                Ok(flight)
            }
            None => Err(flight),
        }
    }
}

impl<T: Send + Sync + 'static> ArcWake for Flight<T> {
    /// The future is to be polled: by any caller that waits.
    fn wake_by_ref(flight: &Arc<Self>) {
        let mut state = flight.state();
        if state.over || mem::replace(&mut state.woken, true) {
            // All that wait were woken, or will be when the future comes back.
            return;
        }
        // Where it is being polled, that caller wakes them when it puts it back: they could do nothing before.
        let waiting = state.wakes_all();
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
    /// Says what the execution is. Callers that were polled before can poll it now. If `make` panics, the flight is over.
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

    /// Keeps others from joining, unless some have.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.flight.state();
        state.closed |= state.callers == 1;
        state.closed
    }
}

impl<T: Clone + Send + Sync + 'static> Caller<T> {
    /// The output: moved to the last caller, cloned for the others. `None` where the execution panicked, or what was to
    /// make it.
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
        // A panic ends the flight, and takes the future along.
        let polling = Polling(&self.flight);
        let waker = waker_ref(&self.flight);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        mem::forget(polling);
        match polled {
            Poll::Ready(output) => Poll::Ready(Some(self.land(future, output))),
            Poll::Pending => self.wait(Some(future), cx),
        }
    }

    /// Puts the future back, where this caller polled it, and leaves its waker, unless that is known.
    fn wait(&mut self, polled: Option<FlightFuture<T>>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.flight.state();
        if polled.is_some() {
            state.future = polled;
        }
        let mut old = None;
        if !state.over && !state.waiting.has(self.id, cx.waker()) {
            // First, as the clone may panic: what was woken while it was polled every caller can poll now.
            let woken = state.wakes_all();
            drop(state);
            drop(woken);
            // Cloning it can run anything, so that is done without the lock.
            let waker = cx.waker().clone();
            state = self.flight.state();
            old = state.waiting.put(self.id, waker);
        }
        let (over, woken) = match state.over {
            // All others were woken, and this one goes on at once.
            true => (true, state.waiting.take()),
            false => (false, state.wakes_all()),
        };
        drop(state);
        drop((old, woken));
        match over {
            true => Poll::Ready(self.take_output()),
            false => Poll::Pending,
        }
    }

    fn land(&mut self, future: FlightFuture<T>, output: T) -> T {
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

    fn take_output(&mut self) -> Option<T> {
        assert!(
            !mem::replace(&mut self.done, true),
            "a call was polled after it was ready"
        );
        let mut state = self.flight.state();
        // Its waker went when the flight was over.
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
