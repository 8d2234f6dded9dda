//! The board and what its readers see.

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
    event::{CancelReason, FailureCause, Report},
    progress::{Changes, JobState, ProgressHandle},
};

fn handle(history: usize) -> ProgressHandle {
    let board = Arc::new(Board::new(16));
    board.set_history(history);
    ProgressHandle { board }
}

fn id(job: u64) -> JobId {
    JobId::from_u64(job + 1).unwrap()
}

fn send(handle: &ProgressHandle, job: u64, kind: EventKind) {
    handle.board.on_event(&Event::new(id(job), kind));
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
    let percent = (view.report.fraction() * 100.0).round() as u32;
    (view.job.get() - 1, view.state.clone(), percent)
}

fn shorts(views: &[JobView]) -> Vec<(u64, JobState, u32)> {
    views.iter().map(short).collect()
}

fn rest(changes: &mut Changes) -> Vec<(u64, JobState, u32)> {
    std::iter::from_fn(|| changes.try_changed().as_ref().map(short)).collect()
}

/// What comes at once, or at least before everything has come to rest.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let limit = std::time::Duration::from_secs(1);
    let ended = tokio::time::timeout(limit, future).await;
    ended.expect("it never comes")
}

use JobState::{Failed, Running, Succeeded, Waiting};

/// R29: what was not read is replaced by what is newer, in its place; an ending never is, nor does the history push it
/// out; and each ending comes after all that changed before it.
#[tokio::test(start_paused = true)]
async fn changes_are_conflated_and_endings_are_not() {
    let handle = handle(1);
    send(&handle, 0, EventKind::Dispatched);
    send(&handle, 1, EventKind::Dispatched);
    let (snapshot, mut changes) = handle.changes();
    assert_eq!(
        shorts(&snapshot.running),
        [(0, Waiting, 0), (1, Waiting, 0)]
    );
    assert_eq!(rest(&mut changes), []);

    for percent in 0..50 {
        send(&handle, 0, report(percent));
        send(&handle, 1, report(percent));
    }
    for job in 2..5 {
        send(&handle, job, EventKind::Dispatched);
        send(&handle, job, failed());
    }
    send(&handle, 1, EventKind::Succeeded);
    send(&handle, 0, report(60));
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
    send(&handle, 0, report(70));
    assert_eq!(rest(&mut changes), [(0, Running, 70)]);
}

/// R29: jobs that report all the time do not keep each other from being read by a reader slower than they are.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_reads_all_jobs() {
    let handle = handle(0);
    let (_, mut changes) = handle.changes();
    for job in 0..3 {
        send(&handle, job, EventKind::Dispatched);
    }
    let mut read = Vec::new();
    for percent in 0..9 {
        for job in 0..3 {
            send(&handle, job, report(percent));
        }
        read.push(short(&changes.try_changed().unwrap()));
    }
    let expected: Vec<_> = (0..9)
        .map(|percent| (u64::from(percent % 3), Running, percent))
        .collect();
    assert_eq!(read, expected);
}

/// R29: the history is bounded, and by nothing at all if need be.
#[tokio::test(start_paused = true)]
async fn the_history_is_bounded() {
    for (bound, kept) in [
        (0, 0..0),
        (1, 249..250),
        (7, 243..250),
        (HISTORY, 150..250),
        (usize::MAX, 0..250),
    ] {
        let handle = handle(bound);
        for job in 0..250 {
            send(&handle, job, EventKind::Dispatched);
            send(&handle, job, cancelled());
        }
        let jobs: Vec<_> = handle.history().iter().map(|view| view.job).collect();
        assert_eq!(jobs, kept.map(id).collect::<Vec<_>>());
        handle.board.set_history(3);
        assert_eq!(handle.history().len(), bound.min(3));
        assert_eq!(handle.snapshot().running, []);
    }
}

/// A reader that is dropped leaves nothing behind, nor does it keep what others read.
#[tokio::test(start_paused = true)]
async fn a_dropped_reader_is_forgotten() {
    let handle = handle(0);
    let (_, first) = handle.changes();
    let (_, mut second) = handle.changes();
    assert_eq!(handle.board.state().readers.len(), 2);
    drop(first);
    assert_eq!(handle.board.state().readers.len(), 1);
    send(&handle, 0, EventKind::Dispatched);
    assert_eq!(rest(&mut second), [(0, Waiting, 0)]);
    drop(second);
    assert!(handle.board.state().readers.is_empty());
}

/// R29: a reader's waker runs without a lock of ours, and once for what it waits for.
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
    let handle = handle(0);
    let looking = Arc::new(Looking(handle.clone(), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&looking));
    let cx = &mut Context::from_waker(&waker);
    let (_, mut changes) = handle.changes();
    assert!(pin!(changes.changed()).poll(cx).is_pending());
    send(&handle, 0, EventKind::Dispatched);
    send(&handle, 0, report(10));
    assert_eq!(looking.1.load(Ordering::Relaxed), 1);
    let next = pin!(changes.changed()).poll(cx);
    assert_eq!(
        next.map(|view| short(&view.unwrap())),
        Poll::Ready((0, Running, 10))
    );
}

/// R29: a reader ends once nothing is left that could change, and not before it has read everything.
#[tokio::test(start_paused = true)]
async fn readers_end() {
    let handle = handle(0);
    let (_, mut changes) = handle.changes();
    let (_, mut behind) = handle.changes();
    let waiting = tokio::spawn(async move { changes.changed().await });
    tokio::task::yield_now().await;
    drop(handle.clone());
    assert!(!waiting.is_finished(), "a handle is left");
    send(&handle, 0, EventKind::Dispatched);
    assert_eq!(
        soon(waiting).await.unwrap().map(|view| short(&view)),
        Some((0, Waiting, 0))
    );
    send(&handle, 0, EventKind::Succeeded);
    drop(handle);
    assert_eq!(
        soon(behind.changed()).await.map(|view| short(&view)),
        Some((0, Succeeded, 100))
    );
    assert_eq!(soon(behind.changed()).await, None);
    assert_eq!(soon(behind.changed()).await, None);
}

#[derive(Clone, Debug)]
enum Act {
    /// The next event of this job: first its dispatch, then a report, or an ending for such an odd number.
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

/// Everything that ever changed, looked through from the front each time.
#[derive(Default)]
struct Model {
    changes: Vec<JobView>,
    history: usize,
    kept: Vec<JobView>,
}

impl Model {
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

    /// What a reader that has read up to `read` of each job reads next.
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
    /// R29: the board, its history and each of its readers do as the naive model does, whoever reads when.
    #[test]
    fn the_board_does_as_its_model(history in 0..4_usize, acts in vec(act(), 0..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let handle = handle(history);
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
                    let event = Event::new(id(job), kind);
                    let mut latest = model.latest();
                    let view = match latest.remove(&event.job) {
                        Some(mut view) => {
                            view.apply(&event);
                            view
                        }
                        None => JobView::new(&event),
                    };
                    if known.is_none() {
                        next_job += 1;
                        current.insert(slot, job);
                    }
                    if event.kind.is_terminal() {
                        current.remove(&slot);
                        model.kept.push(view.clone());
                        model.trim();
                    }
                    model.changes.push(view);
                    handle.board.on_event(&event);
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
                    handle.board.set_history(bound);
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
