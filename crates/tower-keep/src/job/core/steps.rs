//! Which step of a job runs.
//!
//! Several may: one inside another, or side by side. Each is open until it ends or is dropped. The code of a step says
//! by a key which of them it is.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Core, State};
use crate::event::{AttemptOutcome, EventKind, Report, StepInfo};

/// Tells the steps of a job apart, over all attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u64);

/// The steps of the attempt that runs.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// Of the step that began last.
    number: u32,
    /// 0 is unknown.
    total: u32,
    /// How many are over, in whichever way: several may run at a time, and one inside another.
    over: u32,
    next_key: u64,
    /// The open step that began last; the others are in `more`, oldest first, so that a job whose steps follow each
    /// other allocates nothing.
    latest: Option<Open>,
    more: Vec<Open>,
    /// What the job is at when no step is open.
    unfinished: Option<Unfinished>,
}

#[derive(Debug)]
struct Open {
    key: Key,
    /// The step whose code began this one.
    around: Option<Key>,
    since: Instant,
    step: StepInfo,
}

/// A step that did not end well.
#[derive(Debug)]
struct Unfinished {
    /// The innermost open step around it.
    around: Option<Key>,
    step: StepInfo,
    how: Broken,
}

/// How a step ends if it does not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Failed,
    Dropped,
}

impl Steps {
    fn announce(&mut self, total: u32) {
        self.number = 0;
        self.total = total;
        self.over = 0;
        self.unfinished = None;
    }

    /// What an earlier attempt left open, in another task perhaps, is no step of this one.
    pub(super) fn restart(&mut self) {
        self.number = 0;
        self.over = 0;
        self.latest = None;
        self.more.clear();
        self.unfinished = None;
    }

    fn begin(&mut self, name: &Arc<str>, around: Option<Key>, since: Instant) -> (Key, &StepInfo) {
        self.unfinished = None;
        self.number = self.number.saturating_add(1);
        let key = Key(self.next_key);
        self.next_key += 1;
        self.more.extend(self.latest.take());
        let open = self.latest.insert(Open {
            key,
            around,
            since,
            step: StepInfo {
                name: Arc::clone(name),
                number: self.number,
                total: (self.total > 0).then_some(self.total),
            },
        });
        (key, &open.step)
    }

    /// `None` if it is not open, as it is of an earlier attempt.
    fn close(&mut self, key: Key) -> Option<Open> {
        let closed = if self.latest.as_ref().is_some_and(|open| open.key == key) {
            let closed = self.latest.take();
            self.latest = self.more.pop();
            closed
        } else {
            let index = self.more.iter().position(|open| open.key == key)?;
            Some(self.more.remove(index))
        };
        self.over = self.over.saturating_add(1);
        closed
    }

    /// How much is done when this step is over; `None` if that is unknown, or it is of an earlier attempt.
    fn report(&self, key: Key) -> Option<Report> {
        let mut open = self.latest.iter().chain(&self.more);
        let is_known = self.total > 0 && open.any(|open| open.key == key);
        is_known.then(|| Report::step(self.over.saturating_add(1), self.total))
    }

    /// A step inside that failed did no harm then. One beside may have.
    fn end_well(&mut self, key: Key) -> Option<Open> {
        let open = self.close(key)?;
        self.unfinished.take_if(|known| known.around == Some(key));
        Some(open)
    }

    /// Of failures the first is kept, as those after it follow from it: that of the step around, and the dropping of
    /// those beside it. A step around that runs on has dealt with it. Of steps that are dropped one in the other, in
    /// whatever order, it is the innermost.
    fn break_off(&mut self, key: Key, how: Broken) {
        let Some(open) = self.close(key) else {
            return;
        };
        if let Some(known) = &mut self.unfinished {
            let is_inside = known.around == Some(key);
            if is_inside {
                known.around = open.around;
            }
            let is_kept = if is_inside {
                known.how == how
            } else {
                known.how == Broken::Failed
            };
            if is_kept {
                return;
            }
        }
        self.unfinished = Some(Unfinished {
            around: open.around,
            step: open.step,
            how,
        });
    }

    fn current(&self) -> Option<&StepInfo> {
        let open = self.latest.as_ref().map(|open| &open.step);
        open.or_else(|| self.unfinished.as_ref().map(|known| &known.step))
    }

    /// Where an attempt that is over failed. A step that still runs does so in another task.
    fn where_failed(&self) -> Option<&StepInfo> {
        match &self.unfinished {
            Some(known) if known.around.is_none() => Some(&known.step),
            _ => self.current(),
        }
    }

