//! The boards that show a job: its facts for views, and which readers get each change.

use std::{mem, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Core, Flag, Flags, Locked,
    details::{Details, Doing, Ended, Facts, How},
    followers::{Handles, LeaderReport},
    nanos,
    rate::Rate,
};
use crate::{
    event::{EventKind, StepInfo},
    job::table::Shard,
    sync::atomic::Ordering,
};

/// The state of one board's change readers with respect to this job.
#[derive(Clone, Copy, Default)]
pub(super) struct Reading {
    /// There are readers, and each change is listed for them.
    begun: bool,
    /// An unread change is listed for them.
    listed: bool,
    /// They know that the job has started.
    started: bool,
}

impl Reading {
    /// Returns whether there were no readers before.
    fn begin(&mut self) -> bool {
        !mem::replace(&mut self.begun, true)
    }

    /// Returns whether to list a change for them. `starts`: the change is only the start of the
    /// job.
    fn list(&mut self, starts: bool) -> bool {
        let is_news = self.begun && !(starts && self.started);
        is_news && !mem::replace(&mut self.listed, true)
    }

    /// Takes the listed change. Returns whether there was one.
    fn take(&mut self) -> bool {
        mem::take(&mut self.listed)
    }
}

/// The readers to notify of a change after the job's lock is released.
#[must_use = "readers wait for it"]
pub(super) struct Notification {
    /// List the change for the change readers of the first board.
    listed: bool,
    /// List it for the change readers of these boards too.
    further: Vec<Arc<Shard>>,
    /// The job has watches.
    watched: bool,
}

/// Nanoseconds since the beginning plus one, so that 0 means none.
fn time(nanos: u64) -> u64 {
    nanos.saturating_add(1)
}

impl Core {
    /// Shows the job on this board. Returns `false` if the board has it already, or the job is
    /// over.
    pub(crate) fn show_on(&self, shard: &Arc<Shard>) -> bool {
        if self.shard().is_none() && self.board.set(Arc::clone(shard)).is_ok() {
            // One of two threads sees the other: this one sees the end, or the ending thread sees
            // the board.
            return !self.flags.set(Flag::OnBoard).is_over();
        }
        // Another board has the job, or this one.
        self.show_on_further(shard)
    }

    #[cold]
    fn show_on_further(&self, shard: &Arc<Shard>) -> bool {
        let mut job = self.lock();
        let further = job.rare().boards.iter().map(|(board, _)| board);
        let mut known = self.shard().into_iter().chain(further);
        if known.any(|known| known.is_of_table_of(shard)) {
            return false;
        }
        let board = (Arc::clone(shard), Reading::default());
        job.rare().boards.push(board);
        !self.flags.set(Flag::Details).is_over()
    }

    /// Whether a board shows it.
    #[inline(always)]
    pub(crate) fn is_shown(&self) -> bool {
        self.state().has(Flag::OnBoard)
    }

    /// The shard of the first board.
    #[inline(always)]
    pub(crate) fn shard(&self) -> Option<&Arc<Shard>> {
        self.born_on.as_ref().or_else(|| self.board.get())
    }

    /// Without the lock, because boards have their own.
    fn for_each_board(&self, look: impl FnMut(&Arc<Shard>)) {
        let further = match self.state().has(Flag::Details) {
            true => (self.lock().rare.as_ref()).map_or_else(Vec::new, |rare| rare.boards.clone()),
            false => Vec::new(),
        };
        let further = further.iter().map(|(board, _)| board);
        self.shard().into_iter().chain(further).for_each(look);
    }

    /// Records when the job started, for later views.
    pub(super) fn note_started(&self, at: Instant) {
        let nanos = nanos(at.saturating_duration_since(self.born));
        self.started_at.store(time(nanos), Ordering::Relaxed);
    }

    /// When the job started, if the time was recorded.
    pub(super) fn started_at(&self) -> Option<Instant> {
        let noted = self.started_at.load(Ordering::Relaxed);
        Some(self.born + Duration::from_nanos(noted.checked_sub(1)?))
    }

    fn started_nanos(&self, now: Flags, otherwise: impl FnOnce() -> u64) -> Option<u64> {
        now.has(Flag::Started).then(|| {
            let noted = self.started_at.load(Ordering::Relaxed);
            noted.checked_sub(1).unwrap_or_else(otherwise)
        })
    }

