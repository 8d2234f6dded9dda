//! A shared execution may outlive the job that began it: what works for the execution hears of the
//! end when both are over.

use std::sync::Arc;

use super::{
    Recorder, child_of,
    core::{By, Core, sharing::SharedExecution},
    job, succeed,
};
use crate::{
    event::CancelReason,
    run::{explore, explore_within, spawn},
};

fn sharing() -> (Arc<Core>, SharedExecution) {
    let job = job();
    let shared = SharedExecution::new(Arc::clone(&job)).unwrap();
    (job, shared)
}

/// The caller goes and the execution is dropped, in either order: the token fires.
pub fn the_last_of_caller_and_execution_fires() {
    explore_within(2, || {
        let (job, shared) = sharing();
        let child = child_of(&job);
        let recorder = Recorder::of(&job);
        let ending = spawn(move || drop(shared));
        let other = Arc::clone(&job);
        let taking = spawn(move || other.token().clone());
        job.caller_gone(None);
        ending.join();
        assert!(job.state().has_fired());
        assert!(taking.join().is_cancelled());
        assert_eq!(child.reason(), Some(CancelReason::CallerGone));
        assert_eq!(recorder.reason(), Some(CancelReason::CallerGone));
    });
}

/// While the others' execution runs, the caller that goes fires nothing.
pub fn others_go_on() {
    explore(|| {
        let (job, shared) = sharing();
        let child = child_of(&job);
        let other = Arc::clone(&job);
        let cancelling = spawn(move || other.cancel(CancelReason::Requested, By::Leaving));
        job.caller_gone(None);
        cancelling.join();
        assert!(!job.state().has_fired() && !child.state().has_fired());
        drop(shared);
        assert!(job.state().has_fired() && child.state().has_fired());
        assert_eq!(child.reason(), job.reason());
    });
}

/// So does a limit that expires, in either order with the end of the execution.
pub fn an_expired_limit_fires_when_the_execution_is_over() {
    explore(|| {
        let (job, shared) = sharing();
        let ending = spawn(move || drop(shared));
        job.expire();
        ending.join();
        assert!(job.state().has_fired());
        assert_eq!(job.reason(), Some(CancelReason::TimedOut));
    });
}

/// One who cancels as the limit expires and the execution ends: one reason is the job's.
pub fn one_reason_of_a_limit_and_a_request() {
    let seen = explore(|| {
        let (job, shared) = sharing();
        let child = child_of(&job);
        let ending = spawn(move || drop(shared));
        let other = Arc::clone(&job);
        let cancelling = spawn(move || other.cancel(CancelReason::Requested, By::Request));
        job.expire();
        ending.join();
        let taken = cancelling.join();
        assert!(job.state().has_fired() && child.state().has_fired());
        let expected = if taken {
            CancelReason::Requested
        } else {
            CancelReason::TimedOut
        };
        assert_eq!(job.reason().as_ref(), Some(&expected));
        assert_eq!(child.reason(), Some(expected));
        taken
    });
    assert_eq!(seen.len(), 2);
}

/// An execution that is over before its job fires nothing. An execution that outlives its job fires
/// at its end.
pub fn a_job_that_succeeds_leaves_its_execution() {
    let seen = explore(|| {
        let (job, shared) = sharing();
        let recorder = Recorder::of(&job);
        let ending = spawn(move || drop(shared));
        assert!(succeed(&job));
        ending.join();
        assert_eq!(recorder.ending().name(), "succeeded");
        assert!(!job.state().is_cancelled());
        job.state().has_fired()
    });
    assert_eq!(seen, [false, true].into());
}