    /// The step of an event that the code of this step causes.
    fn of_event(&self, kind: &EventKind, here: Option<Key>) -> Option<&StepInfo> {
        match kind {
            EventKind::Succeeded => None,
            EventKind::AttemptEnded { outcome, .. } => match outcome {
                AttemptOutcome::Succeeded => None,
                AttemptOutcome::Failed(_) => self.where_failed(),
                AttemptOutcome::Cancelled => self.here(here),
            },
            EventKind::Failed { .. } | EventKind::RetryScheduled { .. } => self.where_failed(),
            _ => self.here(here),
        }
    }

    /// The step whose code runs now, or else the current one.
    fn here(&self, key: Option<Key>) -> Option<&StepInfo> {
        let Some(latest) = &self.latest else {
            return self.current();
        };
        let inside = key.and_then(|key| {
            let mut all = std::iter::once(latest).chain(&self.more);
            all.find(|open| open.key == key)
        });
        Some(&inside.unwrap_or(latest).step)
    }
}

impl State {
    /// The step of an event that the code of this step causes.
    pub(super) fn step_of(&self, kind: &EventKind, here: Option<Key>) -> Option<StepInfo> {
        self.rare.as_ref()?.steps.of_event(kind, here).cloned()
    }
}

impl Core {
    pub(crate) fn set_steps(&self, total: u32) {
        self.lock().rare().steps.announce(total);
    }

    /// Keeps the shortest.
    pub(crate) fn set_step_limit(&self, limit: Option<Duration>) {
        if let Some(limit) = limit {
            let mut job = self.lock();
            let shortest = &mut job.rare().step_limit;
            *shortest = Some(shortest.map_or(limit, |known| known.min(limit)));
        }
    }

    pub(crate) fn step_limit(&self) -> Option<Duration> {
        self.lock().rare.as_ref()?.step_limit
    }

    /// Counts a step that begins in the code of another or of none, and tells of it.
    pub(crate) fn begin_step(&self, name: &Arc<str>, around: Option<Key>) -> Key {
        let now = Instant::now();
        let mut job = self.lock();
        let (key, step) = job.rare().steps.begin(name, around, now);
        if self.is_heard() {
            let step = step.clone();
            let (number, total) = (step.number, step.total);
            let kind = EventKind::StepStarted {
                name: Arc::clone(name),
                number,
                total,
            };
            job.emit(kind, now, Some(step));
        }
        key
    }

    /// Ends a step well, and tells of it, after how much is done by now.
    pub(crate) fn end_step(&self, key: Key) {
        self.touch();
        let now = Instant::now();
        let mut job = self.lock();
        let steps = &mut job.rare().steps;
        let report = steps.report(key);
        let Some(Open { since, step, .. }) = steps.end_well(key) else {
            return;
        };
        let within = steps.current().cloned();
        if !self.is_heard() {
            return;
        }
        let ended = EventKind::StepSucceeded {
            took: now.saturating_duration_since(since),
            within,
        };
        if let Some(report) = report {
            // Under the lock under which it was counted, so that of two that end at once the later one says more.
            job.emit(EventKind::Progress(report), now, Some(step.clone()));
            job = self.lock();
        }
        job.emit(ended, now, Some(step));
    }

    /// Ends a step otherwise. What follows from it tells.
    pub(crate) fn break_step(&self, key: Key, how: Broken) {
        self.lock().rare().steps.break_off(key, how);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R28: the number of a step never starts again from the front, however many there are.
    #[tokio::test(start_paused = true)]
    async fn the_number_stays_at_the_highest() {
        let mut steps = Steps {
            number: u32::MAX - 1,
            total: u32::MAX,
            ..Steps::default()
        };
        for _ in 0..3 {
            let (key, step) = steps.begin(&"last".into(), None, Instant::now());
            assert_eq!(*step, StepInfo::new("last", u32::MAX, Some(u32::MAX)));
            assert!(steps.end_well(key).is_some());
        }
        assert!(steps.current().is_none());
    }

    /// Steps that end in any order leave those that run, and nothing is left in the end.
    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_open() {
        for order in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ] {
            let mut steps = Steps::default();
            let keys =
                ["a", "b", "c"].map(|name| steps.begin(&name.into(), None, Instant::now()).0);
            let mut open = vec![0, 1, 2];
            for next in order {
                assert!(steps.end_well(keys[next]).is_some());
                assert!(steps.end_well(keys[next]).is_none(), "it is over");
                open.retain(|index| *index != next);
                let number = steps.current().map(|step| step.number as usize - 1);
                assert_eq!(number, open.last().copied());
            }
        }
    }
}
