//! Events to observers: in order, one at a time, without the lock.

use std::{mem, num::NonZeroU64, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Core, Flag, Locked, Word,
    followers::{self, Told},
    nanos,
    steps::Key,
};
use crate::{
    error::unharmed,
    event::{Event, EventKind, JobName, Observer, StepInfo},
    listeners::tracing_listens,
};

/// The observers of a job, and the events on their way to them. Further observers and queued events are in the rare part.
pub(super) struct Stream {
    /// They cost no allocation, and are copied out with the lock taken once.
    first: First,
    next_seq: u64,
    /// `Started`, once it was told.
    started: Option<Started>,
}

type First = [Option<Arc<dyn Observer>>; INLINE];

const INLINE: usize = 2;

#[derive(Clone, Copy)]
struct Started {
    nanos_since_born: u64,
    /// Never 0, which is the number of `Dispatched`.
    seq: NonZeroU64,
}

impl Stream {
    pub(super) fn new() -> Self {
        Self {
            first: First::default(),
            // `Dispatched` is number 0 of every job, with an observer or without.
            next_seq: 1,
            started: None,
        }
    }

    fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }
}

#[derive(Clone, Copy)]
pub(super) enum Target {
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
    /// Registers an observer, once, and tells it what it missed. `traced` is a sink of tracing's: while tracing has no
    /// listener, no event is built for it, and what happens then it never hears of.
    pub(crate) fn observe(&self, observer: &Arc<dyn Observer>, traced: bool) {
        let flag = if traced && !tracing_listens() {
            Flag::Traced
        } else {
            Flag::Observed
        };
        let mut job = self.lock();
        if self.state().is_over() || job.observers().any(|known| Arc::ptr_eq(known, observer)) {
            return;
        }
        let index = job.push_observer(Arc::clone(observer), traced);
        // A thread that sets `Started` or `Ended` after this sees that there is an observer, and tells.
        let before = self.word.set(flag);
        if before.is_over() && !before.has(Flag::Observed) {
            // It ended just now, unobserved, and nobody will tell. There may be a last handle to the observer.
            let unheard = job.take_observers();
            self.word.set(Flag::EndingTold);
            drop(job);
            drop(unheard);
            return;
        }
        if flag == Flag::Traced {
            return;
        }
        let dispatched = Event {
            attempt: 1,
            ..job.event(EventKind::Dispatched, self.born, 0, None)
        };
        // A thread that set the flag just now is about to tell all observers, this one too.
        let is_coming = job.stream.started.is_none()
            && before.has(Flag::Observed)
            && !before.has(Flag::StartUnheard);
        // Where there was no observer when it happened, nobody took the time.
        let missed = (before.has(Flag::Started) && !is_coming).then(|| Event {
            attempt: 1,
            ..job.started_event(self.born)
        });
        job.tell(Target::Only(index), dispatched, missed);
    }

    /// Names a job that has no name yet. Observers that know the job without a name learn of it.
    #[cold]
    pub(crate) fn set_name(&self, name: JobName) {
        if name.is_empty() || self.name.set(name).is_err() {
            return;
        }
        let observers: Vec<_> = self.lock().observers().cloned().collect();
        (self.tell)(&mut || {
            for observer in &observers {
                unharmed(|| observer.on_named(self.id, self.name()));
            }
        });
    }

    /// Sends an event of this step, unless the job is over; a report also to those that wait for its work. Layers send
    /// events by [`context::emit`](crate::job::context::emit), which knows the step.
    pub(crate) fn emit(&self, here: Option<Key>, kind: EventKind) {
        let at = Instant::now();
        let job = self.lock();
        let step = job.step_of(&kind, here);
        job.emit(kind, at, step);
    }

    /// Whether an event may reach anybody.
    pub(crate) fn is_heard(&self) -> bool {
        self.state().is_shared() || self.is_observed()
    }

    /// Whether an event reaches an observer. Asked at each event, as tracing's listeners come and go.
    #[inline]
    pub(super) fn is_observed(&self) -> bool {
        let now = self.state();
        // Once tracing has a listener, its sink is an observer like others.
        now.has(Flag::Observed)
            || (now.has(Flag::Traced)
                && tracing_listens()
                && !self.word.update(Word::listening).is_over())
    }

    /// The call got past every gate, unless one still holds it back. Where the work runs in a task of its own, only that
    /// can say so.
    #[inline(always)]
    pub(crate) fn started(&self, in_task: bool) {
        let now = self.word.glance();
        if now.may_start() && (in_task || !now.has(Flag::Detached)) {
            self.started_now();
        }
    }

    #[cold]
    fn started_now(&self) {
        // Before the flag is set: a listener that comes after that does not report it.
        let _ = self.is_observed();
        let before = self.word.set(Flag::Started);
        if before.has(Flag::Started) || !before.has(Flag::Observed) {
            return;
        }
        let at = Instant::now();
        let mut job = self.lock();
        // An observer or another event that came in between has told it already.
        if !self.state().is_over() && job.stream.started.is_none() {
            let started = job.started_event(at);
            let everyone = job.everyone();
            job.tell(everyone, started, None);
        }
    }
}

impl<'a> Locked<'a> {
    fn event(&self, kind: EventKind, at: Instant, seq: u64, step: Option<StepInfo>) -> Event {
        let core = self.core;
        Event {
            job: core.id,
            name: core.name().clone(),
            parent: core.parent_id(),
            attempt: core.attempt(),
            seq,
            at,
            elapsed: at.saturating_duration_since(core.born),
            step,
            kind,
        }
    }