    fn facts_at(&self, now: Flags, otherwise: impl FnOnce() -> u64) -> Facts {
        Facts {
            id: self.id,
            parent: self.parent,
            name: self.name().clone(),
            attempt: self.attempt(),
            attempt_at: self.attempt_at(),
            cancelled: now.is_cancelled(),
            born: self.born,
            started: self.started_nanos(now, otherwise),
            shown: None,
            ended: None,
        }
    }

    /// The current facts of the job.
    pub(crate) fn facts(&self) -> Facts {
        if !self.follows_closely() {
            drop(self.absorb_reports());
        }
        self.lock().facts()
    }

    /// The current facts of the job for the change readers of this board, which get each change
    /// from now on. Also returns whether to list the job for earlier readers.
    pub(crate) fn facts_for_readers(&self, board: &Shard) -> (Facts, bool, Handles) {
        let handles = self.follow_closely();
        let mut job = self.lock();
        self.flags.set(Flag::Read);
        let is_news = job.reading(board).is_some_and(|reading| {
            let is_new = reading.begin();
            reading.take() || is_new
        });
        (job.facts_for(board), is_news, handles)
    }

    /// The current facts of the job, unless the change readers of this board know them.
    pub(crate) fn take_change(&self, board: &Shard) -> Option<Facts> {
        let mut job = self.lock();
        job.reading(board)?.take().then(|| job.facts_for(board))
    }

    /// The board has had readers since the job's beginning: lists the job for them.
    pub(crate) fn begin_read(&self, board: &Shard) {
        let mut job = self.lock();
        self.flags.set(Flag::Read);
        if let Some(reading) = job.reading(board) {
            // Otherwise a new reader has listed the job for them.
            if reading.begin() {
                reading.list(false);
            }
        }
    }

    /// The job is watched from now on.
    pub(crate) fn be_watched(&self) {
        drop(self.follow_closely());
        self.flags.set(Flag::Viewed);
    }

    /// The job got a name or an external id: notifies readers and watches.
    pub(super) fn changed(&self) {
        if self.is_shown() && (self.state().has(Flag::Read) || self.state().has(Flag::Viewed)) {
            let notification = self.lock().notification(false);
            self.notify_boards(notification);
        }
    }

    /// The job has started. Views derive this from the flags, unless there are details, or readers
    /// and watches.
    pub(super) fn show_start(&self, before: Flags, at: Instant) {
        if before.is_looked_at() {
            let mut job = self.lock();
            if job.core.state().is_over() {
                return;
            }
            let notification = match &job.shown {
                Some(shown) if shown.doing != Doing::AsStarted => {
                    job.show(&EventKind::Started, at, None, None)
                }
                _ => job.notification(true),
            };
            drop(job);
            self.notify_boards(notification);
        }
    }

    pub(super) fn notify_boards(&self, notification: Notification) {
        let first = self.shard().filter(|_| notification.listed);
        for board in first.into_iter().chain(&notification.further) {
            board.list(self);
        }
        if notification.watched {
            self.for_each_board(|board| board.notify_watch(self));
        }
    }

    /// Shows an end that the flags alone describe. Returns `false` if the end has more to show.
    pub(super) fn show_plain_end(&self, before: Flags, at: Instant) -> bool {
        if before.has(Flag::Details) || before.is_cancelled() {
            return false;
        }
        if let Some(board) = self.shard() {
            let nanos = nanos(at.saturating_duration_since(self.born));
            let mut facts = self.facts_at(before, || nanos);
            let how = How::Succeeded;
            facts.ended = Some(Ended { nanos, how });
            board.end(self, facts);
        }
        true
    }

    pub(super) fn show_end(&self, facts: Facts) {
        self.for_each_board(|board| board.end(self, facts.clone()));
    }

    // ===== reports of the leader =====

    /// Whether each report of the leader is delivered to this job at once, instead of read on
    /// request.
    pub(super) fn follows_closely(&self) -> bool {
        let now = self.state();
        now.has(Flag::Read)
            || now.has(Flag::Viewed)
            || self.activity.is_timed()
            || self.is_observed()
    }

    /// Delivers each report of the leader to this job from now on, and catches up on missed
    /// reports.
    pub(super) fn follow_closely(&self) -> Handles {
        let mut handles = Vec::new();
        if !self.follows_closely() {
            handles = self.claim_reports();
            handles.extend(self.absorb_reports());
        }
        handles
    }

