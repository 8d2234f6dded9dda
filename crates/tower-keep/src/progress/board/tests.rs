//! Tests of the board, its history and its readers, some against a naive model.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Wake, Waker},
};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    event::{CancelReason, Event, EventKind, FailureCause, JobId, Report},
    job::{
        core::{By, Ending, Origin},
        table::HISTORY,
    },
    progress::{Changes, JobState, ProgressHandle, ProgressLayer},
};

/// A board and its jobs, which have numbers as names.
struct Jobs {
    handle: ProgressHandle,
    running: BTreeMap<u64, Arc<Core>>,
}

impl Jobs {
    fn new(history: usize) -> Self {
        Self {
            handle: ProgressLayer::new().history(history).handle(),
            running: BTreeMap::new(),
        }
    }

    /// Applies this event to the job.
    fn send(&mut self, job: u64, kind: EventKind) {
        match kind {
            EventKind::Dispatched => {
                let name = job.to_string().into();
                let core = Core::new(name, Origin::Nobody, |run| run());
                self.handle.board.table.show(&core);
                self.running.insert(job, core);
            }
            EventKind::Succeeded => self.end(job, Ending::Succeeded),
            EventKind::Failed { cause, error } => self.end(job, Ending::Failed { cause, error }),
            EventKind::Cancelled { reason, .. } => {
                self.running[&job].cancel(reason.clone(), By::Request);
                self.end(job, Ending::Cancelled { reason });
            }
            kind => self.running[&job].emit(None, kind),
        }
    }

    fn end(&mut self, job: u64, ending: Ending) {
        self.running.remove(&job).unwrap().end(None, || ending);
    }
}

fn report(percent: u32) -> EventKind {
    EventKind::Progress(Report::new(f64::from(percent) / 100.0))
}

fn failed() -> EventKind {
    EventKind::Failed {
        cause: FailureCause::Error,
        error: "broken".into(),
    }
}

fn cancelled() -> EventKind {
    EventKind::Cancelled {
        reason: CancelReason::Requested,
        dropped: true,
    }
}

/// Job, state and progress in percent.
fn short(view: &JobView) -> (u64, JobState, u32) {
    let percent = (view.report.fraction().unwrap() * 100.0).round() as u32;
    (view.name.parse().unwrap(), view.state.clone(), percent)
}

fn shorts(views: &[JobView]) -> Vec<(u64, JobState, u32)> {
    views.iter().map(short).collect()
}

fn rest(changes: &mut Changes) -> Vec<(u64, JobState, u32)> {
    std::iter::from_fn(|| changes.try_changed().as_ref().map(short)).collect()
}

/// The changes that arrive without a wait.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let limit = std::time::Duration::from_secs(1);
    let ended = tokio::time::timeout(limit, future).await;
    ended.expect("it never comes")
}

use JobState::{Failed, Running, Succeeded, Waiting};

/// R29: an unread change is replaced by a newer one, at its position. An ending is never replaced,
/// and the history does not evict it. Each ending comes after all earlier changes.
#[tokio::test(start_paused = true)]
async fn changes_are_conflated_and_endings_are_not() {
    let mut jobs = Jobs::new(1);
    let handle = jobs.handle.clone();
    jobs.send(0, EventKind::Dispatched);
    jobs.send(1, EventKind::Dispatched);
    let (snapshot, mut changes) = handle.changes();
    assert_eq!(
        shorts(&snapshot.running),
        [(0, Waiting, 0), (1, Waiting, 0)]
    );
    assert_eq!(rest(&mut changes), []);

    for percent in 0..50 {
        jobs.send(0, report(percent));
        jobs.send(1, report(percent));
    }
    for job in 2..5 {
        jobs.send(job, EventKind::Dispatched);
        jobs.send(job, failed());
    }
    jobs.send(1, EventKind::Succeeded);
    jobs.send(0, report(60));
    assert_eq!(shorts(&handle.history()), [(1, Succeeded, 100)]);
    let failed = |job| (job, Failed(FailureCause::Error), 0);
    assert_eq!(
        rest(&mut changes),
        [
            (0, Running, 60),
            failed(2),
            failed(3),
            failed(4),
            (1, Succeeded, 100)
        ]
    );
    jobs.send(0, report(70));
    assert_eq!(rest(&mut changes), [(0, Running, 70)]);
}

/// R29: jobs that report constantly do not starve each other, even with a slow reader.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_reads_all_jobs() {
    let mut jobs = Jobs::new(0);
    let handle = jobs.handle.clone();
    let (_, mut changes) = handle.changes();
    for job in 0..3 {
        jobs.send(job, EventKind::Dispatched);
    }
    let mut read = Vec::new();
    for percent in 0..9 {
        for job in 0..3 {
            jobs.send(job, report(percent));
        }
        read.push(short(&changes.try_changed().unwrap()));
    }
    let expected: Vec<_> = (0..9)
        .map(|percent| (u64::from(percent % 3), Running, percent))
        .collect();
    assert_eq!(read, expected);
}