    fn observers(&self) -> impl Iterator<Item = &Arc<dyn Observer>> {
        let more = self.rare.iter().flat_map(|rare| &rare.observers);
        self.stream.first.iter().flatten().chain(more)
    }

    /// Returns its index.
    fn push_observer(&mut self, observer: Arc<dyn Observer>, traced: bool) -> usize {
        let first = &mut self.stream.first;
        if let Some(free) = first.iter().position(Option::is_none) {
            first[free] = Some(observer);
            self.traced |= u8::from(traced) << free;
            return free;
        }
        let more = &mut self.rare().observers;
        more.push(observer);
        INLINE + more.len() - 1
    }

    fn take_observers(&mut self) -> impl Sized + use<> {
        let more = self.rare.as_mut();
        let more = more.map(|rare| mem::take(&mut rare.observers));
        (mem::take(&mut self.stream.first), more)
    }

    /// The first observers. tracing's sink is left out while tracing has no listener.
    fn first(&self) -> First {
        let left_out = match self.traced {
            0 => 0,
            _ if tracing_listens() => 0,
            traced => traced,
        };
        std::array::from_fn(|index| match left_out & (1 << index) {
            0 => self.stream.first[index].clone(),
            _ => None,
        })
    }

    /// The observers that are registered now.
    fn everyone(&self) -> Target {
        Target::First(self.observers().count())
    }

    /// Sends an event of this step, unless the job is over; a report also to those that wait for its work.
    pub(super) fn emit(mut self, kind: EventKind, at: Instant, step: Option<StepInfo>) {
        let core = self.core;
        // Queued under the same lock as the event, so that the followers see the reports in the same order.
        let forwards = core.state().is_shared() && kind.is_report() && {
            let told = Told {
                kind: kind.clone(),
                step: step.clone(),
            };
            self.queue_report(told, 0)
        };
        self.tell_observers(kind, at, step);
        if forwards {
            followers::hand_on(core);
        }
    }

    pub(super) fn tell_observers(mut self, kind: EventKind, at: Instant, step: Option<StepInfo>) {
        let core = self.core;
        if !core.is_observed() || core.state().is_over() {
            return;
        }
        let started = if core.state().is_held() || !kind.implies_started() {
            None
        } else {
            core.word.set(Flag::Started);
            // The thread that set it before may not have told it yet: it comes first all the same.
            let untold = self.stream.started.is_none() && !core.state().has(Flag::StartUnheard);
            untold.then(|| self.started_event(at))
        };
        let seq = self.stream.next_seq();
        let event = self.event(kind, at, seq, step);
        let everyone = self.everyone();
        match started {
            Some(started) => self.tell(everyone, started, Some(event)),
            None => self.tell(everyone, event, None),
        }
    }

    /// The job's last event, once it is marked as over.
    pub(super) fn tell_ending(mut self, here: Option<Key>, kind: EventKind, at: Instant) {
        let seq = self.stream.next_seq();
        let step = self.step_of(&kind, here);
        let event = self.event(kind, at, seq, step);
        let everyone = self.everyone();
        self.tell(everyone, event, None);
    }

    /// `Started` as it was told, or else as of this time.
    fn started_event(&mut self, at: Instant) -> Event {
        let born = self.core.born;
        let started = match self.stream.started {
            Some(started) => started,
            None => {
                let seq = NonZeroU64::new(self.stream.next_seq());
                *self.stream.started.insert(Started {
                    nanos_since_born: nanos(at.saturating_duration_since(born)),
                    seq: seq.unwrap_or(NonZeroU64::MAX),
                })
            }
        };
        let at = born + Duration::from_nanos(started.nanos_since_born);
        self.event(EventKind::Started, at, started.seq.get(), None)
    }

    /// Delivers one or two events, and what is queued meanwhile, unless another thread is at it: that one goes on
    /// with them then.
    fn tell(mut self, target: Target, event: Event, then: Option<Event>) {
        if self.delivering {
            let events = [Some(event), then].into_iter().flatten();
            let events = events.map(|event| (event, target));
            return self.rare().queue.extend(events);
        }
        self.delivering = true;
        self = self.hand_out(target, &event);
        if let Some(then) = then {
            self = self.hand_out(target, &then);
        }
        while let Some((event, target)) = self.next_queued() {
            self = self.hand_out(target, &event);
        }
        self.delivering = false;
        let core = self.core;
        drop(self);
        if core.state().has(Flag::EndingTold) {
            core.let_go();
        }
    }

    fn next_queued(&mut self) -> Option<(Event, Target)> {
        self.rare.as_mut()?.queue.pop_front()
    }

    /// Calls the observers, without the lock.
    fn hand_out(self, target: Target, event: &Event) -> Self {
        let core = self.core;
        let first = self.first();
        let more = self.rare.as_ref().map_or(0, |rare| rare.observers.len());
        drop(self);
        // What is dropped here may be the last handle to an observer, so that it goes without the lock.
        (core.tell)(&mut || {
            for (index, observer) in first.iter().enumerate() {
                if let Some(observer) = observer.as_ref().filter(|_| target.takes(index)) {
                    unharmed(|| observer.on_event(event));
                }
            }
            for index in (0..more).filter(|index| target.takes(index + INLINE)) {
                let observer = core.lock().rare().observers.get(index).cloned();
                if let Some(observer) = observer {
                    unharmed(|| observer.on_event(event));
                }
            }
        });
        drop(first);
        let job = core.lock();
        if event.kind.is_terminal() {
            core.word.set(Flag::EndingTold);
        }
        job
    }
}
