//! Numbers a job's events and delivers them to its observers: in order, one at a time, without the
//! lock.

use std::{num::NonZeroU32, sync::Arc};

use tokio::time::Instant;

use super::{
    Core, Flag, Flags, Locked,
    followers::{self, Handles, LeaderReport},
    rate::Rate,
    steps::StepKey,
};
use crate::{
    error::unharmed,
    event::{Event, EventKind, JobName, Observer, StepInfo},
    tracing_enabled::tracing_listens,
};

/// The event stream of a job. The first observers are stored outside the job's lock, so that they
/// are called without it. Further observers, and queued events, are in `rare`.
pub(super) struct EventQueue {
    next_seq: u64,
    /// The number of `Started`, once sent. Small, because few events come before it. Never 0, which
    /// is `Dispatched`.
    started: Option<NonZeroU32>,
    /// The number of observer slots in use. The first slot is for the observer that the job began
    /// with, if any.
    observers: u32,
}

/// The number of observers outside the rare part.
const INLINE: usize = 2;

impl EventQueue {
    pub(super) fn new() -> Self {
        Self {
            // `Dispatched` has number 0 in every job, with or without an observer.
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
    /// An observer that joined later, for the events that it missed.
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
    /// The flag that an observer sets when it is registered.
    pub(super) fn of_observer(traced: bool) -> Self {
        match listens(traced) {
            true => Self::Observed,
            false => Self::Traced,
        }
    }
}

/// Whether an observer gets the events of a job that begins with it. `traced`: it writes to tracing.
pub(crate) fn listens(traced: bool) -> bool {
    !traced || tracing_listens()
}

impl Core {
    /// Registers an observer, once, and sends it the events that it missed. `traced` marks
    /// tracing's sink. While tracing has no listener, no event is built for that sink, and it never
    /// gets those events.
    pub(crate) fn observe(&self, observer: &Arc<dyn Observer>, traced: bool) {
        let flag = Flag::of_observer(traced);
        if flag == Flag::Observed {
            drop(self.follow_closely());
        }
        let mut job = self.lock();
        let Some(index) = job.add_observer(observer, traced) else {
            return;
        };
        // A thread that sets `Started` or `Ended` after this sees the observer, and delivers to it.
        let before = self.flags.set(flag);
        if before.is_over() && !before.has(Flag::Observed) {
            // The job ended just now without an observer, so no thread delivers the end.
            self.flags.set(Flag::EndDelivered);
            return;
        }
        if flag == Flag::Traced {
            return;
        }
        let dispatched = Event {
            attempt: 1,
            ..job.event(EventKind::Dispatched, self.born, 0, None)
        };
        // A thread that set the flag just now is about to notify all observers, including this one.
        let is_coming = job.stream.started.is_none()
            && before.has(Flag::Observed)
            && !before.has(Flag::StartUnobserved);
        // Without an observer at that time, the start may have no recorded time.
        let missed = (before.has(Flag::Started) && !is_coming).then(|| Event {
            attempt: 1,
            ..job.started_event(self.born)
        });
        job.deliver(Target::Only(index), dispatched, missed);
    }

    /// Sends `Dispatched` to the observer that the job begins with.
    pub(super) fn send_dispatched(&self) {
        let job = self.lock();
        let dispatched = job.event(EventKind::Dispatched, self.born, 0, None);
        job.deliver(Target::Only(0), dispatched, None);
    }

    /// Registers an observer for future events only.
    pub(crate) fn listen(&self, observer: &Arc<dyn Observer>) -> Handles {
        let handles = self.follow_closely();
        if self.lock().add_observer(observer, false).is_some() {
            self.flags.update(Flags::listening);
        }
        handles
    }

    /// Names a job that has no name. Notifies observers that know the job without one.
    #[cold]
    pub(crate) fn set_name(&self, name: JobName) {
        if name.is_empty() || self.name.set(name).is_err() {
            return;
        }
        let observers: Vec<_> = self.lock().observers().cloned().collect();
        (self.run_apart)(&mut || {
            for observer in &observers {
                unharmed(|| observer.on_named(self.id, self.name()));
            }
        });
        self.changed();
    }

    /// Sends an event of this step, unless the job is over. Followers get reports too. Layers send
    /// events with [`context::emit`](crate::job::context::emit), which knows the step.
    pub(crate) fn emit(&self, here: Option<StepKey>, kind: EventKind) {
        let at = Instant::now();
        let job = self.lock();
        let step = job.step_of(&kind, here);
        job.emit(kind, at, step);
    }

    /// Whether an event may reach a reader or an observer, now or on request.
    pub(crate) fn is_heard(&self) -> bool {
        self.is_shown() || self.state().is_shared() || self.is_observed()
    }

    /// Whether an event reaches an observer. Checked at each event, because tracing's listeners
    /// come and go.
    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        let now = self.state();
        // Once tracing has a listener, its sink is an ordinary observer.
        now.has(Flag::Observed)
            || (now.has(Flag::Traced)
                && tracing_listens()
                && !self.flags.update(Flags::listening).is_over())
    }

    /// Marks the job as started, unless a gate holds the call. If the work runs in its own task,
    /// only that task can do so.
    #[inline(always)]
    pub(crate) fn started(&self, in_task: bool) {
        let now = self.flags.glance();
        if now.may_start() && (in_task || !now.has(Flag::DetachedTasks)) {
            self.started_now(false);
        }
    }

    /// Like [`started`](Self::started), for a call whose result is ready, so the job may end at
    /// once.
    #[inline(always)]
    pub(crate) fn started_and_over(&self) {
        let now = self.flags.glance();
        if now.may_start() && !now.has(Flag::DetachedTasks) {
            self.started_now(true);
        }
    }

    #[cold]
    fn started_now(&self, is_over: bool) {
        // Before the flag is set: a listener that joins afterwards does not report the start.
        let _ = self.is_observed();
        let before = self.flags.set(Flag::Started);
        let is_shown = self.is_shown();
        if before.has(Flag::Started) || !(is_shown || before.has(Flag::Observed)) {
            return;
        }
        if is_over && !before.is_looked_at() {
            // The time of the next event is good enough.
            return;
        }
        let at = Instant::now();
        self.note_started(at);
        if before.has(Flag::Observed) {
            let mut job = self.lock();
            // A new observer, or an event in between, has already sent it.
            if !self.state().is_over() && job.stream.started.is_none() {
                let started = job.started_event(at);
                let everyone = job.everyone();
                job.deliver(everyone, started, None);
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
            #[cfg(feature = "http")]
            http: self.exchange_at(&kind),
            kind,
        }
    }

    pub(super) fn observers(&self) -> impl Iterator<Item = &Arc<dyn Observer>> {
        let more = self.rare.iter().flat_map(|rare| &rare.observers);
        let (first, second) = (&self.core.first, self.core.second.get());
        first.iter().chain(second).chain(more)
    }

    /// Returns the observer's index; `None` if it is registered already, or the job is over.
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

    /// The first observers to skip: tracing's sink, while tracing has no listener.
    fn left_out(&self) -> u8 {
        match self.traced {
            0 => 0,
            _ if tracing_listens() => 0,
            traced => traced,
        }
    }

    /// All observers registered now.
    fn everyone(&self) -> Target {
        Target::First(self.stream.observers)
    }

    /// Shows and sends an event of this step, unless the job is over. Followers get reports too.
    pub(super) fn emit(mut self, kind: EventKind, at: Instant, step: Option<StepInfo>) {
        let core = self.core;
        if kind.is_report() && core.state().is_prepared() {
            // The job's own code runs before the first call of the service.
            core.flags.release();
        }
        // Queued under the same lock as the event, so that followers see reports in the same order.
        let forwards = core.state().is_shared() && kind.is_report() && {
            let report = LeaderReport {
                kind: kind.clone(),
                step: step.clone(),
                at,
                rate: Rate::default(),
            };
            self.queue_report(report, 0)
        };
        if matches!(kind, EventKind::RetryScheduled { .. }) {
            self.restart_rate();
        }
        self.notify_all(kind, at, step, None);
        if forwards {
            followers::forward(core);
        }
    }

    /// Notifies observers and boards. `rate` is the leader's rate, if the report is a leader's.
    pub(super) fn notify_all(
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
        let notification = match kind {
            _ if !shown => None,
            // Views show only that the job has started.
            EventKind::AttemptEnded { .. } => starts_now.then(|| self.notification(true)),
            _ => Some(self.show(&kind, at, step.clone(), rate)),
        };
        if observed {
            // The thread that set the flag may not have sent it yet, but it must come first.
            let unsent = self.stream.started.is_none() && !core.state().has(Flag::StartUnobserved);
            let started = (starts && unsent).then(|| self.started_event(at));
            let seq = self.stream.next_seq();
            let event = self.event(kind, at, seq, step);
            let everyone = self.everyone();
            match started {
                Some(started) => self.deliver(everyone, started, Some(event)),
                None => self.deliver(everyone, event, None),
            }
        } else {
            drop(self);
        }
        if let Some(notification) = notification {
            core.notify_boards(notification);
        }
    }

    /// Sends the terminal event of a job that is marked as over; before it, the end of its last
    /// attempt.
    pub(super) fn send_ending(
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
            Some(attempt) => self.deliver(everyone, attempt, Some(event)),
            None => self.deliver(everyone, event, None),
        }
    }

    /// Whether the observers know that the job has started.
    pub(super) fn start_was_sent(&self) -> bool {
        self.stream.started.is_some() || self.core.state().has(Flag::StartUnobserved)
    }

    /// `Started` as it was sent, or else with this time.
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

    /// Delivers one or two events. If another thread is delivering, that thread continues with
    /// them.
    fn deliver(mut self, target: Target, event: Event, then: Option<Event>) {
        let core = self.core;
        if core.state().has(Flag::Delivering) {
            let events = [Some(event), then].into_iter().flatten();
            let events = events.map(|event| (event, target));
            self.rare().queue.extend(events);
            if core.flags.set(Flag::Queued).has(Flag::Delivering) {
                return;
            }
            // The other thread finished before it could see the event. No other starts meanwhile:
            // that takes the lock.
            core.flags.set(Flag::Delivering);
            return self.deliver_queued();
        }
        core.flags.set(Flag::Delivering);
        let (left_out, more) = (self.left_out(), self.beyond());
        drop(self);
        core.call_observers(left_out, more, target, &event);
        let mut ends = event.kind.is_terminal();
        if let Some(then) = then {
            core.call_observers(left_out, more, target, &then);
            ends |= then.kind.is_terminal();
        }
        let done = core.flags.try_update(|flags| flags.delivered(ends));
        if ends && done.is_err() {
            core.flags.set(Flag::EndDelivered);
        }
        match done {
            Ok(before) if ends || before.has(Flag::EndDelivered) => core.let_go(),
            Ok(_) => {}
            Err(_) => core.lock().deliver_queued(),
        }
    }

    /// Delivers the queue, on the thread that set `Delivering`.
    #[cold]
    fn deliver_queued(mut self) {
        let core = self.core;
        while let Some((event, target)) = self.rare().queue.pop_front() {
            let (left_out, more) = (self.left_out(), self.beyond());
            drop(self);
            core.call_observers(left_out, more, target, &event);
            if event.kind.is_terminal() {
                core.flags.set(Flag::EndDelivered);
            }
            self = core.lock();
        }
        let now = core.flags.update(Flags::drained);
        drop(self);
        if now.has(Flag::EndDelivered) {
            core.let_go();
        }
    }

    /// The number of observers after the first ones.
    fn beyond(&self) -> usize {
        (self.stream.observers as usize).saturating_sub(INLINE)
    }
}

impl Core {
    /// Calls the observers, without the lock.
    fn call_observers(&self, left_out: u8, more: usize, target: Target, event: &Event) {
        (self.run_apart)(&mut || {
            for (index, slot) in [self.first.as_ref(), self.second.get()].iter().enumerate() {
                let is_meant = target.takes(index) && left_out & (1 << index) == 0;
                if let Some(observer) = slot.filter(|_| is_meant) {
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
