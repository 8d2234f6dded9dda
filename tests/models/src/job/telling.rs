//! Observers get the events in order, one at a time, and the end last.

use std::sync::Arc;

use super::{Recorder, cancelled, child_of, core::family, job, succeed};
use crate::{
    event::{CancelReason, EventKind, Observer, Report},
    run::{explore, explore_within, spawn},
    tracing_enabled::listen,
};

/// An observer that joins as the job starts and ends gets both events, only the end, or comes too
/// late.
pub fn a_late_observer_is_told_in_order() {
    let seen = explore(|| {
        let job = job();
        let recorder = Recorder::new();
        let watching = {
            let (job, recorder) = (Arc::clone(&job), Arc::clone(&recorder));
            spawn(move || recorder.watch(&job))
        };
        job.started(false);
        succeed(&job);
        watching.join();
        recorder.told()
    });
    assert_eq!(
        seen,
        [vec![], vec!["dispatched", "started", "succeeded"]].into()
    );
}

/// tracing's sink hears what happens once there is a listener, in order, and no start that it
/// missed.
pub fn a_late_listener_hears_what_follows() {
    let seen = explore_within(2, || {
        let job = job();
        let recorder = Recorder::new();
        let sink: Arc<dyn Observer> = Arc::clone(&recorder) as _;
        job.observe(&sink, true);
        let listening = spawn(listen);
        let other = Arc::clone(&job);
        let reporting = spawn(move || other.emit(None, EventKind::Progress(Report::new(0.5))));
        job.started(false);
        succeed(&job);
        reporting.join();
        listening.join();
        recorder.told()
    });
    for told in &seen {
        assert!(
            ["started", "progress", "succeeded"].ends_with(told)
                || ["started", "succeeded"].ends_with(told),
            "{told:?}"
        );
    }
    assert!(seen.contains(&vec![]) && seen.contains(&vec!["started", "progress", "succeeded"]));
}

/// The end is reported once, though it comes as an observer joins and two threads end the job.
pub fn the_end_reaches_who_began_to_watch() {
    let seen = explore_within(2, || {
        let job = job();
        let recorder = Recorder::new();
        let watching = {
            let (job, recorder) = (Arc::clone(&job), Arc::clone(&recorder));
            spawn(move || recorder.watch(&job))
        };
        let other = Arc::clone(&job);
        let leaving = spawn(move || other.end(None, || cancelled(CancelReason::Replaced)));
        succeed(&job);
        watching.join();
        leaving.join();
        recorder.told()
    });
    assert_eq!(
        seen,
        [
            vec![],
            vec!["dispatched", "succeeded"],
            vec!["dispatched", "cancelled"]
        ]
        .into()
    );
}

/// Two observers, one of them from the start, get the same events in the same order.
pub fn two_observers_see_the_same() {
    explore_within(2, || {
        let job = job();
        let first = Recorder::of(&job);
        let late = Recorder::new();
        let watching = {
            let (job, late) = (Arc::clone(&job), Arc::clone(&late));
            spawn(move || late.watch(&job))
        };
        let other = Arc::clone(&job);
        let starting = spawn(move || other.started(false));
        succeed(&job);
        watching.join();
        starting.join();
        first.ending();
        first.missed_nothing();
        let late = late.told();
        assert!(late.is_empty() || late == first.told(), "{late:?}");
    });
}

/// No event follows the end, and no event of a running job precedes the start.
pub fn a_report_comes_after_the_start_and_before_the_end() {
    let seen = explore_within(2, || {
        let job = job();
        let recorder = Recorder::of(&job);
        let other = Arc::clone(&job);
        let reporting = spawn(move || other.emit(None, EventKind::Progress(Report::new(0.5))));
        let other = Arc::clone(&job);
        let starting = spawn(move || other.started(false));
        succeed(&job);
        reporting.join();
        starting.join();
        recorder.missed_nothing();
        recorder.ending();
        recorder.told()
    });
    let ends = |told: &[&'static str]| {
        let mut all = vec!["dispatched"];
        all.extend(told);
        all.push("succeeded");
        all
    };
    assert_eq!(
        seen,
        [
            ends(&[]),
            ends(&["started"]),
            ends(&["started", "progress"])
        ]
        .into()
    );
}

/// The job of a child ends as its parent does. Neither waits for the other.
pub fn a_child_and_its_parent_end_at_once() {
    explore(|| {
        let parent = job();
        let child = child_of(&parent);
        child.flags.take_call(false);
        let recorders = [Recorder::of(&parent), Recorder::of(&child)];
        let ending = {
            let child = Arc::clone(&child);
            spawn(move || succeed(&child))
        };
        parent.caller_gone(None);
        ending.join();
        let [parents, childs] = recorders.map(|recorder| recorder.reason());
        assert_eq!(parents, Some(CancelReason::CallerGone));
        assert_eq!(childs, child.reason());
        assert!(family::parent(&child).is_none());
    });
}

/// What two threads tell while a third delivers goes out, each event once, in order, to those of
/// the first places and to those beyond.
pub fn what_comes_meanwhile_is_told() {
    explore_within(2, || {
        let job = job();
        let recorders = [(); 3].map(|()| Recorder::of(&job));
        let reporting = [0.25, 0.5].map(|fraction| {
            let job = Arc::clone(&job);
            spawn(move || job.emit(None, EventKind::Progress(Report::new(fraction))))
        });
        job.started(false);
        for thread in reporting {
            thread.join();
        }
        succeed(&job);
        for recorder in &recorders {
            recorder.missed_nothing();
            let told = recorder.told();
            assert_eq!(
                told,
                ["dispatched", "started", "progress", "progress", "succeeded"]
            );
        }
    });
}
