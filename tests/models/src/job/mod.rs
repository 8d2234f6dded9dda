//! A job: who cancels it, who ends it, who watches, and who works for it.

pub mod detached;
pub mod ending;
pub mod family;
pub mod shared;
pub mod telling;
pub mod waking;

// The library's own files, of which the models use a part. They are linted at home.

#[path = "../../../../crates/tower-keep/src/job/core/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, clippy::all)]
pub(crate) mod core;
#[path = "../../../../crates/tower-keep/src/job/stop_signal.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod stop_signal;
#[path = "../../../../crates/tower-keep/src/job/table/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, clippy::all)]
pub(crate) mod table;
#[path = "../../../../crates/tower-keep/src/job/verdict/kind.rs"]
#[allow(dead_code, unreachable_pub, clippy::all)]
mod verdict;
#[path = "../../../../crates/tower-keep/src/job/view.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, clippy::all)]
pub(crate) mod view;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use self::{
    core::{Core, Ending, Origin},
    stop_signal::StopSignal,
};
use crate::{
    event::{CancelReason, Event, EventKind, FailureCause, JobName, Observer},
    sync::atomic::AtomicU64,
};

/// A job of one call, which a Cancel layer has in hand.
pub(crate) fn job() -> Arc<Core> {
    let job = Core::new(JobName::EMPTY, Origin::Nobody, |tell| tell());
    job.flags.take_call(false);
    job
}

fn child_of(parent: &Arc<Core>) -> Arc<Core> {
    born_within(parent, None)
}

/// A child of the code that this signal is around.
fn born_within(parent: &Arc<Core>, signal: Option<&Arc<StopSignal>>) -> Arc<Core> {
    let origin = Origin::Parent {
        parent: Arc::clone(parent),
        within: signal.cloned(),
    };
    Core::new(JobName::EMPTY, origin, |tell| tell())
}

fn cancelled(reason: CancelReason) -> Ending {
    Ending::Cancelled { reason }
}

fn timed_out() -> Ending {
    Ending::Failed {
        cause: FailureCause::TimedOut,
        error: "late".into(),
    }
}

/// The layer that owns the job: its service has succeeded. Gives back whether its caller gets the
/// result.
pub(crate) fn succeed(job: &Core) -> bool {
    let decided = job.flags.decide();
    job.end(None, || {
        if decided {
            Ending::Succeeded
        } else {
            cancelled(CancelReason::Requested)
        }
    });
    decided
}

/// Remembers what a job tells. What it finds amiss it says later, as a panic of an observer reaches
/// nobody.
struct Recorder {
    inside: AtomicU64,
    overlapped: AtomicBool,
    events: Mutex<Vec<(u64, EventKind)>>,
}

impl Observer for Recorder {
    fn on_event(&self, event: &Event) {
        // Others may come here, as each of loom's steps lets them.
        let before = self.inside.load(std::sync::atomic::Ordering::Acquire);
        self.inside.store(before + 1, Ordering::Release);
        self.events
            .lock()
            .unwrap()
            .push((event.seq, event.kind.clone()));
        let now = self.inside.load(Ordering::Acquire);
        if before != 0 || now != 1 {
            self.overlapped.store(true, Ordering::Relaxed);
        }
        self.inside.store(0, Ordering::Release);
    }
}

impl Recorder {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inside: AtomicU64::new(0),
            overlapped: AtomicBool::new(false),
            events: Mutex::default(),
        })
    }

    fn watch(self: &Arc<Self>, job: &Core) {
        let observer: Arc<dyn Observer> = Arc::clone(self) as _;
        job.observe(&observer, false);
    }

    /// A job that it watches from the start.
    fn of(job: &Core) -> Arc<Self> {
        let recorder = Self::new();
        recorder.watch(job);
        recorder
    }

    /// The names of all events: one at a time, in order, from the first to the last of the
    /// job, and without a gap for an observer from the start.
    fn told(&self) -> Vec<&'static str> {
        assert!(!self.overlapped.load(Ordering::Relaxed), "two at a time");
        let events = self.events.lock().unwrap();
        let numbers: Vec<_> = events.iter().map(|(number, _)| *number).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{events:?}");
        let ends = events.iter().filter(|(_, kind)| kind.is_terminal()).count();
        assert!(ends <= 1, "{events:?}");
        events.iter().map(|(_, kind)| kind.name()).collect()
    }

    /// How the job ended: exactly once, last.
    fn ending(&self) -> EventKind {
        let told = self.told();
        assert_eq!(told[0], "dispatched");
        let events = self.events.lock().unwrap();
        let (_, last) = &events[events.len() - 1];
        assert!(last.is_terminal(), "{events:?}");
        last.clone()
    }

    /// As [`ending`](Self::ending), for a cancelled job.
    fn reason(&self) -> Option<CancelReason> {
        match self.ending() {
            EventKind::Cancelled { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// No event is missing for an observer from the start.
    fn missed_nothing(&self) {
        let events = self.events.lock().unwrap();
        let numbers = events.iter().map(|(number, _)| *number);
        let missing = numbers
            .zip(0..)
            .any(|(number, expected)| number != expected);
        assert!(!missing, "{events:?}");
    }
}
