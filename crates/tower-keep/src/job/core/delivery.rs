//! Events to observers: in order, one at a time, without the lock.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::time::Instant;

use super::{
    Core, ELSEWHERE, ENDED, HELD, OBSERVED, SHARED, START_UNHEARD, STARTED, State, TRACED,
    followers::Told, steps::Key,
};
use crate::{
    event::{Event, EventKind, JobName, Observer, Report, StepInfo},
    listeners::tracing_listens,
    sync::{MutexGuard, atomic::Ordering},
};

/// The observers of a job, and the events on their way to them.
pub(super) struct Stream {
    observers: Observers,
    /// Empty unless an event came while another was being delivered.
    queue: VecDeque<(Event, Target)>,
    delivering: bool,
    /// The observers know how the job ended, or there is none that could be told.
    ending_told: bool,
    next_seq: u64,
    /// When `Started` was told, and its sequence number.
    started: Option<(Instant, u64)>,
}

impl Stream {
    pub(super) fn is_ending_told(&self) -> bool {
        self.ending_told
    }

    pub(super) fn new() -> Self {
        Self {
            observers: Observers::default(),
            queue: VecDeque::new(),
            delivering: false,
            ending_told: false,
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
    /// Which of the first write to tracing, so that they are left out while it has no listener.
    traced: [bool; INLINE],
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

    fn push(&mut self, observer: Arc<dyn Observer>, traced: bool) {
        match self.first.iter().position(Option::is_none) {
            Some(free) => {
                self.first[free] = Some(observer);
                self.traced[free] = traced;
            }
            None => self.more.push(observer),
        }
    }

    /// The first few, without observers that nobody would hear.
    fn first(&self) -> [Option<Arc<dyn Observer>>; INLINE] {
        let left_out = if self.traced.contains(&true) && !tracing_listens() {
            self.traced
        } else {
            [false; INLINE]
        };
        std::array::from_fn(|index| match left_out[index] {
            true => None,
            false => self.first[index].clone(),
        })
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
        self.observe_as(observer, false);
    }

    /// As [`observe`](Self::observe), for a sink of tracing's. While tracing has no listener, no event is
    /// built for it; what happens then it never hears of.
    pub(crate) fn observe_for_tracing(&self, observer: &Arc<dyn Observer>) {
        self.observe_as(observer, true);
    }

    fn observe_as(&self, observer: &Arc<dyn Observer>, traced: bool) {
        let flag = if traced && !tracing_listens() {
            TRACED
        } else {
            OBSERVED
        };
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
        state.stream.observers.push(Arc::clone(observer), traced);
        // Whoever sets `STARTED` or `ENDED` after this sees that somebody watches, and tells.
        let before = self.flags.fetch_or(flag, Ordering::AcqRel);
        if before & (OBSERVED | ENDED) == ENDED {
            // It ended just now, unwatched, and nobody will tell. There may be a last handle to the observer.
            let unheard = std::mem::take(&mut state.stream.observers);
            state.stream.ending_told = true;
            drop(state);
            drop(unheard);
            return;
        }
        if flag == TRACED {
            return;
        }
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
                None if before & (OBSERVED | START_UNHEARD) == OBSERVED => {
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
            name: self.name().clone(),
            parent: self.parent_id(),
            attempt: self.attempt(),
            seq,
            at,
            elapsed: at.saturating_duration_since(self.born),
            step,
            kind,
        }
    }

    /// Names a job that has no name yet. Observers that know the job without a name learn of it.
    #[cold]
    pub(crate) fn set_name(&self, name: JobName) {
        if name.is_empty() || self.name.set(name).is_err() {
            return;
        }
        let (first, more) = {
            let observers = &self.state().stream.observers;
            (observers.first.clone(), observers.more.clone())
        };
        for observer in first.iter().flatten().chain(&more) {
            self.guarded(|| observer.on_named(self.id, self.name()));
        }
    }

    /// Sends an event of this step, unless the job is over; a report also to those that wait for its work.
    pub(crate) fn emit(&self, here: Option<Key>, kind: EventKind) {
        if !self.is_heard() {
            return;
        }
        let at = Instant::now();
        let state = self.state();
        let step = state.steps.of_event(&kind, here).cloned();
        self.emit_in(state, kind, at, step);
    }

    /// Whether an event may reach anybody.
    pub(crate) fn is_heard(&self) -> bool {
        self.has(SHARED) || self.is_observed()
    }

    /// Whether an event reaches an observer. Asked at each event, as tracing's listeners come and go.
    #[inline]
    pub(super) fn is_observed(&self) -> bool {
        let flags = self.flags.load(Ordering::Acquire);
        flags & OBSERVED != 0 || (flags & TRACED != 0 && tracing_listens() && self.listen())
    }

    /// tracing has a listener now: its sink is an observer like others from here on.
    #[cold]
    fn listen(&self) -> bool {
        let before = self.update(|flags| match flags & (ENDED | OBSERVED | STARTED) {
            0 => flags | OBSERVED,
            STARTED => flags | OBSERVED | START_UNHEARD,
            _ => flags,
        });
        before & ENDED == 0
    }

    /// As [`emit`](Self::emit), of this step.
    pub(super) fn emit_in(
        &self,
        state: MutexGuard<'_, State>,
        kind: EventKind,
        at: Instant,
        step: Option<StepInfo>,
    ) {
        let mut state = state;
        // Queued under the same lock as the event, so that the followers see the reports in the same order.
        let forwards = self.has(SHARED) && kind.is_report() && {
            let told = Told {
                kind: kind.clone(),
                step: step.clone(),
            };
            Self::queue_report(&mut state, told, 0)
        };
        self.tell_observers(state, kind, at, step);
        if forwards {
            self.hand_on();
        }
    }

    pub(super) fn tell_observers(
        &self,
        mut state: MutexGuard<'_, State>,
        kind: EventKind,
        at: Instant,
        step: Option<StepInfo>,
    ) {
        if !self.is_observed() || self.has(ENDED) {
            return;
        }
        let started = if self.has(HELD) || !kind.implies_started() {
            None
        } else {
            self.set(STARTED);
            // Whoever set it before may not have told it yet: it comes first all the same.
            let untold = state.stream.started.is_none() && !self.has(START_UNHEARD);
            untold.then(|| self.started_event(&mut state, at))
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
        here: Option<Key>,
        kind: EventKind,
        at: Instant,
    ) {
        let seq = state.stream.next_seq();
        let step = state.steps.of_event(&kind, here).cloned();
        let event = self.event(kind, at, seq, step);
        let everyone = Target::First(state.stream.observers.len());
        self.tell(state, everyone, event, None);
    }

    pub(crate) fn report(&self, here: Option<Key>, report: Report) {
        self.touch();
        self.emit(here, EventKind::Progress(report));
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
        // Before the flag is set: a listener that comes after that does not report it.
        let _ = self.is_observed();
        let before = self.flags.fetch_or(STARTED, Ordering::AcqRel);
        if before & STARTED != 0 || before & OBSERVED == 0 {
            return;
        }
        let at = Instant::now();
        let mut state = self.state();
        // An observer or another event that came in between has told it already.
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

    /// The call does not go further. Unless the job has started by another call, it never does.
    pub(crate) fn hold_back(&self) {
        if !self.has(STARTED) {
            self.hold();
        }
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
        let ending_told = state.stream.ending_told;
        drop(state);
        if ending_told {
            self.let_go();
        }
    }

    /// Calls the observers, without the lock.
    fn hand_out<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        target: Target,
        event: &Event,
    ) -> MutexGuard<'a, State> {
        let first = state.stream.observers.first();
        let more = state.stream.observers.more.len();
        drop(state);
        for (index, observer) in first.iter().enumerate() {
            if let Some(observer) = observer.as_ref().filter(|_| target.takes(index)) {
                self.guarded(|| observer.on_event(event));
            }
        }
        drop(first);
        for index in (0..more).filter(|index| target.takes(index + INLINE)) {
            let observer = self.state().stream.observers.more.get(index).cloned();
            if let Some(observer) = observer {
                self.guarded(|| observer.on_event(event));
            }
        }
        let mut state = self.state();
        state.stream.ending_told |= event.kind.is_terminal();
        state
    }

    /// A panicking observer must not reach the job, nor leave `delivering` set.
    fn guarded(&self, tell: impl Fn()) {
        (self.tell)(&mut || {
            let _ = catch_unwind(AssertUnwindSafe(&tell));
        });
    }
}