/// R29: the history is bounded, and may be unbounded on request.
#[tokio::test(start_paused = true)]
async fn the_history_is_bounded() {
    for (bound, kept) in [
        (0, 0..0),
        (1, 249..250),
        (7, 243..250),
        (HISTORY, 150..250),
        (usize::MAX, 0..250),
    ] {
        let mut jobs = Jobs::new(bound);
        let handle = jobs.handle.clone();
        for job in 0..250 {
            jobs.send(job, EventKind::Dispatched);
            jobs.send(job, cancelled());
        }
        let numbers: Vec<_> = handle.history().iter().map(|view| short(view).0).collect();
        assert_eq!(numbers, kept.collect::<Vec<_>>());
        handle.board.table.set_history(3);
        assert_eq!(handle.history().len(), bound.min(3));
        assert_eq!(handle.snapshot().running, []);
    }
}

/// A dropped reader leaves nothing behind, and does not keep changes that others read.
#[tokio::test(start_paused = true)]
async fn a_dropped_reader_is_forgotten() {
    let mut jobs = Jobs::new(0);
    let handle = jobs.handle.clone();
    let (_, first) = handle.changes();
    let (_, mut second) = handle.changes();
    assert_eq!(handle.board.readers.len(), 2);
    drop(first);
    assert_eq!(handle.board.readers.len(), 1);
    jobs.send(0, EventKind::Dispatched);
    assert_eq!(rest(&mut second), [(0, Waiting, 0)]);
    drop(second);
    assert_eq!(handle.board.readers.len(), 0);
}

