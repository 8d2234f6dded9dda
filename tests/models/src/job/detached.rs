//! A job whose work goes on without its caller ends once, by the later of the two.

use std::sync::Arc;

use super::{
    Ending, Recorder, cancelled,
    core::{By, Core},
    job, succeed,
};
use crate::{
    event::CancelReason,
    run::{explore, spawn},
};

fn detached() -> Arc<Core> {
    let job = job();
    job.detach();
    job
}

/// The caller goes and the work is done, in either order.
pub fn the_later_of_caller_and_work_ends_it() {
    explore(|| {
        let job = detached();
        let recorder = Recorder::of(&job);
        let other = Arc::clone(&job);
        let working = spawn(move || other.detached_done(1, Some(Ending::Succeeded)));
        job.caller_gone(None);
        working.join();
        assert!(job.state().is_over());
        assert_eq!(recorder.ending().name(), "succeeded");
        assert!(!job.state().is_cancelled());
    });
}

/// A caller that stays ends it itself, with the same result.
pub fn a_caller_that_stays_ends_it() {
    explore(|| {
        let job = detached();
        let recorder = Recorder::of(&job);
        let other = Arc::clone(&job);
        let working = spawn(move || {
            assert!(other.flags.decide());
            other.detached_done(1, Some(Ending::Succeeded));
        });
        working.join();
        assert!(!job.state().is_over());
        let other = Arc::clone(&job);
        let late = spawn(move || other.cancel(CancelReason::Requested, By::Request));
        job.end(None, || Ending::Succeeded);
        assert!(!late.join());
        assert_eq!(recorder.ending().name(), "succeeded");
    });
}

/// Cancelled at the same time, it ends as cancelled only if its work saw that.
pub fn the_work_says_whether_it_was_cancelled() {
    let seen = explore(|| {
        let job = detached();
        let recorder = Recorder::of(&job);
        let other = Arc::clone(&job);
        let working = spawn(move || {
            let decided = other.flags.decide();
            other.detached_done(
                1,
                Some(if decided {
                    Ending::Succeeded
                } else {
                    cancelled(CancelReason::Requested)
                }),
            );
            decided
        });
        let other = Arc::clone(&job);
        let cancelling = spawn(move || other.cancel(CancelReason::Requested, By::Request));
        job.caller_gone(None);
        let decided = working.join();
        let taken = cancelling.join();
        assert_ne!(decided, taken);
        assert_eq!(recorder.reason(), taken.then_some(CancelReason::Requested));
        assert_eq!(job.state().has_fired(), taken);
        taken
    });
    assert_eq!(seen.len(), 2);
}

/// Between two attempts nothing runs: a caller that leaves then ends it.
pub fn a_caller_that_leaves_between_attempts_ends_it() {
    explore(|| {
        let job = detached();
        let recorder = Recorder::of(&job);
        job.detached_done(1, Some(Ending::Succeeded));
        job.outcome_taken(1);
        let other = Arc::clone(&job);
        let cancelling = spawn(move || other.cancel(CancelReason::Requested, By::Request));
        job.caller_gone(None);
        let taken = cancelling.join();
        let expected = if taken {
            CancelReason::Requested
        } else {
            CancelReason::CallerGone
        };
        assert_eq!(recorder.reason(), Some(expected));
    });
}

/// Of two tasks, of which one was given up, the other says how it ends, in any order.
pub fn a_given_up_task_says_nothing() {
    explore(|| {
        let job = detached();
        job.detach();
        let recorder = Recorder::of(&job);
        let other = Arc::clone(&job);
        let given_up = spawn(move || other.detached_done(1, None));
        let other = Arc::clone(&job);
        let working = spawn(move || other.detached_done(2, Some(Ending::Succeeded)));
        job.caller_gone(None);
        given_up.join();
        working.join();
        assert_eq!(recorder.ending().name(), "succeeded");
        assert!(!job.state().is_cancelled());
    });
}

/// A call that is given up as its last poll ends leaves no outcome: a caller that leaves after that
/// ends the job.
pub fn a_task_given_up_as_it_ends_says_nothing() {
    explore(|| {
        let job = detached();
        let recorder = Recorder::of(&job);
        let other = Arc::clone(&job);
        let working = spawn(move || other.detached_done(1, Some(Ending::Succeeded)));
        job.give_up(1);
        working.join();
        job.caller_gone(None);
        assert_eq!(recorder.reason(), Some(CancelReason::CallerGone));
    });
}

/// Nobody watches: it is over all the same, and only then.
pub fn an_unwatched_one_ends_too() {
    explore(|| {
        let job = detached();
        let other = Arc::clone(&job);
        let working = spawn(move || {
            let decided = other.flags.decide();
            other.detached_done(1, Some(Ending::Succeeded));
            decided
        });
        job.caller_gone(None);
        assert!(working.join());
        assert!(job.state().is_over());
        job.flags.take_call(false);
        assert!(!succeed(&job) || !job.state().is_cancelled());
    });
}
