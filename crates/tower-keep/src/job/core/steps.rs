//! The steps of a job: numbering, nesting, parallel steps, and the current step of an event.
//!
//! Several steps may be open: nested or in parallel. A step is open until it ends or is dropped.
//! The code of a step identifies it by a key.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Core, State};
use crate::event::{AttemptOutcome, EventKind, Report, StepInfo};

/// Identifies a step of a job, over all attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepKey(u64);

/// The steps of the current attempt.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// The number of the step that began last.
    number: u32,
    /// The announced total; 0 if unknown.
    total: u32,
    /// The number of steps that ended, in any way.
    over: u32,
    next_key: u64,
    /// The open step that began last. The others are in `more`, oldest first. So a job with
    /// sequential steps allocates nothing.
    latest: Option<Open>,
    more: Vec<Open>,
    /// The current step while no step is open.
    unfinished: Option<Unfinished>,
}

#[derive(Debug)]
struct Open {
    key: StepKey,
    /// The step whose code began this one.
    outer: Option<StepKey>,
    since: Instant,
    step: StepInfo,
}

/// A step that did not succeed.
#[derive(Debug)]
struct Unfinished {
    /// Its innermost open outer step.
    outer: Option<StepKey>,
    step: StepInfo,
    how: Broken,
}

/// How a step ends without success.
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

    /// An open step of an earlier attempt, perhaps in another task, does not count for this
    /// attempt.
    pub(super) fn restart(&mut self) {
        self.number = 0;
        self.over = 0;
        self.latest = None;
        self.more.clear();
        self.unfinished = None;
    }

    fn begin(
        &mut self,
        name: &Arc<str>,
        outer: Option<StepKey>,
        since: Instant,
    ) -> (StepKey, &StepInfo) {
        self.unfinished = None;
        self.number = self.number.saturating_add(1);
        let key = StepKey(self.next_key);
        self.next_key += 1;
        self.more.extend(self.latest.take());
        let open = self.latest.insert(Open {
            key,
            outer,
            since,
            step: StepInfo {
                name: Arc::clone(name),
                number: self.number,
                total: (self.total > 0).then_some(self.total),
            },
        });
        (key, &open.step)
    }

    /// `None` if the step is not open, or belongs to an earlier attempt.
    fn close(&mut self, key: StepKey) -> Option<Open> {
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

    /// The report for the end of this step; `None` without a total, or for a step of an earlier
    /// attempt.
    fn report(&self, key: StepKey) -> Option<Report> {
        let mut open = self.latest.iter().chain(&self.more);
        let is_known = self.total > 0 && open.any(|open| open.key == key);
        is_known.then(|| Report::step(self.over.saturating_add(1), self.total))
    }

    /// The step succeeded in spite of a failed inner step. A failed parallel step still counts.
    fn end_well(&mut self, key: StepKey) -> Option<Open> {
        let open = self.close(key)?;
        self.unfinished.take_if(|known| known.outer == Some(key));
        Some(open)
    }

    /// Keeps the first failure, because later ones follow from it: the outer step's failure, and
    /// dropped parallel steps. An outer step that continues has handled it. Of nested dropped
    /// steps, in any order, keeps the innermost.
    fn break_off(&mut self, key: StepKey, how: Broken) {
        let Some(open) = self.close(key) else {
            return;
        };
        if let Some(known) = &mut self.unfinished {
            let is_inside = known.outer == Some(key);
            if is_inside {
                known.outer = open.outer;
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
            outer: open.outer,
            step: open.step,
            how,
        });
    }

    fn current(&self) -> Option<&StepInfo> {
        let open = self.latest.as_ref().map(|open| &open.step);
        open.or_else(|| self.unfinished.as_ref().map(|known| &known.step))
    }

    /// Where a finished attempt failed. A step that still runs does so in another task.
    fn where_failed(&self) -> Option<&StepInfo> {
        match &self.unfinished {
            Some(known) if known.outer.is_none() => Some(&known.step),
            _ => self.current(),
        }
    }

    /// The step of an event that the code of step `here` causes.
    fn of_event(&self, kind: &EventKind, here: Option<StepKey>) -> Option<&StepInfo> {
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

    /// The step whose code runs, or else the current step.
    fn here(&self, key: Option<StepKey>) -> Option<&StepInfo> {
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
    /// The step of an event that the code of step `here` causes.
    pub(super) fn step_of(&self, kind: &EventKind, here: Option<StepKey>) -> Option<StepInfo> {
        self.rare.as_ref()?.steps.of_event(kind, here).cloned()
    }
}

impl Core {
    pub(crate) fn set_steps(&self, total: u32) {
        self.lock().rare().steps.announce(total);
    }

    /// Keeps the shorter limit.
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

    /// Begins a step, inside step `outer` if any, and sends its event.
    pub(crate) fn begin_step(&self, name: &Arc<str>, outer: Option<StepKey>) -> StepKey {
        let now = Instant::now();
        let mut job = self.lock();
        let (key, step) = job.rare().steps.begin(name, outer, now);
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

    /// Ends a step with success, and sends its events: first progress, then the end.
    pub(crate) fn end_step(&self, key: StepKey) {
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
            // Under the lock that counted it: of two simultaneous ends, the later report shows
            // more.
            job.emit(EventKind::Progress(report), now, Some(step.clone()));
            job = self.lock();
        }
        job.emit(ended, now, Some(step));
    }

    /// Ends a step without success. Later events name it.
    pub(crate) fn break_step(&self, key: StepKey, how: Broken) {
        self.lock().rare().steps.break_off(key, how);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R28: the number of a step never restarts, however many steps there are.
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

    /// Steps that end in any order leave the running ones open, and none stays open at the end.
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
