//! Numbers the events of a job and delivers them to its observers: in order, one at a time, without the lock.

use std::{num::NonZeroU32, sync::Arc};

use tokio::time::Instant;

use super::{
    Core, Flag, Flags, Locked,
    followers::{self, Handles, Told},
    rate::Rate,
    steps::Key,
};
use crate::{
    error::unharmed,
    event::{Event, EventKind, JobName, Observer, StepInfo},
    tracing_enabled::tracing_listens,
};

/// The events on their way to the observers of a job. The first observers are next to the job's lock, so that they are
/// called without it; further ones, and queued events, are in the rare part.
pub(super) struct EventQueue {
    next_seq: u64,
    /// That of `Started`, once it was sent: few events come before it. Never 0, which is the number of `Dispatched`.
    started: Option<NonZeroU32>,
    /// How many places for observers are in use. The first is that of the observer that the job began with, if it did.
    observers: u32,
}

/// The observers that are not in the rare part.
const INLINE: usize = 2;

impl EventQueue {
    pub(super) fn new() -> Self {
        Self {
            // `Dispatched` is number 0 of every job, with an observer or without.
            next_seq: 1,
            started: None,
            observers: 1,
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
    First(u32),
    /// An observer that came later, and gets what it missed.
    Only(u32),
}

impl Target {
    fn takes(self, observer: usize) -> bool {
        match self {
            Self::First(count) => observer < count as usize,
            Self::Only(index) => observer == index as usize,
        }
    }
}

impl Flag {
    /// What an observer sets where it is registered.
    pub(super) fn of_observer(traced: bool) -> Self {
        match traced && !tracing_listens() {
            true => Self::Traced,
            false => Self::Observed,
        }
    }
}

impl Core {
    /// Registers an observer, once, and tells it what it missed. `traced` is a sink of tracing's: while tracing has no
    /// listener, no event is built for it, and what happens then it never hears of.
    pub(crate) fn observe(&self, observer: &Arc<dyn Observer>, traced: bool) {
        let flag = Flag::of_observer(traced);
        if flag == Flag::Observed {
            drop(self.follow_closely());
        }
        let mut job = self.lock();
        let Some(index) = job.add_observer(observer, traced) else {
            return;
        };
        // A thread that sets `Started` or `Ended` after this sees that there is an observer, and tells.
        let before = self.flags.set(flag);
        if before.is_over() && !before.has(Flag::Observed) {
            // It ended just now, unobserved, and nobody will tell.
            self.flags.set(Flag::EndingTold);
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
        // Where there was no observer when it happened, nobody may have taken the time.
        let missed = (before.has(Flag::Started) && !is_coming).then(|| Event {
            attempt: 1,
            ..job.started_event(self.born)
        });
        job.tell(Target::Only(index), dispatched, missed);
    }

    /// Tells the observer that the job begins with.
    pub(super) fn tell_dispatched(&self) {
        let job = self.lock();
        let dispatched = job.event(EventKind::Dispatched, self.born, 0, None);
        job.tell(Target::Only(0), dispatched, None);
    }

    /// Registers an observer, for what happens from now on.
    pub(crate) fn listen(&self, observer: &Arc<dyn Observer>) -> Handles {
        let handles = self.follow_closely();
        if self.lock().add_observer(observer, false).is_some() {
            self.flags.update(Flags::listening);
        }
        handles
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
        self.changed();
    }

    /// Sends an event of this step, unless the job is over. A report also reaches the jobs that wait for this one's work.
    /// Layers send events by [`context::emit`](crate::job::context::emit), which knows the step.
    pub(crate) fn emit(&self, here: Option<Key>, kind: EventKind) {
        let at = Instant::now();
        let job = self.lock();
        let step = job.step_of(&kind, here);
        job.emit(kind, at, step);
    }

    /// Whether an event may reach anybody, now or when they look.
    pub(crate) fn is_heard(&self) -> bool {
        self.is_shown() || self.state().is_shared() || self.is_observed()
    }

    /// Whether an event reaches an observer. Asked at each event, as tracing's listeners come and go.
    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        let now = self.state();
        // Once tracing has a listener, its sink is an observer like others.
        now.has(Flag::Observed)
            || (now.has(Flag::Traced)
                && tracing_listens()
                && !self.flags.update(Flags::listening).is_over())
    }

    /// The call got past every gate, unless one still holds it back. Where the work runs in a task of its own, only that
    /// can say so.
    #[inline(always)]
    pub(crate) fn started(&self, in_task: bool) {
        let now = self.flags.glance();
        if now.may_start() && (in_task || !now.has(Flag::Detached)) {
            self.started_now(false);
        }
    }

    /// As [`started`](Self::started), of a call whose result is there, so that the job may end at once: it started by then.
    #[inline(always)]
    pub(crate) fn started_and_over(&self) {
        let now = self.flags.glance();
        if now.may_start() && !now.has(Flag::Detached) {
            self.started_now(true);
        }
    }

    #[cold]
    fn started_now(&self, is_over: bool) {
        // Before the flag is set: a listener that comes after that does not report it.
        let _ = self.is_observed();
        let before = self.flags.set(Flag::Started);
        let is_shown = self.is_shown();
        if before.has(Flag::Started) || !(is_shown || before.has(Flag::Observed)) {
            return;
        }
        if is_over && !before.is_looked_at() {
            // The time of what comes next will do.
            return;
        }
        let at = Instant::now();
        self.note_started(at);
        if before.has(Flag::Observed) {
            let mut job = self.lock();
            // An observer or another event that came in between has told it already.
            if !self.state().is_over() && job.stream.started.is_none() {
                let started = job.started_event(at);
                let everyone = job.everyone();
                job.tell(everyone, started, None);
            }
        }
        if is_shown {
            self.show_start(before, at);
        }
    }
}

impl<'a> Locked<'a> {
    fn event(&self, kind: EventKind, at: Instant, seq: u64, step: Option<StepInfo>) -> Event {
        let core = self.core;
        Event {
            job: core.id,
            name: core.name().clone(),
            external_id: self.external_id(),
            parent: core.parent_id(),
            attempt: core.attempt(),
            seq,
            at,
            elapsed: at.saturating_duration_since(core.born),
            step,
            kind,
        }
    }

    pub(super) fn observers(&self) -> impl Iterator<Item = &Arc<dyn Observer>> {
        let more = self.rare.iter().flat_map(|rare| &rare.observers);
        let (first, second) = (&self.core.first, self.core.second.get());
        first.iter().chain(second).chain(more)
    }

    /// Returns its index; `None` where it is known, or the job over.
    fn add_observer(&mut self, observer: &Arc<dyn Observer>, traced: bool) -> Option<u32> {
        let is_known = self.observers().any(|known| Arc::ptr_eq(known, observer));
        if is_known || self.core.state().is_over() {
            return None;
        }
        let index = self.stream.observers;
        if self.core.second.get().is_none() {
            let _was_free = self.core.second.set(Arc::clone(observer));
            self.traced |= u8::from(traced) << index;
        } else {
            self.rare().observers.push(Arc::clone(observer));
        }
        self.stream.observers += 1;
        Some(index)
    }

    /// Which of the first observers are left out: tracing's sink, while tracing has no listener.
    fn left_out(&self) -> u8 {
        match self.traced {
            0 => 0,
            _ if tracing_listens() => 0,
            traced => traced,
        }
    }

    /// The observers that are registered now.
    fn everyone(&self) -> Target {
        Target::First(self.stream.observers)
    }

    /// Shows and sends an event of this step, unless the job is over; a report also to the jobs that wait for its work.
    pub(super) fn emit(mut self, kind: EventKind, at: Instant, step: Option<StepInfo>) {
        let core = self.core;
        if kind.is_report() && core.state().is_prepared() {
            // The job's own code runs, before the service is called for the first time.
            core.flags.release();
        }
        // Queued under the same lock as the event, so that the followers see the reports in the same order.
        let forwards = core.state().is_shared() && kind.is_report() && {
            let told = Told {
                kind: kind.clone(),
                step: step.clone(),
                at,
                rate: Rate::default(),
            };
            self.queue_report(told, 0)
        };
        if matches!(kind, EventKind::RetryScheduled { .. }) {
            self.restart_rate();
        }
        self.tell_all(kind, at, step, None);
        if forwards {
            followers::hand_on(core);
        }
    }

    /// Tells observers and boards. `rate` is that of the job whose report it is, if that is another.
    pub(super) fn tell_all(
        mut self,
        kind: EventKind,
        at: Instant,
        step: Option<StepInfo>,
        rate: Option<Rate>,
    ) {
        let core = self.core;
        let (observed, shown) = (core.is_observed(), core.is_shown());
        if !(observed || shown) || core.state().is_over() {
            return;
        }
        let starts = !core.state().is_held() && kind.implies_started();
        let starts_now = starts && !core.flags.set(Flag::Started).has(Flag::Started);
        if starts_now {
            core.note_started(at);
        }
        let unseen = match kind {
            _ if !shown => None,
            // There is no more to see of it than that the job has started.
            EventKind::AttemptEnded { .. } => starts_now.then(|| self.unseen(true)),
            _ => Some(self.show(&kind, at, step.clone(), rate)),
        };
        if observed {
            // The thread that set the flag before may not have told it yet: it comes first all the same.
            let untold = self.stream.started.is_none() && !core.state().has(Flag::StartUnheard);
            let started = (starts && untold).then(|| self.started_event(at));
            let seq = self.stream.next_seq();
            let event = self.event(kind, at, seq, step);
            let everyone = self.everyone();
            match started {
                Some(started) => self.tell(everyone, started, Some(event)),
                None => self.tell(everyone, event, None),
            }
        } else {
            drop(self);
        }
        if let Some(unseen) = unseen {
            core.tell_boards(unseen);
        }
    }

    /// The job's last event, once it is marked as over; before it the end of its last attempt.
    pub(super) fn tell_ending(
        mut self,
        attempt: Option<(EventKind, Option<StepInfo>)>,
        (kind, step): (EventKind, Option<StepInfo>),
        at: Instant,
    ) {
        let attempt = attempt.map(|(kind, step)| {
            let seq = self.stream.next_seq();
            self.event(kind, at, seq, step)
        });
        let seq = self.stream.next_seq();
        let event = self.event(kind, at, seq, step);
        let everyone = self.everyone();
        match attempt {
            Some(attempt) => self.tell(everyone, attempt, Some(event)),
            None => self.tell(everyone, event, None),
        }
    }

    /// Whether the observers know that the job has started.
    pub(super) fn start_is_told(&self) -> bool {
        self.stream.started.is_some() || self.core.state().has(Flag::StartUnheard)
    }

    /// `Started` as it was told, or else as of this time.
    fn started_event(&mut self, at: Instant) -> Event {
        let seq = match self.stream.started {
            Some(seq) => u64::from(seq.get()),
            None => {
                let seq = self.stream.next_seq();
                self.stream.started = NonZeroU32::new(u32::try_from(seq).unwrap_or(u32::MAX));
                seq
            }
        };
        let at = self.core.started_at().unwrap_or(at);
        self.event(EventKind::Started, at, seq, None)
    }

    /// Delivers one or two events, unless another thread is at it: that one goes on with them then.
    fn tell(mut self, target: Target, event: Event, then: Option<Event>) {
        let core = self.core;
        if core.state().has(Flag::Delivering) {
            let events = [Some(event), then].into_iter().flatten();
            let events = events.map(|event| (event, target));
            self.rare().queue.extend(events);
            if core.flags.set(Flag::Queued).has(Flag::Delivering) {
                return;
            }
            // It finished just now, before it could see that. No other begins meanwhile, as that takes the lock.
            core.flags.set(Flag::Delivering);
            return self.deliver_queued();
        }
        core.flags.set(Flag::Delivering);
        let (left_out, more) = (self.left_out(), self.beyond());
        drop(self);
        core.hand_out(left_out, more, target, &event);
        let mut ends = event.kind.is_terminal();
        if let Some(then) = then {
            core.hand_out(left_out, more, target, &then);
            ends |= then.kind.is_terminal();
        }
        let done = core.flags.try_update(|flags| flags.delivered(ends));
        if ends && done.is_err() {
            core.flags.set(Flag::EndingTold);
        }
        match done {
            Ok(before) if ends || before.has(Flag::EndingTold) => core.let_go(),
            Ok(_) => {}
            Err(_) => core.lock().deliver_queued(),
        }
    }

    /// Delivers what is queued, by the thread that set `Delivering`.
    #[cold]
    fn deliver_queued(mut self) {
        let core = self.core;
        while let Some((event, target)) = self.rare().queue.pop_front() {
            let (left_out, more) = (self.left_out(), self.beyond());
            drop(self);
            core.hand_out(left_out, more, target, &event);
            if event.kind.is_terminal() {
                core.flags.set(Flag::EndingTold);
            }
            self = core.lock();
        }
        let now = core.flags.update(Flags::drained);
        drop(self);
        if now.has(Flag::EndingTold) {
            core.let_go();
        }
    }

    /// How many observers there are beyond the first.
    fn beyond(&self) -> usize {
        (self.stream.observers as usize).saturating_sub(INLINE)
    }
}

impl Core {
    /// Calls the observers, without the lock.
    fn hand_out(&self, left_out: u8, more: usize, target: Target, event: &Event) {
        (self.tell)(&mut || {
            for (index, place) in [self.first.as_ref(), self.second.get()].iter().enumerate() {
                let is_meant = target.takes(index) && left_out & (1 << index) == 0;
                if let Some(observer) = place.filter(|_| is_meant) {
                    unharmed(|| observer.on_event(event));
                }
            }
            for index in (0..more).filter(|index| target.takes(index + INLINE)) {
                let observer = self.lock().rare().observers.get(index).cloned();
                if let Some(observer) = observer {
                    unharmed(|| observer.on_event(event));
                }
            }
        });
    }
}
