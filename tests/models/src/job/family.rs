//! A cancellation reaches the jobs that work for the cancelled job.

use std::sync::Arc;

use super::{
    Recorder, born_within, child_of,
    core::{By, Core, Ending, family},
    job,
    stop_signal::StopSignal,
    succeed,
    verdict::VerdictKind,
};
use crate::{
    event::CancelReason,
    run::{Thread, explore, explore_within, spawn},
};

/// A child is found, or sees as it is born that its parent is cancelled; so does its own child.
pub fn a_child_is_cancelled_with_its_parent() {
    explore(|| {
        let parent = job();
        let other = Arc::clone(&parent);
        let cancelling = spawn(move || other.cancel(CancelReason::Shutdown, By::Request));
        let child = child_of(&parent);
        let grandchild = child_of(&child);
        assert!(cancelling.join());
        for job in [child, grandchild] {
            assert_eq!(job.reason(), Some(CancelReason::Shutdown));
            assert!(job.state().has_fired());
        }
    });
}

/// Two that are born at once are both found.
pub fn children_of_two_threads_are_cancelled() {
    explore_within(2, || {
        let parent = job();
        let threads = [(); 2].map(|()| {
            let parent = Arc::clone(&parent);
            spawn(move || child_of(&parent))
        });
        assert!(parent.cancel(CancelReason::Requested, By::Request));
        for thread in threads {
            assert!(thread.join().state().has_fired());
        }
    });
}

/// A child that succeeds at the same time is cancelled or not, as it then says itself.
pub fn a_child_ends_or_is_cancelled() {
    let seen = explore(|| {
        let parent = job();
        let child = child_of(&parent);
        child.flags.take_call(false);
        let recorder = Recorder::of(&child);
        let other = Arc::clone(&parent);
        let cancelling = spawn(move || other.cancel(CancelReason::Requested, By::Request));
        succeed(&child);
        assert!(cancelling.join());
        // The call that drops this job's caller comes even when a result is on its way.
        assert_eq!(recorder.reason(), child.reason());
        recorder.reason().is_some()
    });
    assert_eq!(seen.len(), 2);
}

/// A limit's signal reaches the jobs that were begun within, and no other, and those as they are
/// born.
pub fn a_stop_signal_reaches_who_is_born_within() {
    explore(|| {
        let parent = job();
        let signal = StopSignal::new(parent.id(), VerdictKind::AttemptTimedOut, None);
        let stopping = {
            let (parent, signal) = (Arc::clone(&parent), Arc::clone(&signal));
            spawn(move || parent.stop_by(&signal))
        };
        let within = born_within(&parent, Some(&signal));
        let outside = child_of(&parent);
        stopping.join();
        assert_eq!(within.reason(), Some(CancelReason::TimedOut));
        assert_eq!(outside.reason(), None);
        assert!(!parent.state().is_cancelled());
    });
}

/// A signal's token that is taken as it fires, or as the job is cancelled, fires too.
pub fn a_stop_signals_token_taken_late_fires() {
    explore(|| {
        let job = job();
        let signals = [(); 2].map(|()| StopSignal::new(job.id(), VerdictKind::TimedOut, None));
        let taking = {
            let (job, signals) = (Arc::clone(&job), signals.clone());
            spawn(move || signals.map(|signal| signal.token(|| job.token())))
        };
        let [signal, other] = signals;
        job.stop_by(&signal);
        let tokens = taking.join();
        assert!(tokens[0].is_cancelled());
        assert!(!tokens[1].is_cancelled());
        assert!(job.cancel(CancelReason::Requested, By::Request));
        assert!(tokens[1].is_cancelled());
        assert!(!other.is_stopping());
    });
}

fn ends_meanwhile(job: &Arc<Core>) -> Thread<()> {
    let job = Arc::clone(job);
    spawn(move || job.end(None, || Ending::Succeeded))
}

/// A child whose parent ends is cancelled with the job around that.
pub fn an_inherited_child_is_cancelled() {
    explore(|| {
        let top = job();
        let parent = child_of(&top);
        let child = child_of(&parent);
        let ending = ends_meanwhile(&parent);
        assert!(top.cancel(CancelReason::Requested, By::Request));
        ending.join();
        assert_eq!(child.reason(), Some(CancelReason::Requested));
    });
}

/// So is a job that is born as its parent ends.
pub fn a_child_born_late_is_cancelled() {
    explore(|| {
        let top = job();
        let parent = child_of(&top);
        let ending = ends_meanwhile(&parent);
        let child = child_of(&parent);
        assert!(top.cancel(CancelReason::Requested, By::Request));
        ending.join();
        assert_eq!(child.reason(), Some(CancelReason::Requested));
    });
}

/// As two jobs around a child end at once, it goes to the one around both.
pub fn a_child_goes_to_the_nearest_that_runs() {
    explore_within(2, || {
        let top = job();
        let upper = child_of(&top);
        let lower = child_of(&upper);
        let child = child_of(&lower);
        let ending = ends_meanwhile(&upper);
        lower.end(None, || Ending::Succeeded);
        ending.join();
        assert!(Arc::ptr_eq(&family::parent(&child).unwrap(), &top));
        assert!(top.cancel(CancelReason::Requested, By::Request));
        assert!(child.state().has_fired());
    });
}

/// A child that ends and goes as it is passed on is in nobody's table.
pub fn a_child_that_goes_is_in_no_table() {
    explore(|| {
        let top = job();
        let parent = child_of(&top);
        let child = child_of(&parent);
        let going = spawn(move || {
            child.end(None, || Ending::Succeeded);
            drop(child);
        });
        parent.end(None, || Ending::Succeeded);
        drop(parent);
        going.join();
        assert!(family::children(&top).is_empty());
    });
}

/// A signal of the code that began the parent reaches a child that goes on as the parent ends.
pub fn a_stop_signal_reaches_an_inherited_child() {
    explore_within(2, || {
        let top = job();
        let signal = StopSignal::new(top.id(), VerdictKind::AttemptTimedOut, None);
        let parent = born_within(&top, Some(&signal));
        let child = child_of(&parent);
        let stopping = {
            let (top, signal) = (Arc::clone(&top), Arc::clone(&signal));
            spawn(move || top.stop_by(&signal))
        };
        parent.end(None, || Ending::Succeeded);
        stopping.join();
        assert_eq!(child.reason(), Some(CancelReason::TimedOut));
        assert!(!top.state().is_cancelled());
    });
}

/// Work that goes on without its caller outlives its parent's caller, and is cancelled with the job
/// around.
pub fn a_detached_child_is_inherited() {
    explore(|| {
        let top = job();
        let parent = child_of(&top);
        let child = child_of(&parent);
        child.detach();
        let leaving = {
            let parent = Arc::clone(&parent);
            spawn(move || parent.caller_gone(None))
        };
        assert!(top.cancel(CancelReason::Requested, By::Request));
        leaving.join();
        assert_eq!(child.reason(), Some(CancelReason::Requested));
    });
}
