//! Events to observers: in order, one at a time, without the lock.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, MutexGuard, atomic::Ordering},
};

use tokio::time::Instant;

use super::{Core, ENDED, HELD, OBSERVED, STARTED, State};
use crate::event::{Event, EventKind, Observer, Report};

/// The observers of a job, and the events on their way to them.
pub(super) struct Stream {
    observers: Observers,
    queue: VecDeque<(Event, Target)>,
    delivering: bool,
    next_seq: u64,
    /// When `Started` was recorded, and its sequence number.
    started: Option<(Instant, u64)>,
}

impl Stream {
    pub(super) fn new() -> Self {
        Self {
            observers: Observers::default(),
            queue: VecDeque::new(),
            delivering: false,
            // `Dispatched` is number 0 of every job, whether somebody watches yet or not.
            next_seq: 1,
            started: None,
        }
    }
}

/// One observer inline, so that a single one costs no allocation.
#[derive(Default)]
struct Observers {
    first: Option<Arc<dyn Observer>>,
    more: Vec<Arc<dyn Observer>>,
}

impl Observers {
    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    fn get(&self, index: usize) -> Option<Arc<dyn Observer>> {
        match index.checked_sub(1) {
            None => self.first.clone(),
            Some(index) => self.more.get(index).cloned(),
        }
    }

    fn contains(&self, observer: &Arc<dyn Observer>) -> bool {
        self.first
            .iter()
            .chain(&self.more)
            .any(|known| Arc::ptr_eq(known, observer))
    }

    fn push(&mut self, observer: Arc<dyn Observer>) {
        if self.first.is_none() {
            self.first = Some(observer);
        } else {
            self.more.push(observer);
        }
    }
}

#[derive(Clone, Copy)]
enum Target {
    /// The observers that were registered when the event was queued.
    First(usize),
    /// One that came later and is told what it missed.
    Only(usize),
}
impl Core {
    /// Registers an observer, once, and tells it what it missed.
    pub(crate) fn observe(&self, observer: &Arc<dyn Observer>) {
        let mut state = self.state();
        if self.has(ENDED) || state.stream.observers.contains(observer) {
            return;
        }
        let index = state.stream.observers.len();
        state.stream.observers.push(Arc::clone(observer));
        self.set(OBSERVED);
        let target = Target::Only(index);
        let dispatched = Event {
            attempt: 1,
            ..self.event(EventKind::Dispatched, self.born, 0)
        };
        state.stream.queue.push_back((dispatched, target));
        if let Some((at, seq)) = state.stream.started {
            let started = Event {
                attempt: 1,
                ..self.event(EventKind::Started, at, seq)
            };
            state.stream.queue.push_back((started, target));
        }
        self.deliver(state);
    }

    fn event(&self, kind: EventKind, at: Instant, seq: u64) -> Event {
        Event {
            job: self.id,
            name: self.name.clone(),
            parent: self.parent_id(),
            attempt: self.attempt(),
            seq,
            at,
            elapsed: at.saturating_duration_since(self.born),
            kind,
        }
    }

    pub(super) fn push(&self, state: &mut State, kind: EventKind, at: Instant) {
        let seq = state.stream.next_seq;
        state.stream.next_seq += 1;
        let event = self.event(kind, at, seq);
        let target = Target::First(state.stream.observers.len());
        state.stream.queue.push_back((event, target));
    }

    fn push_started(&self, state: &mut State, at: Instant) {
        if !self.set(STARTED) {
            state.stream.started = Some((at, state.stream.next_seq));
            self.push(state, EventKind::Started, at);
        }
    }

    /// Sends an event, unless the job is over. `make` runs only if somebody watches, and outside the lock.
    pub(crate) fn emit(&self, make: impl FnOnce() -> EventKind) {
        if !self.has(OBSERVED) {
            return;
        }
        let kind = make();
        let at = Instant::now();
        let mut state = self.state();
        if self.has(ENDED) {
            return;
        }
        if !self.has(HELD) && kind.implies_started() {
            self.push_started(&mut state, at);
        }
        self.push(&mut state, kind, at);
        self.deliver(state);
    }

    pub(crate) fn report(&self, report: Report) {
        self.emit(|| EventKind::Progress(report));
    }

    /// The call got past every gate, unless one still holds it back.
    #[inline]
    pub(crate) fn started(&self) {
        if self.flags.load(Ordering::Relaxed) & (STARTED | HELD | ENDED) == 0 {
            self.started_slow();
        }
    }

    #[cold]
    fn started_slow(&self) {
        if self.has(OBSERVED) {
            let at = Instant::now();
            let mut state = self.state();
            if !self.has(ENDED) {
                self.push_started(&mut state, at);
                self.deliver(state);
            }
        } else {
            let mut state = self.state();
            if !self.set(STARTED) {
                state.stream.started = Some((self.born, state.stream.next_seq));
                state.stream.next_seq += 1;
            }
        }
    }

    /// A gate keeps the call waiting before it may start.
    pub(crate) fn hold(&self) {
        self.set(HELD);
    }

    /// The gate let the call through.
    pub(crate) fn release(&self) {
        self.clear(HELD);
    }

    /// Delivers what is queued, unless another thread does so already.
    pub(super) fn deliver<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        if state.stream.delivering {
            return;
        }
        state.stream.delivering = true;
        while let Some((event, target)) = state.stream.queue.pop_front() {
            let range = match target {
                Target::First(count) => 0..count,
                Target::Only(index) => index..index + 1,
            };
            for index in range {
                let observer = state.stream.observers.get(index);
                drop(state);
                if let Some(observer) = observer {
                    // A panicking observer must not reach the job, nor leave `delivering` set.
                    let _ = catch_unwind(AssertUnwindSafe(|| observer.on_event(&event)));
                }
                state = self.state();
            }
        }
        state.stream.delivering = false;
    }
}
