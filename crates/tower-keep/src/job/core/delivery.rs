//! Events to observers: in order, one at a time, without the lock.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, MutexGuard, atomic::Ordering},
};

use tokio::time::Instant;

use super::{Core, ELSEWHERE, ENDED, HELD, OBSERVED, STARTED, State};
use crate::event::{Event, EventKind, Observer, Report, StepInfo};

/// The observers of a job, and the events on their way to them.
pub(super) struct Stream {
    observers: Observers,
    /// Empty unless an event came while another was being delivered.
    queue: VecDeque<(Event, Target)>,
    delivering: bool,
    next_seq: u64,
    /// When `Started` was told, and its sequence number.
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

    fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }
}

/// The first few inline, so that they cost no allocation and are copied out with the lock taken once.
#[derive(Default)]
struct Observers {
    first: [Option<Arc<dyn Observer>>; INLINE],
    more: Vec<Arc<dyn Observer>>,
}

const INLINE: usize = 2;

impl Observers {
    fn iter(&self) -> impl Iterator<Item = &Arc<dyn Observer>> {
        self.first.iter().flatten().chain(&self.more)
    }

    fn len(&self) -> usize {
        self.iter().count()
    }

    fn push(&mut self, observer: Arc<dyn Observer>) {
        match self.first.iter_mut().find(|free| free.is_none()) {
            Some(free) => *free = Some(observer),
            None => self.more.push(observer),
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

impl Target {
    fn takes(self, observer: usize) -> bool {
        match self {
            Self::First(count) => observer < count,
            Self::Only(index) => observer == index,
        }
    }
}

impl Core {
    /// Registers an observer, once, and tells it what it missed.
    pub(crate) fn observe(&self, observer: &Arc<dyn Observer>) {
        let mut state = self.state();
        if self.has(ENDED)
            || state
                .stream
                .observers
                .iter()
                .any(|known| Arc::ptr_eq(known, observer))
        {
            return;
        }
        let index = state.stream.observers.len();
        state.stream.observers.push(Arc::clone(observer));
        // Whoever sets `STARTED` or `ENDED` after this sees that somebody watches, and tells.
        let before = self.flags.fetch_or(OBSERVED, Ordering::AcqRel);
        let dispatched = Event {
            attempt: 1,
            ..self.event(EventKind::Dispatched, self.born, 0, None)
        };
        let missed = if before & STARTED == 0 {
            None
        } else {
            let (at, seq) = match state.stream.started {
                Some(started) => started,
                // Whoever set the flag is about to tell all observers, this one too.
                None if before & OBSERVED != 0 => {
                    return self.tell(state, Target::Only(index), dispatched, None);
                }
                None => {
                    // Nobody watched when it happened, so nobody took the time.
                    let started = (self.born, state.stream.next_seq());
                    state.stream.started = Some(started);
                    started
                }
            };
            Some(Event {
                attempt: 1,
                ..self.event(EventKind::Started, at, seq, None)
            })
        };
        self.tell(state, Target::Only(index), dispatched, missed);
    }

    fn event(&self, kind: EventKind, at: Instant, seq: u64, step: Option<StepInfo>) -> Event {
        Event {
            job: self.id,
            name: self.name.clone(),
            parent: self.parent_id(),
            attempt: self.attempt(),
            seq,
            at,
            elapsed: at.saturating_duration_since(self.born),
            step,
            kind,
        }
    }

    /// Sends an event, unless the job is over. `make` runs only if somebody watches, and outside the lock.
    pub(crate) fn emit(&self, make: impl FnOnce() -> EventKind) {
        if !self.has(OBSERVED) {
            return;
        }
        let kind = make();
        let at = Instant::now();
        let state = self.state();
        let step = state.steps.of_event(&kind, self.id).cloned();
        self.emit_in(state, kind, at, step);
    }

    pub(super) fn emit_in(
        &self,
        mut state: MutexGuard<'_, State>,
        kind: EventKind,
        at: Instant,
        step: Option<StepInfo>,
    ) {
        if self.has(ENDED) {
            return;
        }
        let started = if self.has(HELD) || !kind.implies_started() || self.set(STARTED) {
            None
        } else {
            Some(self.started_event(&mut state, at))
        };
        let seq = state.stream.next_seq();
        let event = self.event(kind, at, seq, step);
        let everyone = Target::First(state.stream.observers.len());
        match started {
            Some(started) => self.tell(state, everyone, started, Some(event)),
            None => self.tell(state, everyone, event, None),
        }
    }

    /// The job's last event, once it is marked as over.
    pub(super) fn tell_ending(
        &self,
        mut state: MutexGuard<'_, State>,
        kind: EventKind,
        at: Instant,
    ) {
        let seq = state.stream.next_seq();
        let step = state.steps.of_event(&kind, self.id).cloned();
        let event = self.event(kind, at, seq, step);
        let everyone = Target::First(state.stream.observers.len());
        self.tell(state, everyone, event, None);
    }

    pub(crate) fn report(&self, report: Report) {
        self.touch();
        self.emit(|| EventKind::Progress(report));
    }

    /// The call got past every gate, unless one still holds it back, or it runs in a task of its own.
    #[inline(always)]
    pub(crate) fn started(&self) {
        if self.flags.load(Ordering::Relaxed) & (STARTED | HELD | ENDED | ELSEWHERE) == 0 {
            self.started_now();
        }
    }

    /// As [`started`](Self::started), said by the task in which the work runs.
    pub(crate) fn started_here(&self) {
        if self.flags.load(Ordering::Relaxed) & (STARTED | HELD | ENDED) == 0 {
            self.started_now();
        }
    }

    #[cold]
    fn started_now(&self) {
        let before = self.flags.fetch_or(STARTED, Ordering::AcqRel);
        if before & STARTED != 0 || before & OBSERVED == 0 {
            return;
        }
        let at = Instant::now();
        let mut state = self.state();
        // An observer that came in between has told it already.
        if !self.has(ENDED) && state.stream.started.is_none() {
            let started = self.started_event(&mut state, at);
            let everyone = Target::First(state.stream.observers.len());
            self.tell(state, everyone, started, None);
        }
    }

    fn started_event(&self, state: &mut State, at: Instant) -> Event {
        let seq = state.stream.next_seq();
        state.stream.started = Some((at, seq));
        self.event(EventKind::Started, at, seq, None)
    }

    /// A gate keeps the call waiting before it may start.
    pub(crate) fn hold(&self) {
        self.set(HELD);
    }

    /// Whether nothing of the job runs: a gate keeps it waiting, or another job does its work.
    pub(crate) fn is_held(&self) -> bool {
        self.has(HELD)
    }

    /// The gate let the call through.
    pub(crate) fn release(&self) {
        self.clear(HELD);
    }

    /// Delivers one or two events, and what is queued meanwhile, unless another thread is at it: that one goes on
    /// with them then.
    fn tell<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        target: Target,
        event: Event,
        then: Option<Event>,
    ) {
        if state.stream.delivering {
            state.stream.queue.push_back((event, target));
            state.stream.queue.extend(then.map(|then| (then, target)));
            return;
        }
        state.stream.delivering = true;
        state = self.hand_out(state, target, &event);
        if let Some(then) = then {
            state = self.hand_out(state, target, &then);
        }
        while let Some((event, target)) = state.stream.queue.pop_front() {
            state = self.hand_out(state, target, &event);
        }
        state.stream.delivering = false;
    }

    /// Calls the observers, without the lock.
    fn hand_out<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        target: Target,
        event: &Event,
    ) -> MutexGuard<'a, State> {
        let first = state.stream.observers.first.clone();
        let more = state.stream.observers.more.len();
        drop(state);
        for (index, observer) in first.iter().flatten().enumerate() {
            if target.takes(index) {
                call(&**observer, event);
            }
        }
        drop(first);
        for index in (0..more).filter(|index| target.takes(index + INLINE)) {
            let observer = self.state().stream.observers.more.get(index).cloned();
            if let Some(observer) = observer {
                call(&*observer, event);
            }
        }
        self.state()
    }
}

/// A panicking observer must not reach the job, nor leave `delivering` set.
fn call(observer: &dyn Observer, event: &Event) {
    let _ = catch_unwind(AssertUnwindSafe(|| observer.on_event(event)));
}
