//! A board: those who look, and those who read each change, while jobs begin, report and end.
//!
//! Those who watch one job are not here: tokio's channel takes a lock of its own around a look at
//! the job, which loom does not know.

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Poll, Waker},
};

// The library's own files. They are linted at home.

#[path = "../../../../crates/tower-keep/src/progress/board/mod.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, clippy::all)]
mod board;
#[path = "../../../../crates/tower-keep/src/progress/change_queue.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod change_queue;
#[path = "../../../../crates/tower-keep/src/progress/change_readers.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod change_readers;

use self::board::{Board, BoardSnapshot};
use crate::{
    event::{EventKind, JobId, JobName, Report},
    job::{
        core::{Core, Ending, Origin},
        view::{JobState, JobView},
    },
    run::{Sleeper, Thread, explore_within, spawn},
};

fn board() -> Arc<Board> {
    let board = Arc::new(Board::new(1));
    board.table.take();
    board
}

fn begin(board: &Board) -> Arc<Core> {
    let job = Core::new(JobName::EMPTY, Origin::Nobody, |tell| tell());
    board.table.show(&job);
    job
}

fn report(job: &Core, fraction: f64) {
    job.emit(None, EventKind::Progress(Report::new(fraction)));
}

fn ends(job: &Arc<Core>) -> Thread<()> {
    let job = Arc::clone(job);
    spawn(move || job.end(None, || Ending::Succeeded))
}

/// What a reader makes of a snapshot and of what it reads after that: the latest of each job.
struct Reader {
    jobs: BTreeMap<JobId, JobView>,
    reader: u64,
    told: usize,
}

impl Reader {
    fn new(board: &Board) -> Self {
        let (BoardSnapshot { running, history }, reader) = board.readers.begin(&board.table);
        let mut jobs = BTreeMap::new();
        for view in running.into_iter().chain(history) {
            assert!(jobs.insert(view.job, view).is_none(), "in both");
        }
        Self {
            jobs,
            reader,
            told: 0,
        }
    }

    fn see(&mut self, view: JobView) {
        let before = self.jobs.insert(view.job, view.clone());
        if let Some(before) = before {
            assert!(!before.state.is_terminal(), "it had ended");
            assert!(before.report.fraction() <= view.report.fraction());
            let told_before = (before.state, before.report);
            assert_ne!(told_before, (view.state, view.report), "told twice");
        }
        self.told += 1;
    }

    /// Waits for what it reads next.
    fn waits(self, board: &Board) -> Thread<JobView> {
        let readers = Arc::clone(&board.readers);
        spawn(move || {
            let sleeper = Sleeper::default();
            loop {
                match readers.poll(self.reader, &sleeper.waker()) {
                    Poll::Ready(view) => return view.unwrap(),
                    Poll::Pending => sleeper.sleep(),
                }
            }
        })
    }

    fn read(&mut self, board: &Board) {
        while let Some(view) = board.readers.take(self.reader) {
            self.see(view);
        }
    }
}

/// A job that ends during a look is running or in the history, and is in no list twice.
pub fn each_job_is_in_one_of_the_two() {
    let seen = explore_within(2, || {
        let board = board();
        let job = begin(&board);
        let ending = ends(&job);
        let snapshot = board.snapshot();
        ending.join();
        assert_eq!(snapshot.running.len() + snapshot.history.len(), 1);
        assert!(board.running().is_empty());
        assert_eq!(board.history().len(), 1);
        snapshot.history.len()
    });
    assert_eq!(seen.len(), 2);
}

/// A job that ends as it is put on the board is not left there.
pub fn what_ended_is_not_left_on_the_board() {
    explore_within(3, || {
        let board = board();
        let job = Core::new(JobName::EMPTY, Origin::Nobody, |tell| tell());
        let ending = ends(&job);
        board.table.show(&job);
        ending.join();
        assert!(board.running().is_empty());
        assert!(board.history().len() <= 1);
    });
}

/// A reader that begins as a job reports and ends misses nothing and reads nothing twice.
pub fn a_reader_that_begins_misses_nothing() {
    let seen = explore_within(2, || {
        let board = board();
        let job = begin(&board);
        let other = Arc::clone(&job);
        let working = spawn(move || {
            report(&other, 0.5);
            other.end(None, || Ending::Succeeded);
        });
        let mut reader = Reader::new(&board);
        working.join();
        reader.read(&board);
        assert_eq!(reader.jobs[&job.id()].state, JobState::Succeeded);
        reader.told
    });
    assert!(seen.contains(&0) && seen.contains(&1), "{seen:?}");
}

/// So does a reader that begins as a job begins, next to an older reader.
pub fn readers_learn_of_a_job_that_begins() {
    explore_within(2, || {
        let board = board();
        let mut early = Reader::new(&board);
        let other = Arc::clone(&board);
        let beginning = spawn(move || begin(&other));
        let mut late = Reader::new(&board);
        let job = beginning.join();
        for reader in [&mut early, &mut late] {
            reader.read(&board);
            assert_eq!(reader.jobs[&job.id()].state, JobState::Waiting);
        }
    });
}

/// A reader that waits is woken by a job that begins, though another reader begins at that moment.
pub fn a_reader_that_begins_takes_nobodys_wake() {
    explore_within(2, || {
        let board = board();
        let waiting = Reader::new(&board).waits(&board);
        let other = Arc::clone(&board);
        let beginning = spawn(move || begin(&other));
        let _late = Reader::new(&board);
        let job = beginning.join();
        assert_eq!(waiting.join().job, job.id());
    });
}

/// Reports of two threads while they are read: the last view is the latest, and each goes out once.
pub fn the_last_report_is_read() {
    explore_within(2, || {
        let board = board();
        let job = begin(&board);
        let mut reader = Reader::new(&board);
        let other = Arc::clone(&job);
        let reporting = spawn(move || {
            report(&other, 0.25);
            report(&other, 0.5);
        });
        reader.read(&board);
        reporting.join();
        reader.read(&board);
        assert_eq!(reader.jobs[&job.id()].report.fraction(), Some(0.5));
    });
}

/// Two that wait are both woken, though the first to look hands out what is new to both.
pub fn all_readers_are_woken() {
    explore_within(2, || {
        let board = board();
        let job = begin(&board);
        let threads = [(); 2].map(|()| Reader::new(&board).waits(&board));
        job.end(None, || Ending::Succeeded);
        for thread in threads {
            assert_eq!(thread.join().state, JobState::Succeeded);
        }
    });
}

/// A reader whose board goes learns of it.
pub fn a_reader_ends_with_its_board() {
    explore_within(3, || {
        let board = board();
        let reader = Reader::new(&board).reader;
        let readers = Arc::clone(&board.readers);
        let going = spawn(move || drop(board));
        let sleeper = Sleeper::default();
        let ended = loop {
            match readers.poll(reader, &sleeper.waker()) {
                Poll::Ready(ended) => break ended,
                Poll::Pending => sleeper.sleep(),
            }
        };
        going.join();
        assert!(ended.is_none());
        assert!(readers.poll(reader, Waker::noop()).is_ready());
    });
}