    /// Takes over the leaders' latest reports.
    #[inline]
    pub(super) fn absorb_reports(&self) -> Handles {
        if !self.is_shown() {
            return Vec::new();
        }
        let (reports, handles) = self.reports_of_work();
        if !reports.is_empty() {
            self.lock().absorb(&reports);
        }
        handles
    }
}

impl Locked<'_> {
    fn facts(&self) -> Facts {
        let core = self.core;
        let since_born = || nanos(core.born.elapsed());
        Facts {
            shown: self.shown.clone(),
            ..core.facts_at(core.state(), since_born)
        }
    }

    /// The current facts of the job, which the readers of this board then know.
    fn facts_for(&mut self, board: &Shard) -> Facts {
        let facts = self.facts();
        if let Some(reading) = self.reading(board) {
            reading.started = facts.started.is_some();
        }
        facts
    }

    /// The facts for the job's last view.
    pub(super) fn last_facts(
        &mut self,
        kind: &EventKind,
        at: Instant,
        step: Option<StepInfo>,
    ) -> Facts {
        let core = self.core;
        let nanos = nanos(at.saturating_duration_since(core.born));
        if step.is_some() || self.shown.is_some() {
            let shown = self.shown.get_or_insert_default();
            if shown.step != step {
                Arc::make_mut(shown).step = step;
            }
        }
        Facts {
            // The details stay here: until the boards show the end, views show the job as it was.
            shown: self.shown.clone(),
            ended: Some(Ended {
                nanos,
                how: kind.into(),
            }),
            ..core.facts_at(core.state(), || nanos)
        }
    }

    /// Adds an event to what views show.
    pub(super) fn show(
        &mut self,
        kind: &EventKind,
        at: Instant,
        step: Option<StepInfo>,
        rate: Option<Rate>,
    ) -> Notification {
        self.note(kind, at, step, rate);
        self.notification(false)
    }

    fn note(&mut self, kind: &EventKind, at: Instant, step: Option<StepInfo>, rate: Option<Rate>) {
        let core = self.core;
        let nanos = nanos(at.saturating_duration_since(core.born));
        Arc::make_mut(self.shown()).apply(kind, at, nanos, step, rate);
        if core.state().has(Flag::Started) && core.started_at.load(Ordering::Relaxed) == 0 {
            core.started_at.store(time(nanos), Ordering::Relaxed);
        }
    }

    /// The details, created if there are none.
    pub(super) fn shown(&mut self) -> &mut Arc<Details> {
        let core = self.core;
        self.shown.get_or_insert_with(|| {
            core.flags.set(Flag::Details);
            Arc::default()
        })
    }

    /// Notifies no reader, because every view absorbs first, change readers included.
    pub(super) fn absorb(&mut self, reports: &[LeaderReport]) {
        if self.core.state().is_over() || !self.core.is_shown() {
            return;
        }
        for LeaderReport {
            kind,
            step,
            at,
            rate,
        } in reports
        {
            let since_born = nanos(at.saturating_duration_since(self.core.born));
            // The job may know a later report.
            if self
                .shown
                .as_ref()
                .is_none_or(|shown| shown.changed <= since_born)
            {
                self.note(kind, *at, step.clone(), Some(*rate));
            }
        }
    }

    pub(super) fn notification(&mut self, starts: bool) -> Notification {
        Notification {
            listed: self.reading.list(starts),
            further: match &mut self.rare {
                Some(rare) => {
                    let boards = rare.boards.iter_mut();
                    let listed =
                        boards.filter_map(|(board, reading)| reading.list(starts).then_some(board));
                    listed.map(|board| Arc::clone(board)).collect()
                }
                None => Vec::new(),
            },
            watched: self.core.state().has(Flag::Viewed),
        }
    }

    /// What the readers of this board know; `None` if the board does not have the job.
    fn reading(&mut self, board: &Shard) -> Option<&mut Reading> {
        let is_it = |known: &Arc<Shard>| known.is_of_table_of(board);
        if self.core.shard().is_some_and(is_it) {
            return Some(&mut self.reading);
        }
        let further = &mut self.rare.as_mut()?.boards;
        let known = further.iter_mut().find(|(known, _)| is_it(known));
        known.map(|(_, reading)| reading)
    }
}