/// R29: a reader's waker runs without a lock of the library, and once per wait.
#[tokio::test(start_paused = true)]
async fn wakers_run_without_the_lock() {
    struct Looking(ProgressHandle, AtomicUsize);
    impl Wake for Looking {
        fn wake(self: Arc<Self>) {
            let (snapshot, changes) = self.0.changes();
            assert_eq!(snapshot.running.len(), 1);
            drop(changes);
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    let mut jobs = Jobs::new(0);
    let handle = jobs.handle.clone();
    let looking = Arc::new(Looking(handle.clone(), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&looking));
    let cx = &mut Context::from_waker(&waker);
    let (_, mut changes) = handle.changes();
    assert!(pin!(changes.changed()).poll(cx).is_pending());
    jobs.send(0, EventKind::Dispatched);
    jobs.send(0, report(10));
    assert_eq!(looking.1.load(Ordering::Relaxed), 1);
    let next = pin!(changes.changed()).poll(cx);
    assert_eq!(
        next.map(|view| short(&view.unwrap())),
        Poll::Ready((0, Running, 10))
    );
}

/// R29: a reader ends once nothing can change any more, and not before it has read everything.
#[tokio::test(start_paused = true)]
async fn readers_end() {
    let mut jobs = Jobs::new(0);
    let handle = jobs.handle.clone();
    let (_, mut changes) = handle.changes();
    let (_, mut behind) = handle.changes();
    let waiting = tokio::spawn(async move { changes.changed().await });
    tokio::task::yield_now().await;
    drop(handle);
    assert!(!waiting.is_finished(), "a handle is left");
    jobs.send(0, EventKind::Dispatched);
    assert_eq!(
        soon(waiting).await.unwrap().map(|view| short(&view)),
        Some((0, Waiting, 0))
    );
    jobs.send(0, EventKind::Succeeded);
    drop(jobs);
    assert_eq!(
        soon(behind.changed()).await.map(|view| short(&view)),
        Some((0, Succeeded, 100))
    );
    assert_eq!(soon(behind.changed()).await, None);
    assert_eq!(soon(behind.changed()).await, None);
}

#[derive(Clone, Debug)]
enum Act {
    /// The next event of this job: first its dispatch, then a report, or an ending for an odd
    /// number.
    Event(u64, u32),
    Open,
    Read(usize),
    Close(usize),
    History(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (0..6_u64, 0..100_u32).prop_map(|(job, what)| Act::Event(job, what)),
        2 => Just(Act::Open),
        6 => (0..4_usize).prop_map(Act::Read),
        1 => (0..4_usize).prop_map(Act::Close),
        1 => (0..4_usize).prop_map(Act::History),
    ]
}

/// A naive model: the list of all changes, searched from the front each time.
#[derive(Default)]
struct Model {
    changes: Vec<JobView>,
    history: usize,
    kept: Vec<JobView>,
}

impl Model {
    /// The job's view after this event.
    fn apply(&mut self, event: &Event, handle: &ProgressHandle) {
        let known = self.latest().remove(&event.job);
        let mut view = known.unwrap_or_else(|| handle.find(event.job).unwrap());
        if event.kind.implies_started() && view.started_at.is_none() {
            view.started_at = Some(event.at);
            view.attempt_started_at = Some(view.dispatched_at);
        }
        if event.kind.is_terminal() {
            view.ended_at = Some(event.at);
            view.error = None;
        }
        match &event.kind {
            EventKind::Progress(report) => {
                view.state = JobState::Running;
                view.report = report.clone();
            }
            EventKind::Succeeded => {
                view.state = JobState::Succeeded;
                view.report = Report::new(1.0);
            }
            EventKind::Failed { cause, error } => {
                view.state = JobState::Failed(*cause);
                view.error = Some(Arc::clone(error));
            }
            EventKind::Cancelled { reason, .. } => {
                view.state = JobState::Cancelled(reason.clone());
            }
            _ => {}
        }
        if event.kind.is_terminal() {
            self.kept.push(view.clone());
            self.trim();
        }
        self.changes.push(view);
    }

    fn latest(&self) -> BTreeMap<JobId, JobView> {
        let changes = self.changes.iter();
        changes.map(|view| (view.job, view.clone())).collect()
    }

    fn running(&self) -> Vec<JobView> {
        let mut views: Vec<_> = self.latest().into_values().collect();
        views.retain(|view| !view.state.is_terminal());
        views
    }

    fn trim(&mut self) {
        let surplus = self.kept.len().saturating_sub(self.history);
        self.kept.drain(..surplus);
    }

    /// The next view for a reader that has read each job up to `read`.
    fn next(&self, read: &mut BTreeMap<JobId, usize>, begin: usize) -> Option<JobView> {
        let first = self.changes.iter().enumerate().find(|(index, view)| {
            let unread = *index >= read.get(&view.job).copied().unwrap_or(begin);
            let later = &self.changes[index + 1..];
            let ends_later = later
                .iter()
                .any(|later| later.job == view.job && later.state.is_terminal());
            unread && !ends_later
        })?;
        let latest = self.latest().remove(&first.1.job)?;
        read.insert(latest.job, self.changes.len());
        Some(latest)
    }
}

proptest! {
    /// R29: the board, its history and each of its readers always behave like the naive model.
    #[test]
    fn the_board_does_as_its_model(history in 0..4_usize, acts in vec(act(), 0..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let mut jobs = Jobs::new(history);
        let handle = jobs.handle.clone();
        let mut model = Model { history, ..Model::default() };
        let mut current = BTreeMap::<u64, u64>::new();
        let mut next_job = 0;
        let mut readers: Vec<(Changes, BTreeMap<JobId, usize>, usize)> = Vec::new();
        for act in acts {
            match act {
                Act::Event(slot, what) => {
                    let known = current.get(&slot).copied();
                    let job = known.unwrap_or(next_job);
                    let kind = match (known, what) {
                        (None, _) => EventKind::Dispatched,
                        (_, 1) => EventKind::Succeeded,
                        (_, 3) => failed(),
                        (_, 5..25) if what % 2 == 1 => cancelled(),
                        _ => report(what),
                    };
                    if known.is_none() {
                        next_job += 1;
                        current.insert(slot, job);
                    }
                    if kind.is_terminal() {
                        current.remove(&slot);
                    }
                    let known = jobs.running.get(&job).map(|job| job.id());
                    jobs.send(job, kind.clone());
                    let id = known.unwrap_or_else(|| jobs.running[&job].id());
                    model.apply(&Event::new(id, kind), &handle);
                }
                Act::Open => {
                    let (snapshot, changes) = handle.changes();
                    prop_assert_eq!(snapshot.running, model.running());
                    prop_assert_eq!(&snapshot.history, &model.kept);
                    readers.push((changes, BTreeMap::new(), model.changes.len()));
                }
                Act::Read(reader) => {
                    if let Some((changes, read, begin)) = readers.get_mut(reader) {
                        prop_assert_eq!(changes.try_changed(), model.next(read, *begin));
                    }
                }
                Act::Close(reader) => {
                    if reader < readers.len() {
                        readers.remove(reader);
                    }
                }
                Act::History(bound) => {
                    model.history = bound;
                    model.trim();
                    handle.board.table.set_history(bound);
                }
            }
            prop_assert_eq!(handle.jobs(), model.running());
            prop_assert_eq!(handle.history(), model.kept.clone());
        }
        for (mut changes, mut read, begin) in readers {
            loop {
                let next = changes.try_changed();
                prop_assert_eq!(&next, &model.next(&mut read, begin));
                if next.is_none() {
                    break;
                }
            }
        }
    }
}
